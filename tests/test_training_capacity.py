"""The capacity check: a memory that does not fit is one sentence before the run, in a container too."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipdrive.experience.sum_tree import SumTree
from clipdrive.tasks.task import TaskShape
from clipdrive.training.capacity import CapacityError, bytes_a_step, free_memory, require_free_memory
from clipdrive.training.train import train
from small_params import params_with
from test_training_train import OFFLINE, episodes, own_state_folder  # noqa: F401 - fixtures

MIB = 1024**2


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture()
def machine(tmp_path):
    """Files as Linux has them: 8000 MiB available, and what a test adds; gives `free()` in MiB and the folder."""
    write(tmp_path / "proc/meminfo", f"MemTotal: {9000 * 1024} kB\nMemAvailable: {8000 * 1024} kB\n")
    return lambda: free_memory(tmp_path / "proc", tmp_path / "cgroup") / MIB, tmp_path


def test_without_a_limit_it_is_what_the_machine_has(machine):
    free, folder = machine
    assert free() == 8000
    write(folder / "proc/self/cgroup", "0::/\n")
    assert free() == 8000  # the root group has no files
    write(folder / "cgroup/memory.max", "max\n")
    write(folder / "cgroup/memory.current", "1\n")
    write(folder / "cgroup/memory.stat", "anon 1\n")
    assert free() == 8000


def test_the_tightest_of_the_groups_around_the_process_counts(machine):
    free, folder = machine
    write(folder / "proc/self/cgroup", "0::/outer/inner\n")
    for name, limit, used, cache in (("outer", 2000, 700, 0), ("outer/inner", 3000, 2000, 500)):
        write(folder / f"cgroup/{name}/memory.max", str(limit * MIB))
        write(folder / f"cgroup/{name}/memory.current", str(used * MIB))
        write(folder / f"cgroup/{name}/memory.stat", f"anon 5\ninactive_file {cache * MIB}\n")
    assert free() == 1300  # 2000 - 700; the inner one has 3000 - (2000 - 500)


def test_version_1_of_control_groups(machine):
    free, folder = machine
    write(folder / "proc/self/cgroup", "5:cpu,cpuacct:/box\n4:memory:/box\n")
    write(folder / "cgroup/memory/box/memory.limit_in_bytes", str(1000 * MIB))
    write(folder / "cgroup/memory/box/memory.usage_in_bytes", str(900 * MIB))
    write(folder / "cgroup/memory/box/memory.stat", f"inactive_file 0\ntotal_inactive_file {100 * MIB}\n")
    assert free() == 200


def test_where_nobody_knows_nothing_is_refused(tmp_path):
    assert free_memory(tmp_path, tmp_path) is None
    require_free_memory(10**12, 7000, None)


def test_the_sentence():
    require_free_memory(1000, 7056, 7056 * 1000)
    sentence = (
        r"^train.memory_steps: got 1001, which takes 0.0 GB \(7056 bytes a step\), "
        r"allowed: at most 1000, in the 0.0 GB that are free$"
    )
    with pytest.raises(CapacityError, match=sentence):
        require_free_memory(1001, 7056, 7056 * 1000 + 5)


@pytest.mark.parametrize("replay", ["uniform", "prioritised"])
def test_a_run_is_refused_before_it_takes_anything(tmp_path, episodes, monkeypatch, replay):  # noqa: F811
    monkeypatch.setattr("clipdrive.training.train.free_memory", lambda: 10**9)
    params = params_with(**(OFFLINE | {"replay": replay, "train__memory_steps": 1_000_000}))
    with pytest.raises(CapacityError, match=r"got 1000000, which takes 1\.[34] GB \(13\d\d bytes a step\)"):
        train(params, episodes, tmp_path / "models", tmp_path / "run")


def test_what_a_step_takes_by_hand():
    shape = TaskShape((1, 84, 84), 3, 3, 2)
    # frame; three state and two action numbers, reward, terminated and age of four bytes each; has_next
    assert bytes_a_step(shape, "uniform") == 84 * 84 + 4 * (3 + 2 + 3) + 1 < 1.01 * 84 * 84
    assert bytes_a_step(shape, "prioritised") == bytes_a_step(shape, "uniform") + 32
    tree = SumTree(2**20 + 1)  # the worst there is: just past a power of two
    assert tree._nodes.nbytes / tree.size <= 32
