"""The fault suite, bundled servers: killed, or stopped for longer than the deadline, in the middle of an episode; and
what a stage says when no server stays alive."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch

from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.store import write_agent
from clipdrive.agents.td3 import TD3
from clipdrive.experience.collect import collect
from clipdrive.progress import Progress
from clipdrive.training.evaluation import evaluate
from fault_runs import DEADLINES, disturbed, faults_of, files_of, none_left, servers, signal_servers, small_params

EPISODES = ("episode_*.npz", "manifest.json")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("CLIPDRIVE_DEADLINES", DEADLINES)
    monkeypatch.setenv("CLIPDRIVE_RESTART_PAUSE_S", "0.05")
    monkeypatch.setenv("CLIPDRIVE_WORKERS", "1")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPDRIVE_WORKERS", "1")
        collect(small_params(), folder / "episodes", folder / "spawns.png")
    assert faults_of(folder / "episodes") == {"restarts": 0, "servers_lost": 0, "workers_lost": 0}
    return files_of(folder / "episodes", *EPISODES)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow())])
def test_collect_drives_the_broken_episode_again(tmp_path, undisturbed, number):
    folder = tmp_path / "episodes"
    begun = lambda: (tmp_path / "episodes.part" / "episode_00000.npz").exists()  # noqa: E731
    with disturbed(begun, lambda: signal_servers(number)) as done:
        collect(small_params(), folder, tmp_path / "spawns.png")
    assert done.is_set() and none_left()
    assert files_of(folder, *EPISODES) == undisturbed and len(json.loads(undisturbed["manifest.json"])) == 4
    assert faults_of(folder)["restarts"] >= 1


def write_untrained(folder: Path) -> None:
    params = small_params()
    torch.manual_seed(0)
    colors = 1 if params.camera.color == "gray" else 3
    frame = (colors, params.camera.height_px, params.camera.width_px)
    spec = NetworkSpec.of(params, 3, 2, frame)
    write_agent(folder, TD3(spec, params, torch.device("cpu"), torch.Generator()), asdict(params.camera))


@pytest.mark.slow()
def test_evaluate_drives_the_broken_lap_again(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDRIVE_DEVICE", "cpu")
    write_untrained(tmp_path / "agent")
    params = small_params(evaluate__lap_limit_s=20.0)
    evaluate(params, tmp_path / "agent", tmp_path / "whole", drivers=("agent", "follower"))
    advance, killed = Progress.advance, []

    def kill_at_first(progress: Progress, *arguments: object) -> None:
        """The agent's laps have come, and the follower has begun its own."""
        if not killed:
            killed.extend(servers())
            signal_servers(signal.SIGKILL)
        advance(progress, *arguments)

    monkeypatch.setattr(Progress, "advance", kill_at_first)
    evaluate(params, tmp_path / "agent", tmp_path / "disturbed", drivers=("agent", "follower"))
    assert len(killed) == 1 and none_left()
    assert files_of(tmp_path / "disturbed", "*.csv") == files_of(tmp_path / "whole", "*.csv")
    whole, metrics = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "disturbed"))
    assert metrics.pop("faults")["restarts"] >= 1 and set(whole.pop("faults").values()) == {0}
    assert metrics == whole


STAGE = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from clipdrive.experience.collect import collect
from clipdrive.stage import run
from fault_runs import small_params

def main():
    collect(small_params(collect__episodes=500), Path("episodes"), Path("spawns.png"))

if __name__ == "__main__":
    run(main)
"""


def test_when_no_server_stays_alive_a_stage_ends_with_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDRIVE_RESTARTS", "1")
    (tmp_path / "stage.py").write_text(STAGE.format(tests=str(Path(__file__).parent)))
    stage = subprocess.Popen([sys.executable, "stage.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    family = []
    deadline = time.monotonic() + 120
    while stage.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += [p for p in psutil.Process(stage.pid).children(recursive=True) if p not in family]
        signal_servers(signal.SIGKILL)
        time.sleep(0.05)
    said = stage.communicate(timeout=30)[1].splitlines()
    assert stage.returncode == 1 and said[-1].startswith("error: ") and "1 restarts in a row did not help" in said[-1]
    assert not any("Traceback" in line for line in said) and os.listdir(tmp_path) == ["episodes.part", "stage.py"]
    assert not psutil.wait_procs(family, timeout=10)[1]
