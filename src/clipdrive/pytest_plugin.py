"""A pytest plugin for projects that use CARLA: the fixture `carla_server`, a bundled server for the tests.

Where clipdrive is installed, pytest finds it by itself. Nothing is imported or started before a test asks for it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from clipdrive.simulator.process import ServerProcess

ARGUMENTS = "carla_server_arguments"
TIMEOUT_S = 20.0


class CarlaServer:
    """What the fixture gives: where the server is, and clients of it."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    @property
    def host(self) -> str:
        return self._process.address[0]

    @property
    def port(self) -> int:
        return self._process.address[1]

    @property
    def pid(self) -> int | None:
        """The server's process id, None where it has ended."""
        return self._process.pid

    def client(self, timeout_s: float = TIMEOUT_S) -> Any:
        """Return a new carla.Client that is connected; its calls raise RuntimeError after `timeout_s` seconds."""
        from clipdrive.simulator.connection import connect

        client = connect(self._process.address, timeout_s, self._process)
        client.set_timeout(timeout_s)
        return client


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(ARGUMENTS, "further arguments of the bundled CARLA server, such as `--maps tests/maps`", default="")


@pytest.fixture(scope="session")
def carla_server(pytestconfig: pytest.Config) -> Iterator[CarlaServer]:
    """A CARLA server without a GPU, on a free port of this machine, for as long as the session lasts.

    It ends with the session: after failures, after Ctrl-C, and by itself where pytest is killed. Under pytest-xdist
    every worker has its own. Tests share its world; `carla_client` begins each test with a fresh one.
    """
    from clipdrive.simulator.process import COMMAND, ServerProcess

    command = (*COMMAND, *shlex.split(pytestconfig.getini(ARGUMENTS)))
    with ServerProcess(command=command) as process:
        yield CarlaServer(process)


@pytest.fixture
def carla_client(carla_server: CarlaServer) -> Iterator[Any]:
    """A carla.Client of `carla_server` whose world is fresh: asynchronous, and empty but for the spectator."""
    client = carla_server.client()
    client.reload_world()
    yield client
