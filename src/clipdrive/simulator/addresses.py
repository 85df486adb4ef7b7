"""Where real CARLA servers are: the environment variable CARLA_SERVERS, because addresses belong to a
machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from clipdrive.simulator.errors import SimulatorError

VARIABLE = "CARLA_SERVERS"
ADDRESS = re.compile(r"(?P<host>[\w.-]+):(?P<port>\d{1,5})")
ALLOWED = "host:port,host:port, for example 127.0.0.1:2000"


def server_addresses(environment: Mapping[str, str] = os.environ) -> list[tuple[str, int]]:
    """The (host, port) pairs of CARLA_SERVERS, each once; raises SimulatorError when it is unset or malformed."""
    parts = [part.strip() for part in environment.get(VARIABLE, "").split(",") if part.strip()]
    if not parts:
        raise SimulatorError(f"{VARIABLE} is not set, and 'simulator: carla' needs it; allowed: {ALLOWED}")
    return list(dict.fromkeys(_address(part) for part in parts))


def _address(text: str) -> tuple[str, int]:
    match = ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise SimulatorError(f"{VARIABLE}: got {text!r}, allowed: {ALLOWED}")
    return match["host"], int(match["port"])
