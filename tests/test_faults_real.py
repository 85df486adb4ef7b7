"""The fault suite, real servers (played by the bundled one): behind a proxy that does something wrong, killed, stopped,
of another version, not CARLA at all, or wanted by two runs."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import carla
import psutil
import pytest

from clipdrive.experience.collect import collect
from clipdrive.simulator.errors import SimulatorError
from fault_runs import DEADLINES, disturbed, faults_of, files_of, processes, servers, small_params
from faulty_proxy import HARMLESS, ONCE
from server_process import running_server, start

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
    assert faults["servers_lost"] == 0
    # the library ends its process now and then as it leaves a server that has never answered
    assert faults["workers_lost"] <= (fault == "mute")
    assert (faults["restarts"] + faults["workers_lost"] > 0) == (fault in ONCE)
    assert files_of(tmp_path / "episodes", *EPISODES) == undisturbed
    said = capfd.readouterr().err
    assert f"CARLA server 127.0.0.1:{port}: version 0.9.16, map " in said.splitlines()[0]
    assert said.count("; restart ") == faults["restarts"]


def run(folder: Path, **changes: object) -> dict[str, int]:
    collect(
        small_params(simulator="carla", tracks__training=["circuit:1"], **changes), folder, folder.with_suffix(".png")
    )
    return faults_of(folder)


def begun(folder: Path) -> bool:
    return folder.with_name("episodes.part").joinpath("episode_00001.npz").exists()


def test_another_version_is_refused_before_anything_else(server, tmp_path, monkeypatch):
    with proxy(server, "version") as port:
        monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{port}")
        sentence = (
            f"server at 127.0.0.1:{port} has version 0.9.15, the carla package is 0.9.16; allowed: equal versions"
        )
        with pytest.raises(SimulatorError, match=sentence):
            run(tmp_path / "episodes")
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def listener(greeting: bytes) -> Iterator[int]:
    """A port at which something accepts, greets, and says no more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(listening.accept()[0])
                    held[-1].sendall(greeting)

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        for connection in held:
            connection.close()


def test_a_port_taken_by_something_else(tmp_path, monkeypatch):
    with listener(b"SSH-2.0-OpenSSH_9.6\r\n") as port:
        monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{port}")
        with pytest.raises(SimulatorError, match=f"what listens at 127.0.0.1:{port} is not a CARLA server"):
            run(tmp_path / "episodes")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_accepts_and_never_answers(server, undisturbed, tmp_path, monkeypatch, capfd):
    with listener(b"") as silent:
        monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{silent}")
        monkeypatch.setenv("CLIPDRIVE_DEADLINES", "connect_s=0.1")
        with pytest.raises(SimulatorError, match=f"CARLA_SERVERS: no CARLA server answers at 127.0.0.1:{silent}"):
            run(tmp_path / "episodes")
        assert list(tmp_path.iterdir()) == []

        monkeypatch.setenv("CLIPDRIVE_DEADLINES", DEADLINES)
        monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{silent},127.0.0.1:{server}")
        assert set(run(tmp_path / "episodes").values()) == {0}
    assert f"CARLA server 127.0.0.1:{silent}: does not answer, and is not used" in capfd.readouterr().err
    assert files_of(tmp_path / "episodes", *EPISODES) == undisturbed


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_a_killed_server_is_started_again_by_the_command(undisturbed, tmp_path, monkeypatch, capfd):
    port = free_port()
    monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{port}")
    monkeypatch.setenv("CLIPDRIVE_DEADLINES", DEADLINES.replace("connect_s=10", "connect_s=60"))
    command = f"{shlex.quote(sys.executable)} -m clipdrive.carla_server --host {{host}} --port {{port}}"
    monkeypatch.setenv("CARLA_SERVER_CMD", f"{command} & wait")
    killed = []

    def kill() -> None:
        killed.extend(server for server in servers() if str(port) in server.cmdline())
        os.kill(killed[0].pid, signal.SIGKILL)

    folder = tmp_path / "episodes"
    with disturbed(lambda: begun(folder), kill) as done:
        faults = run(folder)
    assert done.is_set() and len(killed) == 1 and faults["restarts"] >= 1 and faults["servers_lost"] == 0
    assert files_of(folder, *EPISODES) == undisturbed
    assert not [server for server in servers() if str(port) in server.cmdline()]
    assert "does not answer; CARLA_SERVER_CMD starts it" in capfd.readouterr().err


