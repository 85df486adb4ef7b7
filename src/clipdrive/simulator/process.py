"""The bundled CARLA server as a separate process that never outlives its owner."""

from __future__ import annotations

import atexit
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

from clipdrive.simulator.errors import ServerError

COMMAND = (sys.executable, "-m", "clipdrive.carla_server")
READY = re.compile(r"listening on (?P<host>[^\s:]+):(?P<port>\d+)")
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


class ServerProcess:
    """Start the bundled server on a free port of this machine and stop it; also a context manager.

    The server runs in a session (and so a process group) of its own, which Ctrl-C on our terminal does not
    reach. It ends when its stdin, a pipe that we hold, is closed, thus also when we are killed.
    """

    _environment = ONE_THREAD

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ready_within_s: float = 120.0,
        stop_within_s: float = 2.0,
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        self.host, self.port = host, port
        self._wanted_port = port
        self._ready_within_s, self._stop_within_s = ready_within_s, stop_within_s
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = None
        self._owner_pid = 0

    @property
    def pid(self) -> int | None:
        """The server's process id, or None when it is not running."""
        return self._process.pid if self.running else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def start(self) -> ServerProcess:
        """Start the server and wait for its ready line; raises ServerError when it does not come in time."""
        if self._process is not None:
            raise ServerError("the bundled server was started already; allowed: one start for each stop")
        self._stderr = tempfile.TemporaryFile()
        self._owner_pid = os.getpid()
        try:
            self._process = subprocess.Popen(
                [*self._command, *self._arguments()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )
        except OSError as error:
            raise ServerError(f"the bundled server cannot be started: {error}") from error
        atexit.register(self.stop)
        try:
            self.host, self.port = self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def _arguments(self) -> tuple[str, ...]:
        return "--host", self.host, "--port", str(self._wanted_port), "--stop-with-parent"

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> tuple[str, int]:
        deadline = time.monotonic() + self._ready_within_s
        output = b""
        descriptor = process.stdout.fileno()
        while (left_s := deadline - time.monotonic()) > 0.0:
            readable, _, _ = select.select([descriptor], [], [], left_s)
            if not readable:
                break
            chunk = os.read(descriptor, 4096)
            output += chunk
            complete, newline, _ = output.rpartition(b"\n")
            if newline and (match := READY.search(complete.decode(errors="replace"))):
                return match["host"], int(match["port"])
            if not chunk:
                process.wait()
                raise ServerError(f"the bundled server ended before it was ready; {self.describe_end()}")
        raise ServerError(
            f"the bundled server printed {output.decode(errors='replace')!r} in {self._ready_within_s:g} s, "
            f"expected the line '... listening on HOST:PORT'"
        )

    def describe_end(self) -> str:
        """One clause on the process for error messages: running, or its exit code and last words."""
        if self._process is None:
            return "its process is not started"
        code = self._process.poll()
        if code is None:
            return f"its process {self._process.pid} is still running"
        words = self._last_words()
        return f"its process ended with code {code}" + (f" after saying: {words}" if words else " without a word")

    def _last_words(self, length: int = 600) -> str:
        if self._stderr is None or self._stderr.closed:
            return ""
        end = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, end - length))
        return " | ".join(self._stderr.read().decode(errors="replace").split("\n")).strip(" |")

    def stop(self, at_once: bool = False) -> None:
        """End the server: close its stdin, then SIGTERM, then SIGKILL (at once where it is known to hang) to its
        group. Nothing survives; may be repeated."""
        process = self._process
        if process is None or os.getpid() != self._owner_pid:
            return
        try:
            process.stdin.close()
        except OSError:
            pass  # the pipe is broken: the server has gone already
        try:
            if not at_once and not self._ended(process):
                self._signal_group(process, signal.SIGTERM)
                self._ended(process)
        finally:
            if process.poll() is None:
                self._signal_group(process, signal.SIGKILL)
            process.wait()
            process.stdout.close()
            self._stderr.close()
            self._process = None
            self.port = self._wanted_port
            atexit.unregister(self.stop)

    def _ended(self, process: subprocess.Popen[bytes]) -> bool:
        try:
            process.wait(self._stop_within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    @staticmethod
    def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass  # it ended between our look and our signal

    def __enter__(self) -> ServerProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class CommandedServer(ServerProcess):
    """A real CARLA server that we start, by a shell command in which {host} and {port} stand for its address.

    The command may be the server itself, which is then stopped with all that it has started, or end after it has
    started a server elsewhere. `start` does not wait for the server to answer.
    """

    _environment: dict[str, str] = {}

    def __init__(self, command: str, address: tuple[str, int]) -> None:
        host, port = address
        command = command.replace("{host}", host).replace("{port}", str(port))
        super().__init__(
            host, port, command=(sys.executable, "-m", "clipdrive.simulator.keeper", command), stop_within_s=15.0
        )

    def _arguments(self) -> tuple[str, ...]:
        return ()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> tuple[str, int]:
        return self.host, self.port
