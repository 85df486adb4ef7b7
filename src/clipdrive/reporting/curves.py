"""Tables as CSV: the stages' logs, and the thin curves that Git keeps of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clipdrive.reporting.files import DIGITS, ReportError

CURVE_ROWS = 2000


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file as a table that has at least `columns`; an empty field is NaN. Raises ReportError."""
    try:
        table = pd.read_csv(path)
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror}); run `dvc repro` to make it") from error
    except ValueError as error:
        raise ReportError(f"{path}: is not a CSV table ({error})") from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ReportError(f"{path}: lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}")
    return table


def write_curve(path: Path, table: pd.DataFrame, rows: int = CURVE_ROWS) -> None:
    """Publish a table as CSV of at most `rows` rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    thinned(table, rows).to_csv(path, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")


def thinned(table: pd.DataFrame, rows: int = CURVE_ROWS) -> pd.DataFrame:
    """The table in at most `rows` bins of consecutive rows, so that no spike is lost.

    A column takes its bin's largest value where its name says max, p99 or norm, the least where it says min,
    the mean where it is a measured number, the last where it counts (whole numbers) or names.
    """
    if len(table) <= rows:
        return table
    size = math.ceil(len(table) / rows)
    bins = pd.Series(range(len(table)), index=table.index) // size
    return table.groupby(bins).agg({name: _kind(name, table[name]) for name in table.columns})


def _kind(name: str, column: pd.Series) -> str:
    if not pd.api.types.is_float_dtype(column):
        return "last"
    if re.search(r"(^|_)(max|p99|norm)(_|$)", name.split(".")[0]):
        return "max"
    return "min" if re.search(r"(^|_)min(_|$)", name) else "mean"
