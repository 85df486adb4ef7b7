"""Before a run begins: whether the replay memory that the params ask for fits into this machine's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipdrive.experience.memory import ROW_ARRAYS, ReplayMemory
from clipdrive.tasks.task import TaskShape

TREE_BYTES = 32  # of a step's priority: a float64 as leaf and its share of the tree above, which may stand half empty
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
GB = 1e9


class CapacityError(ValueError):
    """`train.memory_steps` is more than this machine can hold."""


def require_free_memory(steps: int, bytes_a_step: int, free: int | None) -> None:
    """Raise CapacityError where so many steps take more than `free` bytes (None: nobody knows)."""
    if free is None or steps * bytes_a_step <= free:
        return
    raise CapacityError(
        f"train.memory_steps: got {steps}, which takes {steps * bytes_a_step / GB:.1f} GB ({bytes_a_step} bytes a "
        f"step), allowed: at most {free // bytes_a_step}, in the {free / GB:.1f} GB that are free"
    )


def bytes_a_step(shape: TaskShape, replay: str) -> int:
    """What one step takes in the replay memory, and in the tree of priorities where the replay has one."""
    rows = shape.stack + 2  # as few as a memory may have
    memory = ReplayMemory(rows, shape.frame, shape.state_size, shape.action_size, shape.stack)
    taken = sum(getattr(memory, name).nbytes for name in ROW_ARRAYS) // rows
    return taken + (TREE_BYTES if replay == "prioritised" else 0)


def free_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Bytes that this process can still take: the machine's, and within its container's limit; None where unknown."""
    found = [_available(proc), *(_left_in(folder, *names) for folder, names in _groups(proc, cgroups))]
    return min((number for number in found if number is not None), default=None)


def _available(proc: Path) -> int | None:
    """`MemAvailable` of proc(5): what can be had without swapping."""
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _groups(proc: Path, cgroups: Path) -> list[tuple[Path, Sequence[str]]]:
    """This process's control groups that may limit memory, outwards to the root, with the names of their files."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    groups: list[tuple[Path, Sequence[str]]] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            root, names = cgroups, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, names = cgroups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        inside = Path(path.lstrip("/"))
        groups += [(root / folder, (*names, "memory.stat")) for folder in (inside, *inside.parents)]
    return groups


def _left_in(folder: Path, limit_name: str, used_name: str, stat_name: str) -> int | None:
    """The group's limit less what is in use, without the file cache, which gives way."""
    try:
        limit, used = (folder / limit_name).read_text().strip(), int((folder / used_name).read_text())
        stat = (folder / stat_name).read_text().splitlines()
    except OSError:
        return None
    if limit == "max":
        return None
    cache = sum(int(line.split()[1]) for line in stat if line.split()[0] in ("inactive_file", "total_inactive_file"))
    return max(0, int(limit) - max(0, used - cache))
