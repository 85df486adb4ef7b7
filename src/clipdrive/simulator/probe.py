"""One question to a CARLA server without the carla package, which ends the process when something else answers."""

from __future__ import annotations

import socket
import time
from typing import Any

import msgpack

from clipdrive.simulator.errors import ServerFault, SimulatorError

LONGEST_REPLY = 1 << 24


def ask(address: tuple[str, int], method: str, within_s: float) -> Any:
    """The answer of the server at `address` to a method without arguments, such as "version".

    Raises ServerFault when none comes in time, SimulatorError when it is not that of a CARLA server.
    """
    host, port = address
    deadline = time.monotonic() + within_s
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=LONGEST_REPLY)
    try:
        with socket.create_connection(address, within_s) as connection:
            connection.sendall(msgpack.packb([0, 0, method, [[False]]]))
            while (left_s := deadline - time.monotonic()) > 0.0:
                connection.settimeout(left_s)
                chunk = connection.recv(65536)
                if not chunk:
                    raise ServerFault(f"no CARLA server answers at {host}:{port}: the connection was closed")
                unpacker.feed(chunk)
                for reply in unpacker:
                    return _value_of(reply)
    except OSError as error:
        raise ServerFault(f"no CARLA server answers at {host}:{port}: {error.strerror or error}") from error
    except ValueError as error:  # every error of msgpack is one
        raise SimulatorError(f"what listens at {host}:{port} is not a CARLA server; allowed: CARLA 0.9.x") from error
    raise ServerFault(f"no CARLA server answers at {host}:{port}: no reply in {within_s:g} s")


def _value_of(reply: Any) -> Any:
    """The value in [1, id, nil, [[1, value]]]; raises ValueError for anything else."""
    try:
        kind, _, error, ((index, value),) = reply
    except TypeError as wrong:
        raise ValueError("not a reply of msgpack-rpc") from wrong
    if (kind, error, index) != (1, None, 1):
        raise ValueError("not the answer of a CARLA server")
    return value
