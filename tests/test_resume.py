"""kill -9 of the train stage, twice, at random moments: the same bytes as without, and no process left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from small_params import PARAMS_FILE

SMALL = {
    "batch_size": 8,
    "feature_units": 16,
    "hidden_units": 16,
    "tracks": {"training": ["circuit:1", "circuit:2"], "episodes_per_load": 2},
    "camera": {"width_px": 36, "height_px": 36},
    "ending": {"time_limit_steps": 40},
    "collect": {"episodes": 4},
    "train": {
        "updates_before_driving": 20,
        "env_steps": 400,
        "memory_steps": 150,  # wraps round
        "torch_threads": 1,
        "checkpoint_every_steps": 30,
    },
}


def workspace(folder: Path) -> dict[str, str]:
    """A folder with small params; the environment in which the stages run there."""
    yaml = YAML()
    values = yaml.load(PARAMS_FILE.read_text(encoding="utf-8"))
    for name, value in SMALL.items():
        if isinstance(value, dict):
            values[name].update(value)
        else:
            values[name] = value
    with open(folder / "params.yaml", "w", encoding="utf-8") as file:
        yaml.dump(values, file)
    root = PARAMS_FILE.parent
    environment = {name: value for name, value in os.environ.items() if name != "CLIPDRIVE_STATE"}
    return environment | {"PYTHONPATH": f"{root}:{root / 'src'}", "CLIPDRIVE_DEVICE": "cpu"}


def outputs(folder: Path) -> dict[str, bytes]:
    names = ("models/agent/agent.pt", "runs/train/updates.csv", "runs/train/episodes.csv", "runs/train/metrics.json")
    return {name: (folder / name).read_bytes() for name in names}


def driven_episodes(folder: Path) -> int:
    logs = list((folder / ".clipdrive" / "checkpoints").glob("*/episodes.csv"))
    return sum(log.read_text().count("\n") - 1 for log in logs)


@pytest.mark.slow()
def test_killed_twice_it_ends_with_the_same_bytes(tmp_path):
    environment = workspace(tmp_path)

    def stage(name: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"stages.{name}"]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    for name in ("collect", "train"):
        process = stage(name)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    whole = outputs(tmp_path)
    for path in whole:
        (tmp_path / path).unlink()

    chance = random.Random(time.time_ns())
    for kill in range(2):
        process = stage("train")
        wanted = driven_episodes(tmp_path) + chance.randint(2, 5)
        deadline = time.monotonic() + 120
        while driven_episodes(tmp_path) < wanted and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.3))  # into an episode, or the writing of a checkpoint
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        assert children, "the stage had no server"
        gone, alive = psutil.wait_procs(children, timeout=10)
        assert not alive, f"kill {kill} left {alive}"
    assert list((tmp_path / ".clipdrive" / "checkpoints").glob("*/state.pt"))

    process = stage("train")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert outputs(tmp_path) == whole
