"""The fault suite, bundled servers: killed, or stopped for longer than the deadline, in the middle of an episode."""

from __future__ import annotations

import json
import signal

import pytest

from clipdrive.experience.collect import collect
from fault_runs import DEADLINES, disturbed, faults_of, files_of, none_left, signal_servers, small_params

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
