"""What lives in an episode: vehicles and the spectator; sensors are in `clipdrive.carla_server.sensors`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from clipdrive.carla_server import wire
from clipdrive.carla_server.blueprints import Blueprint
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.physics_control import PhysicsControl
from clipdrive.carla_server.poses import Vector, axes, compose, turn
from clipdrive.carla_server.vehicle import Vehicle as VehicleModel
from clipdrive.carla_server.vehicle import VehicleParameters
from clipdrive.carla_server.wire import Pose

if TYPE_CHECKING:
    from clipdrive.carla_server.sensors import Sensor

NEUTRAL = (0.0, 0.0, 0.0, False, False, False, 0)
SPEED_LIMIT_KMH = 30.0
ZERO = (0.0, 0.0, 0.0)
CAR = 14  # semantic tag


class Actor:
    """Anything with an id and a pose; one that has a parent moves with it."""

    semantic_tags = b""
    stream_id: int | None = None

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        self.id = actor_id
        self.blueprint = blueprint
        self.attributes = attributes
        self.pose = pose
        self.parent: Actor | None = None
        self.relative: Pose | None = None
        self._record: bytes | None = None

    @property
    def type_id(self) -> str:
        return self.blueprint.id

    def attach(self, parent: Actor, relative: Pose) -> None:
        """Mount this actor on `parent`."""
        self.parent, self.relative = parent, relative
        self.follow()

    def detach(self) -> None:
        """Stay where the parent was."""
        self.parent = self.relative = None

    def follow(self) -> None:
        """Take the pose that the mount on the parent gives."""
        if self.parent is not None:
            pose = compose(self.parent.pose, self.relative)
            if pose != self.pose:
                self.pose, self._record = pose, None

    def place(self, pose: Pose) -> None:
        """Teleport; an attached actor is placed relative to its parent, as in CARLA."""
        if self.parent is not None:
            self.relative = pose
            self.follow()
        else:
            self.pose, self._record = pose, None

    def record(self) -> bytes:
        """Return this actor's 119 bytes of a snapshot."""
        if self._record is None:
            self._record = wire.actor_record(self.id, self.pose)
        return self._record

    def bounding_box(self) -> tuple:
        """Return the BoundingBox: location, half extents, rotation, actor id."""
        return ZERO, self.blueprint.half_extents_m, ZERO, self.id

    def to_wire(self, token: bytes) -> tuple:
        """Return the Actor struct; `token` is that of its stream, empty where it has none."""
        description = tuple((a.id, a.type, self.attributes[a.id]) for a in self.blueprint.attributes)
        parent_id = 0 if self.parent is None else self.parent.id
        return (
            self.id, parent_id, (self.blueprint.uid, self.type_id, description), self.bounding_box(),
            self.semantic_tags, token,
        )  # fmt: skip


class Vehicle(Actor):
    """A car: the wire's view of `clipdrive.carla_server.vehicle.Vehicle`."""

    semantic_tags = bytes([CAR])

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.parameters = _parameters(blueprint)
        self.model = VehicleModel(self.parameters)
        self.model.teleport(*pose)
        self.physics_control = PhysicsControl.of(self.parameters)
        self.control = NEUTRAL
        self.control_is_new = False
        self.sticky = attributes["sticky_control"].lower() == "true"
        self.simulated = True
        self.light_state = 0
        self.constant_velocity: Vector | None = None  # along the vehicle's own axes
        self.hit: Vector | None = None  # impulse of this tick (N s), world axes
        self.collision_sensors: list[Sensor] = []

    @property
    def velocity(self) -> Vector:
        return tuple(self.model.velocity)

    def apply_control(self, control: tuple) -> None:
        """Take a VehicleControl; without sticky control it counts for one tick."""
        self.control, self.control_is_new = control, True
        self.model.control(*control[:5])

    def place(self, pose: Pose) -> None:
        self.model.teleport(*pose)
        self.pose = pose

    def simulate_physics(self, on: bool) -> None:
        """Freeze the vehicle, or let it move again with all of its hidden state forgotten."""
        if on and not self.simulated:
            self.model.reset_state()
            self.model.control(*self.control[:5])  # what the driver holds is no state of the vehicle
        self.simulated = on

    def push(self, impulse: Vector) -> None:
        """Change the velocity as an impulse (N s) at the centre of mass does."""
        mass = self.physics_control.mass_kg
        self.model.set_velocity(*(v + j / mass for v, j in zip(self.velocity, impulse, strict=True)))

    def change_physics(self, control: PhysicsControl) -> None:
        """Take over a VehiclePhysicsControl."""
        self.physics_control = control

    def step(self, ground: GroundMap, step_s: float) -> None:
        """Drive on for `step_s` seconds."""
        self.hit = None
        if not self.control_is_new and not self.sticky and self.control is not NEUTRAL:
            self.control = NEUTRAL
            self.model.control(*NEUTRAL[:5])
        self.control_is_new = False
        if not self.simulated:
            return
        model = self.model
        if self.constant_velocity is not None:
            frame = axes(model.pitch_deg, model.yaw_deg, model.roll_deg)
            model.set_velocity(*turn(frame, self.constant_velocity))
        model.step(ground, step_s)
        self.hit = model.hit
        self.pose = (model.x, model.y, model.z, model.pitch_deg, model.yaw_deg, model.roll_deg)

    def record(self) -> bytes:
        model = self.model
        if not self.simulated:
            return wire.vehicle_record(self.id, self.pose, ZERO, ZERO, ZERO, self.control, SPEED_LIMIT_KMH)
        return wire.vehicle_record(
            self.id, self.pose, model.velocity, model.angular_velocity_deg, model.acceleration, self.control,
            SPEED_LIMIT_KMH,
        )  # fmt: skip

    def bounding_box(self) -> tuple:
        half = self.blueprint.half_extents_m
        return (0.0, 0.0, half[2]), half, ZERO, self.id


def _parameters(blueprint: Blueprint) -> VehicleParameters:
    """Scale the Model 3's parameters to the size and mass of another vehicle."""
    base = VehicleParameters()
    length_m, width_m, height_m = blueprint.half_extents_m
    mass, length, height = (
        blueprint.mass_kg / base.mass_kg,
        length_m / base.half_length_m,
        height_m / base.half_height_m,
    )
    if mass == length == height == 1.0:
        return base
    return dataclasses.replace(
        base,
        mass_kg=blueprint.mass_kg,
        yaw_inertia_kgm2=base.yaw_inertia_kgm2 * mass * length**2,
        front_axle_m=base.front_axle_m * length,
        rear_axle_m=base.rear_axle_m * length,
        cg_height_m=base.cg_height_m * height,
        drive_force_n=base.drive_force_n * mass,
        drive_power_w=base.drive_power_w * mass,
        brake_force_n=base.brake_force_n * mass,
        drag_area_m2=base.drag_area_m2 * width_m * height_m / (base.half_width_m * base.half_height_m),
        half_length_m=length_m,
        half_width_m=width_m,
        half_height_m=height_m,
    )
