"""Fixtures that several modules use."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def carla_server_port():
    """The port of a bundled server that lives as long as the module's tests."""
    from server_process import running_server

    with running_server() as port:
        yield port
