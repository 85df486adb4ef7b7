"""What real servers need: a probe, claims, a command that starts them, and the way from one server to the next."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import msgpack
import psutil
import pytest

from clipdrive.simulator.claims import Claim, claim_one
from clipdrive.simulator.errors import ServerFault, ServerLost, SimulatorError
from clipdrive.simulator.probe import ask
from clipdrive.simulator.process import CommandedServer
from clipdrive.simulator.supervisor import Supervisor
from fake_world import FakeSession, default_params

PARAMS = default_params(simulator="carla")
FIRST, SECOND = ("127.0.0.1", 41), ("127.0.0.1", 42)


@pytest.fixture(autouse=True)
def own_claims(tmp_path, monkeypatch):
    monkeypatch.setattr("clipdrive.simulator.claims.tempfile.gettempdir", lambda: str(tmp_path))


def answered(reply: bytes) -> tuple[str, int]:
    """The address of something that sends `reply` to whoever connects, and waits."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            connection.sendall(reply)
            connection.recv(1000)
            connection.recv(1000)

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()


def test_the_probe_reads_what_a_server_answers():
    assert ask(answered(bytes.fromhex("940100c0919201") + b"\xa60.9.16"), "version", 5.0) == "0.9.16"


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xc1",  # never used in msgpack
        msgpack.packb([1, 0, "no such method", None]),
        msgpack.packb([1, 0, None, [[0, ["an error"]]]]),
        msgpack.packb({"version": "0.9.16"}),
    ],
)
def test_what_is_not_a_carla_server_is_told_apart(reply):
    with pytest.raises(SimulatorError, match="is not a CARLA server; allowed: CARLA 0.9.x") as error:
        ask(answered(reply), "version", 5.0)
    assert not isinstance(error.value, ServerFault)


@pytest.mark.parametrize("reply", [b"", b"\x94\x01\x00", b"\xdb\xff\xff\xff\x00"])
def test_the_probe_does_not_wait_for_ever(reply):
    began = time.monotonic()
    with pytest.raises(SimulatorError):
        ask(answered(reply), "version", 0.3)
    assert time.monotonic() - began < 3.0


def test_nobody_listens():
    with pytest.raises(ServerFault, match="no CARLA server answers at 127.0.0.1:9: Connection refused"):
        ask(("127.0.0.1", 9), "version", 5.0)


def test_a_server_is_claimed_once_whatever_its_name():
    claim = Claim.of(FIRST)
    assert Claim.of(("localhost", 41)) is None
    other = claim_one([("localhost", 41), SECOND])
    assert other.address == SECOND
    claim.release()
    again = claim_one([FIRST])
    again.release()
    other.release()


def test_waiting_for_a_claim_is_told_and_ends(monkeypatch, capsys):
    monkeypatch.setenv("CLIPDRIVE_SERVER_WAIT_S", "0.5")
    claim = Claim.of(FIRST)
    with pytest.raises(SimulatorError, match=f"used by another run, for 0.5 s now: 127.0.0.1:41 by .* {os.getpid()}"):
        claim_one([FIRST])
    threading.Timer(0.2, claim.release).start()
    claim_one([FIRST]).release()
    assert capsys.readouterr().err.count("waiting for a CARLA server") == 2


def test_settings_are_remembered_until_they_are_back():
    found, ours = (
        {"synchronous_mode": mode, "fixed_delta_seconds": step} for mode, step in ((False, None), (True, 0.1))
    )
    claim = Claim.of(FIRST)
    assert claim.settings_before(found) == found
    claim.release()
    claim = Claim.of(FIRST)
    assert claim.settings_before(ours) == found, "what a dead run has left is not what the server had"
    claim.settings_are_back()
    claim.release()
    claim = Claim.of(FIRST)
    assert claim.settings_before(ours) == ours, "somebody else's synchronous mode"
    assert claim.settings_before(found) == found, "the server was started again"
    claim.release()


def test_past_the_bound_another_free_server_is_tried(monkeypatch):
    monkeypatch.setenv("CARLA_SERVERS", "127.0.0.1:41,127.0.0.1:42")
    monkeypatch.setenv("CLIPDRIVE_RESTARTS", "2")
    tried = []

    def open_session(params, server, claim):
        tried.append(claim.address)
        session = FakeSession(params)
        session.fault = "it hangs"
        return session

    monkeypatch.setattr("clipdrive.simulator.supervisor.open_session", open_session)
    monkeypatch.setattr("clipdrive.simulator.supervisor.time.sleep", lambda seconds: None)
    supervisor = Supervisor(PARAMS, worker=1)
    with pytest.raises(ServerLost, match="2 restarts in a row"):
        while True:
            supervisor.session()
    assert tried == [SECOND] * 3 + [FIRST] * 2 and supervisor.restarts == 4
    assert Claim.of(SECOND) is not None and Claim.of(FIRST) is None
    supervisor.close()
    assert Claim.of(FIRST) is not None


def family_of(server: CommandedServer, within_s: float = 10.0) -> list[psutil.Process]:
    keeper, deadline = psutil.Process(server.pid), time.monotonic() + within_s
    while len(family := keeper.children(recursive=True)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    return family


def test_a_command_is_given_the_address_and_nothing_of_it_is_left(tmp_path):
    mark = tmp_path / "mark"
    server = CommandedServer(f"echo {{host}} {{port}} > {mark}; trap '' TERM INT; sleep 600 & sleep 600", FIRST)
    server.start()
    family = family_of(server)
    assert len(family) == 3 and mark.read_text() == "127.0.0.1 41\n"
    server.stop()
    assert not psutil.wait_procs(family, timeout=1)[1] and not server.running


def test_a_command_ends_with_its_owner():
    code = textwrap.dedent("""
        import time
        from clipdrive.simulator.process import CommandedServer
        server = CommandedServer("sleep 600 & sleep 601", ("127.0.0.1", 41)).start()
        print(server.pid, flush=True)
        time.sleep(600)
    """)
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    keeper = psutil.Process(int(owner.stdout.readline()))
    while len(family := keeper.children(recursive=True)) < 3:
        time.sleep(0.02)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    assert not psutil.wait_procs([keeper, *family], timeout=15)[1]


def test_a_command_that_returns_is_done():
    server = CommandedServer("exit 3", FIRST).start()
    deadline = time.monotonic() + 10
    while server.running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "ended with code 3" in server.describe_end()
    server.stop()
