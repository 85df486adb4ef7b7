"""The fault suite, train: a server that fails in an episode costs its rest; the run goes on, or ends resumable."""

from __future__ import annotations

import csv
import os
import signal
import sys
from pathlib import Path

import pytest

from clipdrive.experience.collect import collect
from clipdrive.simulator.process import ServerProcess
from clipdrive.training.train import TrainError, train
from fault_runs import DEADLINES, disturbed, faults_of, none_left, signal_servers, small_params


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPDRIVE_DEADLINES", DEADLINES)
    monkeypatch.setenv("CLIPDRIVE_RESTART_PAUSE_S", "0.05")
    monkeypatch.setenv("CLIPDRIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CLIPDRIVE_DEVICE", "cpu")


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPDRIVE_WORKERS", "1")
        collect(small_params(), folder / "episodes", folder / "spawns.png")
    return folder / "episodes"


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "episodes.csv", newline="") as file:
        return list(csv.DictReader(file))


def episodes_driven(state: Path) -> int:
    return sum(log.read_text().count("\n") - 1 for log in state.glob("checkpoints/*/episodes.csv"))


def run(tmp_path: Path, episodes: Path, **changes):
    return train(small_params(**changes), episodes, tmp_path / "agent", tmp_path / "run")


def test_the_steps_received_are_kept_and_the_run_goes_on(tmp_path, episodes):
    with disturbed(lambda: episodes_driven(tmp_path / "state") > 0, lambda: signal_servers(signal.SIGKILL)) as done:
        metrics = run(tmp_path, episodes)
    assert done.is_set() and none_left()
    assert metrics["env_steps"] == 400 and metrics["certificate"]["violations"] == 0
    assert faults_of(tmp_path / "run")["restarts"] >= 1
    rows = rows_of(tmp_path / "run")
    cut = [row for row in rows if row["ending"] == "server_fault"]
    assert len(cut) == metrics["faults"]["truncated_episodes"]
    assert sum(int(row["steps"]) for row in rows) == 400
    assert [int(row["episode"]) for row in rows] == list(range(len(rows)))


def test_past_the_bound_a_checkpoint_is_left_from_which_the_run_goes_on(tmp_path, episodes, monkeypatch):
    monkeypatch.setenv("CLIPDRIVE_RESTARTS", "2")
    real = ServerProcess.start
    broken = [False]

    def start(server: ServerProcess) -> ServerProcess:
        if broken[0]:
            server._command = (sys.executable, "-c", "raise SystemExit('no more')")
        return real(server)

    def kill_for_good() -> None:
        broken[0] = True
        signal_servers(signal.SIGKILL)

    monkeypatch.setattr(ServerProcess, "start", start)
    begun = lambda: episodes_driven(tmp_path / "state") > 0  # noqa: E731
    with disturbed(begun, kill_for_good) as done, pytest.raises(TrainError, match="2 restarts in a row .*checkpoint"):
        run(tmp_path, episodes)
    assert done.is_set() and none_left() and not (tmp_path / "run").exists()
    assert list((tmp_path / "state" / "checkpoints").glob("*/state.pt"))
    driven = episodes_driven(tmp_path / "state")

    broken[0] = False
    metrics = run(tmp_path, episodes)
    assert metrics["env_steps"] == 400 and metrics["faults"]["restarts"] >= 2
    assert len(rows_of(tmp_path / "run")) > driven > 0
    assert os.listdir(tmp_path / "state" / "checkpoints") == []
