"""The gradient doctor: watches anybody's PyTorch training loop and names what is wrong with its clipping."""

from __future__ import annotations

from typing import Any

from clipdrive.doctor.explanation import explain
from clipdrive.doctor.faults import FAULTS, Finding

__all__ = ["FAULTS", "Finding", "Probe", "WatchError", "explain", "watch"]


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for."""
    if name not in ("Probe", "WatchError", "watch"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clipdrive.doctor import probe

    return getattr(probe, name)
