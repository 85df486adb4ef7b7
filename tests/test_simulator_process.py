"""The server's process, with small stand-ins for the server."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from clipdrive.simulator.errors import ServerError
from clipdrive.simulator.process import ServerProcess

READY = "print('stand-in listening on 127.0.0.1:4321', flush=True)\n"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + "time.sleep(600)"
OBEDIENT = "import sys\n" + READY + "sys.stdin.read()"


def stand_in(code: str, **options) -> ServerProcess:
    return ServerProcess(command=(sys.executable, "-c", code), **options)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().split()[2] != "Z"


def gone_soon(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_address_comes_from_the_ready_line_and_nothing_is_left():
    with stand_in("print('a banner')\n" + OBEDIENT) as server:
        pid = server.pid
        assert server.address == ("127.0.0.1", 4321) and server.running and alive(pid)
        assert os.getpgid(pid) == pid != os.getpgid(0)
    assert not alive(pid) and not server.running and server.pid is None


def test_a_server_that_ignores_everything_is_killed():
    begun = time.monotonic()
    with stand_in(STUBBORN, stop_within_s=0.2) as server:
        pid = server.pid
    assert not alive(pid) and time.monotonic() - begun < 5.0


def test_stop_may_be_repeated_and_start_again():
    server = stand_in(OBEDIENT)
    server.stop()
    for _ in range(2):
        server.start()
        with pytest.raises(ServerError, match="started already"):
            server.start()
        server.stop()
        server.stop()


def test_a_server_that_dies_says_why():
    with pytest.raises(ServerError, match="ended with code 3 after saying: no such map"):
        stand_in("import sys; print('no such map', file=sys.stderr); sys.exit(3)").start()


def test_a_server_that_never_gets_ready_is_given_up_and_killed():
    server = stand_in("import time; print('hm', flush=True); time.sleep(600)", ready_within_s=0.5, stop_within_s=0.1)
    with pytest.raises(ServerError, match=r"printed 'hm\\n' in 0.5 s, expected the line"):
        server.start()
    assert not server.running


def test_a_command_that_is_not_there():
    with pytest.raises(ServerError, match="cannot be started: .*No such file"):
        ServerProcess(command=("/no/such/program",)).start()


def test_the_end_of_a_running_server_is_described():
    with stand_in("import sys\n" + READY + "sys.stdin.readline(); sys.exit(7)") as server:
        assert "still running" in server.describe_end()
        os.kill(server.pid, signal.SIGKILL)
        server._process.wait()
        assert server.describe_end() == "its process ended with code -9 without a word"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_with_its_owner(number):
    owner_code = textwrap.dedent(f"""
        import sys, time
        from clipdrive.simulator.process import ServerProcess
        server = ServerProcess(command=(sys.executable, "-c", {OBEDIENT!r})).start()
        print(server.pid, flush=True)
        time.sleep(600)
    """)
    owner = subprocess.Popen(
        [sys.executable, "-c", owner_code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    pid = int(owner.stdout.readline())
    assert alive(pid)
    owner.send_signal(number)
    owner.wait(10)
    owner.stdout.close()
    assert gone_soon(pid)
