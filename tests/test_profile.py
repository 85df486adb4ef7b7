"""Profiles: every second belongs to one part, workers' apart, and the start is counted from the process's birth."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from clipdrive.experience.workers import run_tasks, worker_profile
from clipdrive.profile import Profile, memory_mb


class Clock:
    def __init__(self, monkeypatch):
        self.now_s = 100.0
        monkeypatch.setattr("clipdrive.profile.time.perf_counter", lambda: self.now_s)
        monkeypatch.setattr("clipdrive.profile.process_age_s", lambda: 2.0)


@pytest.fixture()
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_time_belongs_to_the_innermost_part_and_none_is_lost(clock, tmp_path, capsys):
    profile = Profile("train")
    clock.now_s += 1.0
    profile.started()
    clock.now_s += 4.0
    with profile.part("simulate"):
        clock.now_s += 8.0
        with pytest.raises(ValueError, match="lost"), profile.part("update"):
            clock.now_s += 16.0
            raise ValueError("lost")
        clock.now_s += 1.0
    profile.finish(tmp_path / "profiles")
    values = json.loads((tmp_path / "profiles" / "train.json").read_text())
    assert values["parts_s"] == {"update": 16.0, "simulate": 9.0, "other": 4.0, "start": 3.0}
    assert values["wall_s"] == 32.0 and "workers_s" not in values
    said = capsys.readouterr().err
    assert "train: 32.0 s, start 3.0 s; update 50 %, simulate 28 %, other 12 %, start 9 %\n" in said
    assert "train: most memory: " in said and "MB (itself)" in said


def test_calls_of_an_object_are_timed(clock):
    profile = Profile("worker")
    profile.started()

    class World:
        def step(self, seconds, *, twice=False):
            clock.now_s += seconds * (2 if twice else 1)
            return "seen"

    world = World()
    profile.time_calls("simulate", world, "step")
    with profile.part("act"):
        clock.now_s += 1.0
        assert world.step(2.0, twice=True) == "seen"
    assert profile.taken() == {"start": 2.0, "act": 1.0, "simulate": 4.0, "other": 0.0}
    clock.now_s += 1.0
    assert profile.taken() == {"other": 1.0}  # since the last time


def busy(seconds: float) -> None:
    with worker_profile().part("act"):
        sum(range(int(1e7 * seconds)))


def start(number: int):
    return int


def test_the_times_of_the_workers_come_home(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPDRIVE_WORKERS", "2")
    profile = Profile("collect")
    list(run_tasks(busy, [(0.1,), (0.1,), (0.1,)], start, profile=profile))
    assert profile.workers["act"] > 0.0 and profile.workers["start"] > 0.0
    profile.finish(tmp_path)
    assert json.loads((tmp_path / "collect.json").read_text())["workers_s"].keys() >= {"act", "start"}


def test_the_start_reaches_back_to_the_birth_of_the_process():
    code = (
        "import time; begun = time.perf_counter(); time.sleep(0.3)\n"
        "from clipdrive.profile import process_age_s\n"
        "print(process_age_s() - (time.perf_counter() - begun))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert -0.02 < float(out) < 20.0  # the interpreter's own start, of a clock of 10 ms steps


def test_memory_is_what_the_process_had_at_most():
    before = memory_mb()["itself"]
    filled = bytearray(300 * 1024 * 1024)
    filled[::4096] = b"x" * len(filled[::4096])
    assert memory_mb()["itself"] >= max(300.0, before)
