"""Fixtures that several modules use."""

from __future__ import annotations

import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job that a script began in the background is deaf to SIGINT, and so would be the processes that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def carla_server_port():
    """The port of a bundled server that lives as long as the module's tests."""
    from server_process import running_server

    with running_server() as port:
        yield port


@pytest.fixture(scope="module")
def client(carla_server_port):
    """A client of that server, of the carla package."""
    import carla

    client = carla.Client("127.0.0.1", carla_server_port)
    client.set_timeout(60.0)
    return client
