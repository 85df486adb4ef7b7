"""What holds a session, and replaces it, with the server behind it, when the server has failed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from clipdrive.params import Params
from clipdrive.simulator.errors import ServerFault, ServerLost, SimulatorError
from clipdrive.simulator.opening import open_session
from clipdrive.simulator.process import ServerProcess
from clipdrive.simulator.session import Session

RESTARTS, RESTARTS_VARIABLE = 5, "CLIPDRIVE_RESTARTS"
PAUSE_S, PAUSE_VARIABLE = 1.0, "CLIPDRIVE_RESTART_PAUSE_S"
LONGEST_PAUSE_S = 60.0


class Supervisor:
    """Gives the session of worker number `worker`, on `server` or on a server that it opens.

    After a ServerFault the next call of `session` starts anew: after a pause, which doubles each time, and at most
    CLIPDRIVE_RESTARTS times in a row, between two calls of `succeeded`. `restarts` counts them all.
    """

    def __init__(self, params: Params, worker: int = 0, server: ServerProcess | None = None) -> None:
        self.params = params
        self.restarts = 0
        self._worker, self._server = worker, server
        self._session: Session | None = None
        self._fault: str | None = None  # words only: an exception would keep the dead client's objects alive
        self._in_a_row = 0

    def session(self) -> Session:
        """The open session; raises ServerFault (call again), or ServerLost when it was called often enough."""
        if self._session is not None and self._session.fault is not None:
            self._fault = self._session.fault
            self.close()
        if self._session is None:
            if self._fault is not None:
                self._wait_before_restart(self._fault)
            try:
                self._session = open_session(self.params, self._worker, self._server)
            except ServerFault as fault:
                self._fault = str(fault)
                raise
            self._fault = None
        return self._session

    def succeeded(self) -> None:
        """An episode was driven whole: the failures before it do not count any more."""
        self._in_a_row = 0

    def close(self) -> None:
        """Close the session, and the server where it is the session's own; may be repeated."""
        if self._session is not None:
            session, self._session = self._session, None
            session.close()

    def _wait_before_restart(self, fault: str) -> None:
        allowed = int(_number(RESTARTS_VARIABLE, RESTARTS))
        if self._in_a_row >= allowed:
            raise ServerLost(f"{fault}; {allowed} restarts in a row did not help", self.restarts)
        pause_s = min(_number(PAUSE_VARIABLE, PAUSE_S) * 2.0**self._in_a_row, LONGEST_PAUSE_S)
        self._in_a_row += 1
        self.restarts += 1
        print(f"{fault}; restart {self._in_a_row} of {allowed} in {pause_s:g} s", file=sys.stderr, flush=True)
        time.sleep(pause_s)
        if self._server is not None and not self._server.running:
            self._server.stop()
            self._server.start()


def until_done(drive: Callable[..., Any], *arguments: Any) -> Any:
    """`drive(*arguments)`, again from its reset after each ServerFault; a supervisor bounds how often."""
    while True:
        try:
            return drive(*arguments)
        except ServerFault:
            continue


def _number(variable: str, default: float, environment: Mapping[str, str] = os.environ) -> float:
    text = environment.get(variable, "").strip()
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1.0
    if not 0.0 <= number < 1e6:
        raise SimulatorError(f"{variable}: got {text!r}, allowed: a number of at least 0")
    return number
