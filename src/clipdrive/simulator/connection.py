"""The first words with a CARLA server, and the world settings that we need."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from importlib import metadata

import carla

from clipdrive.simulator.errors import SimulatorError
from clipdrive.simulator.process import ServerProcess

SUBSTEP_S = 0.01


@dataclass(frozen=True)
class Deadlines:
    """Seconds after which a session gives up with a SimulatorError (`collision_s`: takes it that there is
    none)."""

    connect_s: float
    call_s: float
    load_s: float
    image_s: float
    collision_s: float


BUNDLED = Deadlines(connect_s=20.0, call_s=20.0, load_s=120.0, image_s=10.0, collision_s=1.0)
REAL = Deadlines(connect_s=60.0, call_s=30.0, load_s=180.0, image_s=10.0, collision_s=0.1)


def connect(address: tuple[str, int], within_s: float, server: ServerProcess | None = None) -> carla.Client:
    """A client of a server that has answered, with the version that the carla package has; raises
    SimulatorError.

    Every attempt is a new client, for a client connects only once. `server`, where it is our own process,
    ends the attempts when it has ended.
    """
    host, port = address
    deadline = time.monotonic() + within_s
    while True:
        try:
            client = carla.Client(host, port, 2)
            client.set_timeout(min(5.0, within_s))
            server_version = client.get_server_version()
            break
        except RuntimeError as error:
            ended = server is not None and not server.running
            if ended or time.monotonic() > deadline:
                end = f"; {server.describe_end()}" if server is not None else ""
                raise SimulatorError(f"no CARLA server answers at {host}:{port}{end}") from error
        time.sleep(0.2)
    client_version = metadata.version("carla")
    if server_version != client_version:
        raise SimulatorError(
            f"the CARLA server at {host}:{port} has version {server_version}, the carla package is "
            f"{client_version}; allowed: equal versions"
        )
    return client


def make_synchronous(world: carla.World, step_s: float) -> None:
    """Have the world wait for our ticks, each `step_s` long; does nothing where it does (a change ticks
    it)."""
    settings = world.get_settings()
    if settings.synchronous_mode and settings.fixed_delta_seconds == step_s:
        return
    settings.synchronous_mode = True
    settings.no_rendering_mode = False
    settings.fixed_delta_seconds = step_s
    settings.substepping = True
    settings.max_substep_delta_time = SUBSTEP_S
    settings.max_substeps = max(1, math.ceil(step_s / SUBSTEP_S - 1e-9))
    world.apply_settings(settings)


def destroy_leftovers(client: carla.Client, world: carla.World, role_name: str) -> None:
    """Destroy what a killed client of ours left behind in a server that lives on: actors of our role name."""
    ours = [actor for actor in world.get_actors() if actor.attributes.get("role_name") == role_name]
    ours.sort(key=lambda actor: not actor.type_id.startswith("sensor."))
    if ours:
        client.apply_batch_sync([carla.command.DestroyActor(actor.id) for actor in ours], True)
