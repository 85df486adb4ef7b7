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

from clipdrive.experience.workers import WorkerError, run_tasks, worker_count


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


def test_the_number_of_workers(monkeypatch):
    monkeypatch.setenv("CLIPDRIVE_WORKERS", "5")
    assert worker_count(100) == 5 and worker_count(2) == 2
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
