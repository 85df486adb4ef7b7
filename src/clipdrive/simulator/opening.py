"""One place that decides what a session drives on."""

from __future__ import annotations

from clipdrive.params import Params
from clipdrive.simulator.claims import Claim
from clipdrive.simulator.process import ServerProcess
from clipdrive.simulator.session import Session


def open_session(params: Params, server: ServerProcess | None = None, claim: Claim | None = None) -> Session:
    """A connected session on a bundled server of its own, on `server`, or on the real one that `claim` holds.

    Close it (or use it in `with`); raises SimulatorError, and leaves no process behind then.
    """
    shape = {"verge_m": params.tracks.verge_m, "wall_height_m": params.tracks.wall_height_m}
    if claim is not None:
        session = Session(claim.address, params.camera, params.vehicle, **shape, claim=claim)
    else:
        owns = server is None
        server = ServerProcess().start() if owns else server
        session = Session(server.address, params.camera, params.vehicle, **shape, server=server, owns_server=owns)
    return session.open()
