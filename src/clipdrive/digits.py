"""Floats at nine significant digits, in the metrics, manifests and logs of the stages.

The last bits of a mean depend on the order in which a processor's vector unit adds: without rounding, the same agent
would leave other files on another processor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DIGITS = 9  # significant: every float32 survives


def rounded(value: Any, digits: int = DIGITS, null: bool = False) -> Any:
    """The same nested values with floats at `digits` significant digits; with `null`, None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: rounded(item, digits, null) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits, null) for item in value]
    if not isinstance(value, float):
        return value
    if math.isfinite(value):
        return float(f"{value:.{digits}g}")
    return None if null else value


def write_json(path: Path, values: Any, digits: int = DIGITS, null: bool = False) -> Any:
    """Write nested values as strict JSON, `rounded`; returns them so. Raises ValueError for what is not finite."""
    values = rounded(values, digits, null)
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return values
