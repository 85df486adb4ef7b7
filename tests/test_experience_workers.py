"""Workers: every task once, errors carried home, the number by environment variable, none left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from clipdrive.experience.workers import Faults, WorkerError, run_tasks, worker_count
from clipdrive.simulator.errors import ServerLost


def nothing() -> None:
    pass


def start(worker: int, *shared):
    return nothing


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    if number == 3:
        raise ValueError("the third went wrong")
    return number


def vanish(number: int) -> None:
    os._exit(1)


_number = -1


def start_numbered(worker: int, *shared):
    global _number
    _number = worker
    return nothing


def lose_the_server_of_worker_0(task: int) -> tuple[int, int]:
    if _number == 0:
        raise ServerLost("it is gone", 5)
    time.sleep(0.1)
    return task, _number


def lose_the_server(task: int) -> None:
    raise ServerLost(f"server of worker {_number} is gone", 2)


def crash_once(mark: str, task: int) -> int:
    if task == 1 and not os.path.exists(mark):
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return task


def test_every_task_is_done_once_whatever_the_number_of_workers(monkeypatch):
    for workers in ("1", "3"):
        monkeypatch.setenv("CLIPDRIVE_WORKERS", workers)
        assert sorted(run_tasks(square, [(i,) for i in range(7)], start)) == [i * i for i in range(7)]


def test_trap_13_an_error_in_a_worker_is_raised_with_its_cause():
    with pytest.raises(ValueError, match="the third went wrong"):
        list(run_tasks(fail, [(i,) for i in range(5)], start))


def test_a_worker_that_vanishes_is_one_sentence():
    with pytest.raises(WorkerError, match="worker process was ended"):
        list(run_tasks(vanish, [(0,)], start))


def test_the_work_of_a_lost_server_goes_to_the_others(monkeypatch):
    monkeypatch.setenv("CLIPDRIVE_WORKERS", "3")
    faults = Faults()
    tasks = [(number,) for number in range(6)]
    results = list(run_tasks(lose_the_server_of_worker_0, tasks, start_numbered, servers=2, faults=faults))
    assert sorted(results) == [(number, 1) for number in range(6)]
    assert faults.values() == {"restarts": 5, "servers_lost": 1, "workers_lost": 0}


def test_when_every_server_is_lost_the_run_ends(monkeypatch):
    faults = Faults()
    with pytest.raises(ServerLost, match="server of worker . is gone"):
        list(run_tasks(lose_the_server, [(0,), (1,)], start_numbered, servers=2, faults=faults))
    assert faults.servers_lost == 2


def test_a_worker_that_crashes_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPDRIVE_WORKERS", "1")
    faults = Faults()
    tasks = [(str(tmp_path / "mark"), number) for number in range(3)]
    assert sorted(run_tasks(crash_once, tasks, start, faults=faults)) == [0, 1, 2]
    assert faults.values() == {"restarts": 0, "servers_lost": 0, "workers_lost": 1}


def test_the_number_of_workers(monkeypatch):
    assert worker_count(100, servers=7) == 7 and worker_count(3, servers=7) == 3
    monkeypatch.setenv("CLIPDRIVE_WORKERS", "5")
    assert worker_count(100) == 5 and worker_count(2) == 2 and worker_count(100, servers=3) == 3
    monkeypatch.setenv("CLIPDRIVE_WORKERS", "none")
    with pytest.raises(WorkerError, match="CLIPDRIVE_WORKERS: got 'none'"):
        worker_count(1)


SLEEPERS = """
import sys, time
sys.path.insert(0, {tests!r})
from clipdrive.experience.workers import run_tasks
from test_experience_workers import start
if __name__ == "__main__":
    list(run_tasks(time.sleep, [(60.0,), (60.0,)], start))
"""


def start_slow_to_close(worker: int, mark: str):
    def close() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
        Path(mark).touch()

    return close


def tell_twice(task: int) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_worker_that_is_told_twice_to_end_closes_what_it_holds(tmp_path):
    """Linux sends one SIGTERM for each thread of a parent that was killed."""
    with pytest.raises(WorkerError, match="ended from outside"):
        list(run_tasks(tell_twice, [(1,)], start_slow_to_close, str(tmp_path / "closed")))
    assert (tmp_path / "closed").exists()


def test_no_worker_outlives_a_killed_parent(tmp_path):
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS.format(tests=str(Path(__file__).parent)))
    environment = os.environ | {"CLIPDRIVE_WORKERS": "2"}
    process = subprocess.Popen([sys.executable, str(script)], env=environment)
    family = psutil.Process(process.pid)
    deadline = time.monotonic() + 30
    while len(family.children(recursive=True)) < 3 and time.monotonic() < deadline:  # two and the resource tracker
        time.sleep(0.05)
    time.sleep(1.0)
    children = family.children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert len(children) >= 2 and not alive
