"""Metrics as JSON: what the stages left, and what Git keeps of it, rounded and finite."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipdrive.digits import write_json

DIGITS = 6  # significant: fewer than a stage's own files have, so that Git shows what changed and no more


class ReportError(RuntimeError):
    """A file that the report needs is missing, damaged or lacks a column."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file (NaN and Infinity pass: the report tells of them); raises ReportError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror}); run `dvc repro` to make it") from error
    except ValueError as error:
        raise ReportError(f"{path}: is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise ReportError(f"{path}: holds a {type(values).__name__}, expected an object")
    return values


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted names, as `dvc metrics` shows them."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result.update(flat(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = value
    return result


def not_finite(values: Mapping[str, Any]) -> list[str]:
    """Dotted names of the numbers that are NaN or infinite."""
    return [name for name, value in flat(values).items() if isinstance(value, float) and not math.isfinite(value)]


def write_metrics(path: Path, values: Mapping[str, Any]) -> None:
    """Publish metrics: rounded, in strict JSON; what is not finite is null, which DVC and the gate call missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, values, DIGITS, null=True)
