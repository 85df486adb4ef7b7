"""The commands of apply_batch: each is [[index, fields]], answered with the actor's id or an error."""

from __future__ import annotations

import logging
from collections.abc import Callable

from clipdrive.carla_server import values
from clipdrive.carla_server.actor_methods import ActorMethods
from clipdrive.carla_server.rpc import RpcError

log = logging.getLogger(__name__)

_BAD_COMMAND = (RpcError, ValueError, TypeError, IndexError, KeyError, OverflowError)
MAX_DEPTH = 4  # of commands to run after a spawn


class Batch:
    """Runs commands in their order; one that fails does not stop the rest."""

    def __init__(self, methods: ActorMethods) -> None:
        self.methods = methods
        self.by_index: dict[int, Callable] = {
            1: self._destroy,
            2: methods.apply_control_to_vehicle,
            3: methods.apply_ackermann_control_to_vehicle,
            4: methods.apply_control_to_walker,
            5: methods.apply_physics_control,
            6: methods.set_actor_transform,
            7: methods.set_walker_state,
            8: methods.set_actor_target_velocity,
            9: methods.set_actor_target_angular_velocity,
            10: methods.add_actor_impulse,
            11: methods.add_actor_force,
            12: methods.add_actor_angular_impulse,
            13: methods.add_actor_torque,
            14: methods.set_actor_simulate_physics,
            15: methods.set_actor_enable_gravity,
            16: methods.set_actor_autopilot,
            18: lambda actor_id, state: methods.set_vehicle_light_state(actor_id, [state]),
        }

    def run(self, commands: object, _do_tick: bool = False) -> list[tuple]:
        """Return one Response<ActorId> per command."""
        return [self._response(command) for command in values.array(commands, None, "commands")]

    def _response(self, command: object) -> tuple:
        try:
            return ((1, self._run(command, 0, 0)),)
        except _BAD_COMMAND as error:
            log.info("command: %s", error)
            return ((0, (str(error),)),)

    def _run(self, command: object, future_id: int, depth: int) -> int:
        index, fields = values.array(values.array(command, 1, "command")[0], 2, "command")
        fields = list(values.array(fields, None, "command"))
        if index == 0:
            return self._spawn(fields, future_id, depth)
        function = self.by_index.get(index)
        if function is None:
            raise RpcError(f"batch command {values.shown(index)} is not supported by clipdrive's CARLA server")
        if fields and fields[0] == 0:
            fields[0] = future_id  # carla.command.FutureActor
        function(*fields)
        return fields[0]

    def _spawn(self, fields: list, future_id: int, depth: int) -> int:
        description, transform, parent, _attachment, _socket, do_after = values.array(fields, 6, "SpawnActor")
        if depth >= MAX_DEPTH:
            raise RpcError(f"SpawnActor: commands nested more than {MAX_DEPTH} deep")
        parent_id = values.optional(parent, "parent")
        if parent_id == 0:
            parent_id = future_id
        actor_id = self.methods.spawn(description, transform, parent_id or 0).id
        for command in values.array(do_after, None, "do_after"):
            try:
                self._run(command, actor_id, depth + 1)
            except _BAD_COMMAND as error:  # the spawn itself stands, as in CARLA
                log.info("command after spawn: %s", error)
        return actor_id

    def _destroy(self, actor_id: int) -> None:
        if not self.methods.destroy_actor(actor_id):
            raise RpcError(f"unable to destroy actor {actor_id}: not found")
