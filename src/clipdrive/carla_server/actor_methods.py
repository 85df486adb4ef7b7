"""The RPC methods that act on one actor; a batch of commands calls the same ones."""

from __future__ import annotations

import math

from clipdrive.carla_server import rpc, values
from clipdrive.carla_server.actors import ZERO, Actor
from clipdrive.carla_server.physics_control import PhysicsControl
from clipdrive.carla_server.rpc import Method, RpcError
from clipdrive.carla_server.world import World

AUTOPILOT = "autopilot and TrafficManager are not supported by clipdrive's CARLA server"
MAX_IMPULSE = 1.0e9


class ActorMethods:
    """One Python method per RPC method of that name; all raise RpcError or WireError."""

    def __init__(self, world: World) -> None:
        self.world = world

    # ---- spawn and destroy ----

    def spawn(self, description: object, transform: object, parent_id: int = 0) -> Actor:
        """Spawn by an ActorDescription [uid, id, [[id, type, value], ...]]."""
        _uid, type_id, given = values.array(description, 3, "actor description")
        attributes = {}
        for item in values.array(given, None, "attributes"):
            name, _type, value = values.array(item, 3, "attribute")
            attributes[values.text(name, "attribute")] = values.text(value, "attribute")
        pose = values.transform(transform)
        return self.world.spawn(values.text(type_id, "blueprint id"), attributes, pose, values.integer(parent_id))

    @rpc.value
    def spawn_actor(self, description: object, transform: object) -> tuple:
        return self.world.actor_to_wire(self.spawn(description, transform))

    @rpc.value
    def spawn_actor_with_parent(
        self, description: object, transform: object, parent_id: int, _attachment: int = 0, _socket: str = ""
    ) -> tuple:
        self.world.actor(parent_id)
        return self.world.actor_to_wire(self.spawn(description, transform, parent_id))

    @rpc.value
    def destroy_actor(self, actor_id: int) -> bool:
        return self.world.destroy(actor_id)

    @rpc.value
    def get_actors_by_id(self, ids: object) -> list[tuple]:
        actors = self.world.actors
        asked = dict.fromkeys(values.integer(item) for item in values.array(ids, None, "ids"))
        wanted = [actors.get(actor_id) for actor_id in asked]
        return [self.world.actor_to_wire(actor) for actor in wanted if actor is not None]

    @rpc.value
    def get_actor_bounding_box(self, actor_id: int) -> tuple:
        return self.world.actor(actor_id).bounding_box()

    # ---- motion ----

    @rpc.void
    def apply_control_to_vehicle(self, actor_id: int, control: object) -> None:
        self.world.vehicle(actor_id).apply_control(values.vehicle_control(control))

    @rpc.void
    def set_actor_transform(self, actor_id: int, transform: object) -> None:
        self.world.actor(actor_id).place(values.transform(transform))

    @rpc.void
    def set_actor_location(self, actor_id: int, location: object) -> None:
        actor = self.world.actor(actor_id)
        rotation = (actor.relative or actor.pose)[3:]
        actor.place(values.vector(location, values.MAX_COORDINATE_M, "location") + rotation)

    @rpc.void
    def set_actor_target_velocity(self, actor_id: int, velocity: object) -> None:
        speed = values.vector(velocity, name="velocity")
        self.world.solid(actor_id).set_velocity(speed)

    @rpc.void
    def set_actor_target_angular_velocity(self, actor_id: int, velocity: object) -> None:
        """Turn the vehicle about the vertical (degrees per second); other axes follow the ground."""
        rate = values.vector(velocity, name="angular velocity")[2]
        self.world.vehicle(actor_id).model.set_yaw_rate(rate * math.pi / 180.0)

    @rpc.void
    def enable_actor_constant_velocity(self, actor_id: int, velocity: object) -> None:
        self.world.vehicle(actor_id).constant_velocity = values.vector(velocity, name="velocity")

    @rpc.void
    def disable_actor_constant_velocity(self, actor_id: int) -> None:
        self.world.vehicle(actor_id).constant_velocity = None

    @rpc.void
    def add_actor_impulse(self, actor_id: int, impulse: object) -> None:
        self.world.solid(actor_id).push(values.vector(impulse, MAX_IMPULSE, "impulse"))

    @rpc.void
    def add_actor_force(self, actor_id: int, force: object) -> None:
        """Push for one tick."""
        self.world.solid(actor_id).push(self._in_a_tick(values.vector(force, MAX_IMPULSE, "force")))

    def add_actor_torque(self, actor_id: int, torque: object) -> None:
        """Turn for one tick; batch only, as the client's `add_torque` sends an angular impulse."""
        self.add_actor_angular_impulse(actor_id, list(self._in_a_tick(values.vector(torque, MAX_IMPULSE, "torque"))))

    def _in_a_tick(self, force: tuple) -> tuple:
        step_s = self.world.settings.fixed_delta_seconds or self.world.last_step_s
        return tuple(part * step_s for part in force)

    @rpc.void
    def add_actor_angular_impulse(self, actor_id: int, impulse: object) -> None:
        """Turn the vehicle as an angular impulse (kg m2 deg / s) about the vertical does."""
        vehicle = self.world.vehicle(actor_id)
        change = values.vector(impulse, MAX_IMPULSE, "impulse")[2] / vehicle.parameters.yaw_inertia_kgm2
        vehicle.model.set_yaw_rate((vehicle.model.angular_velocity_deg[2] + change) * math.pi / 180.0)

    @rpc.void
    def set_actor_simulate_physics(self, actor_id: int, on: bool) -> None:
        values.boolean(on)
        self.world.actor(actor_id)
        if actor_id in self.world.solids:
            self.world.solids[actor_id].simulate_physics(on)

    @rpc.void
    def set_actor_collisions(self, actor_id: int, on: bool) -> None:
        self.world.actor(actor_id)
        values.boolean(on)
        if actor_id in self.world.solids:
            self.world.solids[actor_id].collides = on

    @rpc.void
    def set_actor_enable_gravity(self, actor_id: int, on: bool) -> None:
        self.world.actor(actor_id)
        values.boolean(on)

    @rpc.void
    def set_actor_autopilot(self, actor_id: int, on: bool) -> None:
        self.world.actor(actor_id)
        if values.boolean(on):
            raise RpcError(AUTOPILOT)

    # ---- walkers ----

    @rpc.void
    def apply_control_to_walker(self, actor_id: int, control: object) -> None:
        self.world.walker(actor_id).apply_control(values.walker_control(control))

    def set_walker_state(self, actor_id: int, transform: object, speed: object) -> None:
        """Put a walker somewhere, as the client's own navigation does; batch only."""
        values.number(speed, name="speed")
        self.world.walker(actor_id).place(values.transform(transform))

    # ---- vehicles ----

    @rpc.value
    def get_physics_control(self, actor_id: int) -> list:
        vehicle = self.world.vehicle(actor_id)
        return vehicle.physics_control.located(vehicle.pose)

    @rpc.void
    def apply_physics_control(self, actor_id: int, control: object) -> None:
        vehicle = self.world.vehicle(actor_id)
        vehicle.change_physics(PhysicsControl.from_wire(control, vehicle.wheels))

    @rpc.value
    def get_vehicle_light_states(self) -> list[tuple[int, int]]:
        return [(vehicle.id, vehicle.light_state) for vehicle in self.world.vehicles.values()]

    @rpc.value
    def get_vehicle_light_state(self, actor_id: int) -> tuple[int]:
        return (self.world.vehicle(actor_id).light_state,)

    @rpc.void
    def set_vehicle_light_state(self, actor_id: int, state: object) -> None:
        self.world.vehicle(actor_id).light_state = values.integer(values.array(state, 1, "light state")[0])

    @rpc.void
    def apply_ackermann_control_to_vehicle(self, actor_id: int, control: object) -> None:
        numbers = [values.number(item, 1e6, "Ackermann control") for item in values.array(control, 5, "control")]
        self.world.vehicle(actor_id).apply_ackermann(tuple(numbers))

    @rpc.value
    def get_ackermann_controller_settings(self, actor_id: int) -> tuple:
        return self.world.vehicle(actor_id).ackermann_settings

    @rpc.void
    def apply_ackermann_controller_settings(self, actor_id: int, settings: object) -> None:
        numbers = [values.number(item, 1e6, "settings") for item in values.array(settings, 6, "settings")]
        self.world.vehicle(actor_id).ackermann_settings = tuple(numbers)

    @rpc.value
    def get_wheel_steer_angle(self, actor_id: int, wheel: int) -> float:
        vehicle = self.world.vehicle(actor_id)
        return math.degrees(vehicle.model.steer_rad) if wheel in (0, 1) else 0.0

    @rpc.value
    def get_telemetry_data(self, actor_id: int) -> tuple:
        vehicle = self.world.vehicle(actor_id)
        throttle, steer, brake, *_ = vehicle.control
        physics = vehicle.physics_control
        rpm, drag = physics.engine_rpm(vehicle.model.forward_mps), physics.fields[12]
        friction = [wheel[0] for wheel in physics.fields[15]]
        omega = vehicle.model.forward_mps / max(physics.radius_m, 1e-3)
        wheels = [(tire, 0.0, 0.0, omega, *(0.0,) * 6) for tire in friction]
        return vehicle.model.forward_mps, steer, throttle, brake, rpm, vehicle.gear, drag, wheels

    @rpc.value
    def get_actor_component_world_transform(self, actor_id: int, _name: str) -> tuple:
        pose = self.world.actor(actor_id).pose
        return pose[:3], pose[3:]

    @rpc.value
    def get_actor_component_relative_transform(self, actor_id: int, _name: str) -> tuple:
        self.world.actor(actor_id)
        return ZERO, ZERO

    @rpc.value
    def get_bones_transform(self, actor_id: int) -> tuple:
        self.world.walker(actor_id)
        return ([],)

    @rpc.value
    def get_wheel_pitch_angle(self, actor_id: int, _wheel: int) -> float:
        self.world.vehicle(actor_id)
        return 0.0

    def table(self) -> dict[str, Method]:
        """Return the RPC methods by name."""
        return rpc.methods_of(self)
