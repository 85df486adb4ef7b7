"""Before a run begins: which real servers there are, told to the user, and the wrong ones refused."""

from __future__ import annotations

import os
import sys
import time

from clipdrive.params import DRIVE, Params
from clipdrive.simulator.addresses import VARIABLE, server_addresses
from clipdrive.simulator.connection import require_version
from clipdrive.simulator.deadlines import deadlines_for
from clipdrive.simulator.errors import ServerFault, SimulatorError
from clipdrive.simulator.probe import ask
from clipdrive.simulator.supervisor import COMMAND_VARIABLE

QUICK_S = 3.0


def announce_servers(params: Params) -> int | None:
    """How many real servers to use, or None with the bundled one. Says on stderr what each of CARLA_SERVERS is.

    From here on CARLA_SERVERS, of this process and those it starts, names only those that answered (all, where
    CARLA_SERVER_CMD can start them). Raises SimulatorError when none does in time, or one is another version.
    """
    if params.simulator != "carla" or params.task != DRIVE:
        return None
    addresses = server_addresses()
    can_start = bool(os.environ.get(COMMAND_VARIABLE, "").strip())
    found = _found(addresses, 0.0 if can_start else deadlines_for(real=True).connect_s)
    for address in addresses:
        silent = f"does not answer; {COMMAND_VARIABLE} starts it" if can_start else "does not answer, and is not used"
        _say(address, found.get(address, silent))
    used = addresses if can_start else [address for address in addresses if address in found]
    if not used:
        raise SimulatorError(f"{VARIABLE}: no CARLA server answers at {', '.join(map(_text, addresses))}")
    os.environ[VARIABLE] = ",".join(map(_text, used))
    return len(used)


def _found(addresses: list[tuple[str, int]], within_s: float) -> dict[tuple[str, int], str]:
    """What each server that answers is; waits for the first one to."""
    deadline = time.monotonic() + within_s
    while True:
        found = {address: what for address in addresses if (what := _what_is_at(address)) is not None}
        if found or time.monotonic() >= deadline:
            return found
        time.sleep(0.5)


def _what_is_at(address: tuple[str, int]) -> str | None:
    try:
        version = ask(address, "version", QUICK_S)
        require_version(address, version)
        map_name, _ = ask(address, "get_map_info", QUICK_S)
    except ServerFault:
        return None
    return f"version {version}, map {map_name}"


def _text(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def _say(address: tuple[str, int], what: str) -> None:
    print(f"CARLA server {_text(address)}: {what}", file=sys.stderr, flush=True)
