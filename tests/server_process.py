"""Starts the bundled server as its own process, for tests."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator


def start(*arguments: str) -> tuple[subprocess.Popen, int]:
    """Start the server on a free port; returns the process and its port."""
    command = [sys.executable, "-m", "clipdrive.carla_server", "--port", "0", "--stop-with-parent", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert "listening on 127.0.0.1:" in line, line
    return process, int(line.rsplit(":", 1)[1])


@contextlib.contextmanager
def running_server(*arguments: str) -> Iterator[int]:
    """Give the port of a server that lives as long as the context."""
    process, port = start(*arguments)
    try:
        yield port
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(10)
        finally:
            process.kill()
