"""Checkpoints that outlive kill -9: atomic, keyed by everything that shapes the run, never shared by two runs.

They lie in an ignored folder that DVC does not know, and that `dvc exp run --temp` shares with the main checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipdrive.experience.memory import ReplayMemory
from clipdrive.stage import state_folder

SEGMENT_ROWS = 20_000  # written, and read, at once: 140 MB of gray frames of 84x84


class CheckpointError(RuntimeError):
    """A checkpoint on disk cannot be used."""


def run_key(values: Mapping[str, Any], inputs: Sequence[Path]) -> str:
    """A hash of the params in use, the content of the input files and folders, this package's code, and of torch's
    version and threads.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(values, sort_keys=True).encode())
    digest.update(f"torch {torch.__version__} threads {torch.get_num_threads()} numpy {np.__version__}".encode())
    code = Path(__file__).resolve().parents[1]
    for root in (*inputs, code):
        inside = [root] if root.is_file() else root.rglob("*")
        for path in sorted(p for p in inside if p.is_file() and "__pycache__" not in p.parts):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:20]


class CheckpointFolder:
    """The checkpoint of one run: `state.pt`, replaced atomically, and the memory's rows in segments that are appended.

    Holds a lock while it lives: a second run of the same key gets a folder of its own.
    """

    def __init__(self, key: str, root: Path | None = None) -> None:
        root = (root or state_folder()) / "checkpoints"
        root.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            self.folder = root / f"{key}.{number}"
            self.folder.mkdir(exist_ok=True)
            self._lock = open(self.folder / "lock", "w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                self._lock.close()
        else:
            raise CheckpointError(f"{root}: a thousand runs of the same params hold their checkpoints here")
        self._segments: list[str] = []
        self._rows = 0

    def save(self, state: Mapping[str, Any], memory: ReplayMemory) -> None:
        """Write the rows that came since the last save, then the state that refers to them.

        The memory must stand at an episode's end: a row that waits for its step is not written again.
        """
        segments = list(self._segments)
        oldest = memory.count - memory.capacity
        for start in range(max(self._rows, oldest), memory.count, SEGMENT_ROWS):
            rows = memory.rows_between(start, min(start + SEGMENT_ROWS, memory.count))
            name = f"rows_{start:010d}.npz"
            _write_whole(self.folder / name, lambda file, rows=rows: np.savez(file, **rows))
            segments.append(name)
        ends = [_start(name) for name in segments[1:]] + [memory.count]
        segments = [name for name, end in zip(segments, ends, strict=True) if end > oldest]
        content = {"state": dict(state), "segments": segments, "rows": memory.count}
        _write_whole(self.folder / "state.pt", lambda file: torch.save(content, file))
        self._segments, self._rows = segments, memory.count
        for path in self.folder.glob("rows_*.npz"):
            if path.name not in segments:
                path.unlink()

    def load(self, memory: ReplayMemory) -> dict[str, Any] | None:
        """The last state saved, with the memory's rows put back; None where there is none."""
        path = self.folder / "state.pt"
        if not path.exists():
            return None
        try:
            content = torch.load(path, weights_only=True)
            for name in content["segments"]:
                with np.load(self.folder / name, allow_pickle=False) as rows:
                    memory.put_rows(rows)
        except Exception as error:
            raise CheckpointError(
                f"{path}: the checkpoint is damaged ({type(error).__name__}); "
                f"delete {self.folder} to start from the beginning"
            ) from error
        self._segments, self._rows = content["segments"], content["rows"]
        return content["state"]

    def remove(self) -> None:
        """Delete the folder once the run has ended well."""
        shutil.rmtree(self.folder)
        self._lock.close()


def as_tensors(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with arrays as tensors, which torch loads without trusting the file."""
    return {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}


def as_arrays(values: Mapping[str, Any]) -> dict[str, Any]:
    """What `as_tensors` took."""
    return {name: v.numpy() if isinstance(v, torch.Tensor) else v for name, v in values.items()}


def _start(segment: str) -> int:
    return int(segment.removeprefix("rows_").removesuffix(".npz"))


def _write_whole(path: Path, write: Any) -> None:
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
