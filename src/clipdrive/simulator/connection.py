"""The first words with a CARLA server, and the world settings that we need."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import carla

from clipdrive.simulator.errors import ServerFault, SimulatorError
from clipdrive.simulator.probe import ask
from clipdrive.simulator.process import ServerProcess

SUBSTEP_S = 0.01
CHANGED_SETTINGS = (
    "synchronous_mode",
    "no_rendering_mode",
    "fixed_delta_seconds",
    "substepping",
    "max_substep_delta_time",
    "max_substeps",
)


def connect(address: tuple[str, int], within_s: float, server: ServerProcess | None = None) -> carla.Client:
    """A client of a server that has answered, of the version that the carla package has.

    Every attempt is a new client, for a client connects only once. `server`, where it is our own process,
    ends the attempts when it has ended. Raises ServerFault when no server answers, SimulatorError when it is
    another version or no CARLA server.
    """
    host, port = address
    deadline = time.monotonic() + within_s
    while True:
        try:
            require_version(address, ask(address, "version", min(5.0, within_s)))
            client = carla.Client(host, port, 2)
            client.set_timeout(min(5.0, within_s))
            client.get_server_version()
            return client
        except RuntimeError as error:
            if isinstance(error, SimulatorError) and not isinstance(error, ServerFault):
                raise  # another version, or not CARLA: waiting does not help
            ended = server is not None and not server.running
            if ended or time.monotonic() > deadline:
                end = f"; {server.describe_end()}" if server is not None else ""
                what = error if isinstance(error, ServerFault) else f"no CARLA server answers at {host}:{port}"
                raise ServerFault(f"{what}{end}") from error
        time.sleep(0.2)


def require_version(address: tuple[str, int], server_version: str) -> None:
    """Raise SimulatorError unless the server's version is the carla package's."""
    client_version = metadata.version("carla")
    if server_version != client_version:
        raise SimulatorError(
            f"the CARLA server at {address[0]}:{address[1]} has version {server_version}, the carla package is "
            f"{client_version}; allowed: equal versions"
        )


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


def settings_of(world: carla.World) -> dict[str, Any]:
    """The settings that `make_synchronous` changes."""
    settings = world.get_settings()
    return {name: getattr(settings, name) for name in CHANGED_SETTINGS}


def restore_settings(world: carla.World, before: Mapping[str, Any]) -> None:
    settings = world.get_settings()
    for name, value in before.items():
        setattr(settings, name, value)
    world.apply_settings(settings)


def destroy_leftovers(client: carla.Client, world: carla.World, role_name: str) -> None:
    """Destroy what a killed client of ours left behind in a server that lives on: actors of our role name.

    The world must be synchronous. It is ticked first: the client knows the actors of the last tick that it saw.
    """
    world.tick()
    ours = [actor for actor in world.get_actors() if actor.attributes.get("role_name") == role_name]
    ours.sort(key=lambda actor: not actor.type_id.startswith("sensor."))
    if ours:
        client.apply_batch_sync([carla.command.DestroyActor(actor.id) for actor in ours], True)
