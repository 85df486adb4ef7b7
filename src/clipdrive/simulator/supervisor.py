"""What holds a session, and replaces it, with the server behind it, when the server has failed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from clipdrive.params import Params
from clipdrive.simulator.addresses import server_addresses
from clipdrive.simulator.claims import Claim, claim_one
from clipdrive.simulator.environment_numbers import number_from_environment
from clipdrive.simulator.errors import ServerFault, ServerLost
from clipdrive.simulator.opening import open_session
from clipdrive.simulator.probe import ask
from clipdrive.simulator.process import CommandedServer, ServerProcess
from clipdrive.simulator.session import Session

RESTARTS, RESTARTS_VARIABLE = 5, "CLIPDRIVE_RESTARTS"
PAUSE_S, PAUSE_VARIABLE = 1.0, "CLIPDRIVE_RESTART_PAUSE_S"
LONGEST_PAUSE_S = 60.0
COMMAND_VARIABLE = "CARLA_SERVER_CMD"
ANSWERS_WITHIN_S = 5.0


class Supervisor:
    """Gives the session of worker number `worker`: on `server`, on a bundled server that it opens, or, where the
    params say `simulator: carla`, on one of CARLA_SERVERS.

    After a ServerFault the next call of `session` starts anew: after a pause, which doubles each time, and at most
    CLIPDRIVE_RESTARTS times in a row, between two calls of `succeeded`; then it goes on with another real server, if
    one is free. `restarts` counts them all. CARLA_SERVER_CMD starts a real server that does not answer.
    """

    def __init__(self, params: Params, worker: int = 0, server: ServerProcess | None = None) -> None:
        self.params = params
        self.restarts = 0
        self._worker, self._server = worker, server
        self._is_real = params.simulator == "carla" and server is None
        self._claim: Claim | None = None
        self._commanded: CommandedServer | None = None
        self._lost: set[tuple[str, int]] = set()
        self._session: Session | None = None
        self._fault: str | None = None  # words only: an exception would keep the dead client's objects alive
        self._in_a_row = 0

    def session(self) -> Session:
        """The open session; raises ServerFault (call again), or ServerLost when it was called often enough."""
        if self._session is not None and self._session.fault is not None:
            self._fault = self._session.fault
            self._close_session()
        if self._session is None:
            if self._fault is not None:
                self._before_restart(self._fault)
            try:
                self._session = self._open()
            except ServerFault as fault:
                self._fault = str(fault)
                raise
            self._fault = None
        return self._session

    def succeeded(self) -> None:
        """An episode was driven whole: the failures before it do not count any more."""
        self._in_a_row = 0

    def close(self) -> None:
        """Close the session, let go of a real server, and stop one that was started here; may be repeated."""
        try:
            self._close_session()
        finally:
            self._let_go()

    def _open(self) -> Session:
        if self._is_real:
            if self._claim is None:
                self._claim = claim_one(self._addresses())
            self._start_by_command()
        elif self._server is not None and not self._server.running:
            self._server.stop()
            self._server.start()
        return open_session(self.params, self._server, self._claim)

    def _before_restart(self, fault: str) -> None:
        allowed = int(number_from_environment(RESTARTS_VARIABLE, RESTARTS))
        if self._in_a_row >= allowed:
            if not self._moves_on():
                raise ServerLost(f"{fault}; {allowed} restarts in a row did not help", self.restarts)
            host, port = self._claim.address
            fault = f"{fault}; given up, and going on with {host}:{port}"
        pause_s = number_from_environment(PAUSE_VARIABLE, PAUSE_S) * 2.0**self._in_a_row
        pause_s = min(pause_s, LONGEST_PAUSE_S)
        self._in_a_row += 1
        self.restarts += 1
        print(f"{fault}; restart {self._in_a_row} of {allowed} in {pause_s:g} s", file=sys.stderr, flush=True)
        time.sleep(pause_s)

    def _moves_on(self) -> bool:
        """Whether another real server was free; this one is not tried again."""
        if self._claim is None:
            return False
        self._lost.add(self._claim.address)
        others = [address for address in self._addresses() if address not in self._lost]
        claims = (claim for address in others if (claim := Claim.of(address)) is not None)
        if (claim := next(claims, None)) is None:
            return False
        self._let_go()
        self._claim, self._in_a_row = claim, 0
        return True

    def _addresses(self) -> list[tuple[str, int]]:
        """All servers, this worker's first."""
        addresses = server_addresses()
        first = self._worker % len(addresses)
        return addresses[first:] + addresses[:first]

    def _start_by_command(self) -> None:
        """Run CARLA_SERVER_CMD where it is given, unless the server answers. After a fault that is not enough for one
        that was started here, nor for another that failed before; what was started here is stopped first."""
        command = os.environ.get(COMMAND_VARIABLE, "").strip()
        distrusted = self._fault is not None and (self._commanded is not None or self._in_a_row > 1)
        if not command or (not distrusted and answers(self._claim.address)):
            return
        if self._commanded is None:
            self._commanded = CommandedServer(command, self._claim.address)
        self._commanded.stop()
        self._commanded.start()

    def _close_session(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()

    def _let_go(self) -> None:
        commanded, claim, self._commanded, self._claim = self._commanded, self._claim, None, None
        if commanded is not None:
            commanded.stop()
        if claim is not None:
            claim.release()


def answers(address: tuple[str, int], within_s: float = ANSWERS_WITHIN_S) -> bool:
    """Whether a CARLA server answers there; raises SimulatorError when something else does."""
    try:
        ask(address, "version", within_s)
    except ServerFault:
        return False
    return True


def until_done(drive: Callable[..., Any], *arguments: Any) -> Any:
    """`drive(*arguments)`, again from its reset after each ServerFault; a supervisor bounds how often."""
    while True:
        try:
            return drive(*arguments)
        except ServerFault:
            continue
