"""Numbers that belong to a machine and shape no result come from environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping

from clipdrive.simulator.errors import SimulatorError


def number_from_environment(variable: str, default: float, environment: Mapping[str, str] = os.environ) -> float:
    """The variable's number, `default` where it is unset; raises SimulatorError for what is none."""
    text = environment.get(variable, "").strip()
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1.0
    if not 0.0 <= number < 1e6:
        raise SimulatorError(f"{variable}: got {text!r}, allowed: a number of at least 0")
    return number
