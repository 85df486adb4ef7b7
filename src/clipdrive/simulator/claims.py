"""Real servers: one run of this machine at a time drives each, and what its settings were outlives a killed run."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from clipdrive.simulator.environment_numbers import number_from_environment
from clipdrive.simulator.errors import SimulatorError

WAIT_S, WAIT_VARIABLE = 3600.0, "CLIPDRIVE_SERVER_WAIT_S"


class Claim:
    """The right to drive the server at `address`, until `release`; it ends with the process, too."""

    def __init__(self, address: tuple[str, int], file: TextIO) -> None:
        self.address = address
        self._file = file
        self._settings: dict[str, Any] | None = _content(file).get("settings")
        self._write()

    @classmethod
    def of(cls, address: tuple[str, int]) -> Claim | None:
        """The claim, or None when another run has it."""
        path = _lock_path(address)
        path.parent.mkdir(exist_ok=True)
        file = open(path, "a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return cls(address, file)

    def settings_before(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The settings to give back: `found`, unless that is what a run that was killed has left."""
        if self._settings is None or not found["synchronous_mode"]:
            self._settings = dict(found)
            self._write()
        return self._settings

    def settings_are_back(self) -> None:
        self._settings = None
        self._write()

    def release(self) -> None:
        self._file.close()

    def _write(self) -> None:
        self._file.truncate(0)
        json.dump({"process": os.getpid(), "settings": self._settings}, self._file)
        self._file.flush()


def claim_one(addresses: Sequence[tuple[str, int]]) -> Claim:
    """A claim of the first server that no other run has; waits for one, CLIPDRIVE_SERVER_WAIT_S at most."""
    wait_s = number_from_environment(WAIT_VARIABLE, WAIT_S)
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        for address in addresses:
            if (claim := Claim.of(address)) is not None:
                return claim
        users = ", ".join(f"{host}:{port} by process {holder_of((host, port))}" for host, port in addresses)
        if time.monotonic() >= deadline:
            raise SimulatorError(f"every CARLA server is used by another run, for {wait_s:g} s now: {users}")
        if not told:
            print(f"waiting for a CARLA server, for other runs use them: {users}", file=sys.stderr, flush=True)
            told = True
        time.sleep(0.2)


def holder_of(address: tuple[str, int]) -> int | None:
    """The process that has the claim, as far as its file tells."""
    try:
        with open(_lock_path(address), encoding="utf-8") as file:
            return _content(file).get("process")
    except OSError:
        return None


def _content(file: TextIO) -> dict[str, Any]:
    file.seek(0)
    try:
        return dict(json.load(file))
    except ValueError:  # new, or being written
        return {}


def _lock_path(address: tuple[str, int]) -> Path:
    host, port = address
    try:
        host = socket.gethostbyname(host)  # one server may have several names
    except OSError:
        pass
    return Path(tempfile.gettempdir()) / f"clipdrive-{os.getuid()}" / f"{host}-{port}.json"