def test_the_work_of_a_server_that_dies_for_good_goes_to_the_other(server, undisturbed, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("CLIPDRIVE_RESTARTS", "1")
    monkeypatch.setenv("CLIPDRIVE_DEADLINES", "connect_s=1,call_s=2,load_s=30,image_s=2")
    mortal, port = start()
    try:
        monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{port},127.0.0.1:{server}")
        folder = tmp_path / "episodes"

        def driven() -> bool:
            """Its worker has an episode: the orders' connection, and the streams of world, camera and collisions."""
            sockets = psutil.Process(mortal.pid).net_connections("tcp")
            return sum(socket.status == psutil.CONN_ESTABLISHED for socket in sockets) >= 4

        with disturbed(driven, mortal.kill) as done:
            faults = run(folder, tracks__episodes_per_load=1, collect__episodes=8)
    finally:
        mortal.kill()
        mortal.communicate()
    files = files_of(folder, "*.npz")
    assert (
        done.is_set() and len(files) == 8 and all(undisturbed.get(name, data) == data for name, data in files.items())
    )
    assert faults == {"restarts": 1, "servers_lost": 1, "workers_lost": 0} and is_as_before(server)
    assert "going on with the other servers" in capfd.readouterr().err


def test_a_server_that_stops_for_longer_than_the_deadline_is_waited_for(undisturbed, tmp_path, monkeypatch):
    process, port = start()
    try:
        monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{port}")

        def stop() -> None:
            process.send_signal(signal.SIGSTOP)
            threading.Timer(4.0, process.send_signal, [signal.SIGCONT]).start()

        folder = tmp_path / "episodes"
        with disturbed(lambda: begun(folder), stop) as done:
            faults = run(folder)
        assert done.is_set() and faults["restarts"] >= 1 and files_of(folder, *EPISODES) == undisturbed
        assert is_as_before(port)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from clipdrive.experience.collect import collect
from clipdrive.stage import run
from fault_runs import small_params

def main():
    folder = Path(sys.argv[1])
    params = small_params(simulator=sys.argv[2], tracks__training=["circuit:1"], collect__episodes=int(sys.argv[3]))
    collect(params, folder, folder.with_suffix(".png"))

if __name__ == "__main__":
    run(main)
"""


def in_background(tmp_path: Path, folder: Path, simulator: str, episodes: int = 4) -> subprocess.Popen:
    script = tmp_path / "run.py"
    script.write_text(RUN.format(tests=str(Path(__file__).parent)))
    command = [sys.executable, str(script), str(folder), simulator, str(episodes)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"CLIPDRIVE_WORKERS": "1"})


@pytest.mark.parametrize("simulator", ["carla", pytest.param("bundled", marks=pytest.mark.slow())])
def test_two_runs_at_once(server, undisturbed, tmp_path, monkeypatch, simulator):
    """On one real server the second run waits for the first one; each has a bundled server of its own."""
    monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{server}")
    folders = [tmp_path / name / "episodes" for name in ("one", "other")]
    for folder in folders:
        folder.parent.mkdir()
    runs = [in_background(tmp_path, folder, simulator) for folder in folders]
    said = [run.communicate(timeout=300)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    first, second = (files_of(folder, *EPISODES) for folder in folders)
    assert first == second and len(first) == 5 and all(set(faults_of(folder).values()) == {0} for folder in folders)
    if simulator == "carla":
        assert first == undisturbed and is_as_before(server)
        assert sum("waiting for a CARLA server, for other runs use them" in text for text in said) <= 1
    assert len(processes()) == 1  # the one server, which goes on


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow()), signal.SIGKILL]
)
def test_an_interrupted_run_leaves_the_server_as_it_was(server, tmp_path, monkeypatch, number):
    monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{server}")
    process = in_background(tmp_path, tmp_path / "episodes", "carla", episodes=500)
    deadline = time.monotonic() + 60
    while not begun(tmp_path / "episodes") and time.monotonic() < deadline:
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert not psutil.wait_procs(family, timeout=15)[1]
    assert not (tmp_path / "episodes").exists() and is_as_before(server)
