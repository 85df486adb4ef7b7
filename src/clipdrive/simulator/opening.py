"""One place that decides which server a worker drives on."""

from __future__ import annotations

from clipdrive.params import Params
from clipdrive.simulator.addresses import server_of_worker
from clipdrive.simulator.process import ServerProcess
from clipdrive.simulator.session import Session


def open_session(params: Params, worker: int = 0, server: ServerProcess | None = None) -> Session:
    """A connected session of `params.simulator`: a bundled server of its own (or `server`), or a real one.

    Close it (or use it in `with`); raises SimulatorError, and leaves no process behind then.
    """
    shape = {"verge_m": params.tracks.verge_m, "wall_height_m": params.tracks.wall_height_m}
    if params.simulator == "carla" and server is None:
        session = Session(server_of_worker(worker), params.camera, params.vehicle, **shape)
    else:
        owns = server is None
        server = ServerProcess().start() if owns else server
        session = Session(server.address, params.camera, params.vehicle, **shape, server=server, owns_server=owns)
    return session.open()
