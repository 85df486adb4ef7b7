"""What the agent may do: steer, and either accelerate or brake."""

from __future__ import annotations

import numpy as np


def checked_action(action: np.ndarray) -> tuple[float, float]:
    """(steer, throttle) of an action, clipped to [-1, 1]; raises ValueError on a wrong shape or a number
    that is none."""
    values = np.asarray(action, dtype=np.float64).reshape(-1)
    if values.shape != (2,) or not np.isfinite(values).all():
        raise ValueError(f"action: got {action!r}, allowed: two finite numbers, [steer, throttle or brake]")
    return float(min(max(values[0], -1.0), 1.0)), float(min(max(values[1], -1.0), 1.0))
