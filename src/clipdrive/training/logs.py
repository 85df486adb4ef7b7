"""CSV logs that a resumed run continues at the byte where its checkpoint stands."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipdrive.digits import DIGITS


class CsvLog:
    """Rows appended to a CSV file with fixed columns; a column that a row lacks stays empty."""

    def __init__(self, path: Path, columns: Sequence[str], offset: int | None = None) -> None:
        """Begin a new file, or cut an old one at byte `offset` and go on behind it."""
        self.path, self.columns = path, list(columns)
        if offset is None:
            self._file = open(path, "w", newline="", encoding="utf-8")
            csv.writer(self._file, lineterminator="\n").writerow(self.columns)
        else:
            os.truncate(path, offset)
            self._file = open(path, "a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, self.columns, restval="", lineterminator="\n")

    def add(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow({key: _text(value) for key, value in row.items()})
        self._file.flush()  # for whoever watches the run

    def offset(self) -> int:
        """The file's length with all rows safely on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.path.getsize(self.path)

    def close(self) -> None:
        self._file.close()


def _text(value: Any) -> Any:
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else value
