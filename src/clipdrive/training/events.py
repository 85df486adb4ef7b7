"""The logged scalars as TensorBoard event files, by param.

They hold times and the host's name, which no out of a stage may: they go to the state folder, which DVC does not know.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventFilesError(RuntimeError):
    """TensorBoard's package is not installed."""


class EventFiles:
    """Writes rows of numbers below `folder`; a resumed run hides what lies behind its checkpoint."""

    def __init__(self, folder: Path, first_update: int) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise EventFilesError(
                "train.tensorboard: got true, but the package tensorboard is not installed; "
                "allowed: false, or `pip install clipdrive[tensorboard]`"
            )
        from torch.utils.tensorboard import SummaryWriter  # only here: it takes seconds to import

        self.writer = SummaryWriter(str(folder), purge_step=first_update)

    def add(self, row: Mapping[str, Any]) -> None:
        """One row: every number of it under its name, at the row's `update`."""
        for name, value in row.items():
            if name != "update" and isinstance(value, (int, float)):
                self.writer.add_scalar(name.replace(".", "/", 1), value, int(row["update"]))

    def close(self) -> None:
        self.writer.close()
