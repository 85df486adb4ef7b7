"""The fault suite, real servers (played by the bundled one): behind a proxy that does something wrong, killed, stopped,
of another version, not CARLA at all, or wanted by two runs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import carla
import pytest

from clipdrive.experience.collect import collect
from fault_runs import DEADLINES, faults_of, files_of, small_params
from faulty_proxy import HARMLESS, ONCE
from server_process import running_server

EPISODES = ("episode_*.npz", "manifest.json")
QUICK = {
    "CLIPDRIVE_DEADLINES": DEADLINES,
    "CLIPDRIVE_RESTART_PAUSE_S": "0.05",
    "CLIPDRIVE_RESTARTS": "3",
}
PARAMS = small_params(simulator="carla", tracks__training=["circuit:1"])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with running_server() as port:
        yield port


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARLA_SERVERS", f"127.0.0.1:{server}")
        collect(PARAMS, folder / "episodes", folder / "spawns.png")
    assert set(faults_of(folder / "episodes").values()) == {0}
    return files_of(folder / "episodes", *EPISODES)


@contextlib.contextmanager
def proxy(server: int, fault: str) -> Iterator[int]:
    script = Path(__file__).with_name("faulty_proxy.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(server), fault], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


def is_as_before(server: int) -> bool:
    """Asynchronous, and without an actor of ours."""
    world = carla.Client("127.0.0.1", server).get_world()
    world.wait_for_tick()
    return not world.get_settings().synchronous_mode and not [
        actor for actor in world.get_actors() if actor.attributes.get("role_name") == "clipdrive"
    ]


@pytest.mark.parametrize("fault", [*HARMLESS, *ONCE])
def test_a_server_that_does_wrong_spoils_nothing(server, undisturbed, tmp_path, monkeypatch, capfd, fault):
    if fault in HARMLESS:
        monkeypatch.delenv("CLIPDRIVE_DEADLINES")  # on a busy machine those of the others are too short
    with proxy(server, fault) as port:
        monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{port}")
        collect(PARAMS, tmp_path / "episodes", tmp_path / "spawns.png")
        assert is_as_before(server)
    faults = faults_of(tmp_path / "episodes")
    assert (faults["restarts"] > 0) == (fault in ONCE) and faults["servers_lost"] == faults["workers_lost"] == 0
    assert files_of(tmp_path / "episodes", *EPISODES) == undisturbed
    said = capfd.readouterr().err
    assert f"CARLA server 127.0.0.1:{port}: version 0.9.16, map " in said.splitlines()[0]
    assert said.count("; restart ") == faults["restarts"]
