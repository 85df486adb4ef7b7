"""A vehicle as an actor: what clients set and read of `clipdrive.carla_server.vehicle.Vehicle`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from clipdrive.carla_server import wire
from clipdrive.carla_server.ackermann import ACKERMANN_SETTINGS, Ackermann
from clipdrive.carla_server.actors import ZERO, Solid
from clipdrive.carla_server.blueprints import Blueprint
from clipdrive.carla_server.catalogue import BICYCLE, Body
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.physics_control import PhysicsControl
from clipdrive.carla_server.poses import Vector, axes, turn
from clipdrive.carla_server.vehicle import Vehicle as VehicleModel
from clipdrive.carla_server.vehicle import VehicleParameters
from clipdrive.carla_server.wire import Pose

NEUTRAL = (0.0, 0.0, 0.0, False, False, False, 0)
SPEED_LIMIT_KMH = 30.0
HEAVY_KG = 3500.0
# Of the Model 3's force and power per kilogram, and of its top speed: a cyclist has 4 W/kg, a fire engine 20.
_HEAVY, _PEDALLED, _ORDINARY = (0.3, 0.15, 0.5), (0.25, 0.03, 0.18), (1.0, 1.0, 1.0)


class Vehicle(Solid):
    """A car: the wire's view of `clipdrive.carla_server.vehicle.Vehicle`."""

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.wheels = int(attributes["number_of_wheels"])
        self.parameters = self.stock = _parameters(self.body)  # as it drives now, and as it was delivered
        self.model = VehicleModel(self.parameters)
        self.model.teleport(*pose)
        self.physics_control = PhysicsControl.of(self.stock, self.wheels)
        self._steering_share: Callable[[float], float] | None = None
        self.ackermann: Ackermann | None = None
        self.ackermann_settings = ACKERMANN_SETTINGS
        self.control = NEUTRAL
        self.gear = 1  # that is in: -1 backwards, 0 neutral
        self.control_is_new = False
        self.sticky = attributes["sticky_control"].lower() == "true"
        self.light_state = 0
        self.constant_velocity: Vector | None = None  # along the vehicle's own axes

    @property
    def velocity(self) -> Vector:
        return tuple(self.model.velocity)

    def apply_control(self, control: tuple) -> None:
        """Take a VehicleControl; without sticky control it counts for one tick."""
        self.ackermann = None
        self.control_is_new = True
        self._hold(control)

    def _hold(self, control: tuple, steering_share: float = 1.0) -> None:
        """Keep a control, and drive by it; where gears are shifted by hand, the gear says which way."""
        self.control = control
        throttle, steer, brake, hand_brake, reverse, by_hand, gear = control
        self.gear = -1 if reverse else gear if by_hand else 1
        self.model.control(throttle if self.gear else 0.0, steer * steering_share, brake, hand_brake, self.gear < 0)

    def apply_ackermann(self, control: tuple) -> None:
        """Take a VehicleAckermannControl; it holds until the next control of either kind."""
        self.ackermann = Ackermann(*control, steer_rad=self.model.steer_rad)
        self.control_is_new = True

    def place(self, pose: Pose) -> None:
        self.model.teleport(*pose)
        self.pose = pose

    def simulate_physics(self, on: bool) -> None:
        """Freeze the vehicle, or let it move again with all of its hidden state forgotten."""
        if on and not self.simulated:
            self.model.reset_state()
            self._hold(self.control)  # what the driver holds is no state of the vehicle
        self.simulated = on

    def set_velocity(self, velocity: Vector) -> None:
        self.model.set_velocity(*velocity)

    @property
    def mass_kg(self) -> float:
        return self.parameters.mass_kg if self.simulated else 0.0

    @property
    def yaw_inertia_kgm2(self) -> float:
        return self.parameters.yaw_inertia_kgm2

    def motion(self) -> tuple[float, float, float]:
        return self.model.motion() if self.simulated else ZERO

    def knock(self, dvx_mps: float, dvy_mps: float, turn_rad_s: float, out_x_m: float, out_y_m: float) -> None:
        self.model.knock(dvx_mps, dvy_mps, turn_rad_s, out_x_m, out_y_m)
        self.pose = (self.model.x, self.model.y, *self.pose[2:])

    def feel(self, other: Solid, impulse: Vector, touch_s: float) -> None:
        super().feel(other, impulse, touch_s)
        if self.simulated:
            self.model.feel(*(part / (touch_s * self.parameters.mass_kg) for part in impulse))

    def push(self, impulse: Vector) -> None:
        """Change the velocity as an impulse (N s) at the centre of mass does."""
        mass = self.parameters.mass_kg
        self.model.set_velocity(*(v + j / mass for v, j in zip(self.velocity, impulse, strict=True)))

    def change_physics(self, control: PhysicsControl) -> None:
        """Take over a VehiclePhysicsControl; the vehicle drives on by it."""
        stock = PhysicsControl.of(self.stock, self.wheels)
        self.parameters = control.changed(stock, self.stock)
        self.physics_control = control.with_wheels_of(stock)
        self._steering_share = control.steering_curve()
        self.model.change(self.parameters)
        self._hold(self.control)

    def step(self, ground: GroundMap, step_s: float) -> None:
        """Drive on for `step_s` seconds."""
        super().step(ground, step_s)
        if not self.control_is_new and not self.sticky and self.control is not NEUTRAL:
            self.ackermann = None
            self._hold(NEUTRAL)
        self.control_is_new = False
        if not self.simulated:
            return
        if self.ackermann is not None:
            self._hold(self.ackermann.control(self.model, step_s, self.ackermann_settings))
        if self._steering_share is not None:
            self._hold(self.control, self._steering_share(3.6 * math.hypot(*self.model.velocity)))
        model = self.model
        if self.constant_velocity is not None:
            frame = axes(model.pitch_deg, model.yaw_deg, model.roll_deg)
            model.set_velocity(*turn(frame, self.constant_velocity))
        model.step(ground, step_s)
        if model.hit is not None:
            self.hits.append((None, model.hit))
        self.pose = model.pose

    def record(self) -> bytes:
        model = self.model
        if not self.simulated:
            return wire.vehicle_record(self.id, self.pose, ZERO, ZERO, ZERO, self.control, SPEED_LIMIT_KMH)
        control = (*self.control[:4], self.gear < 0, self.control[5], self.gear)  # CARLA shows the gear that is in
        return wire.vehicle_record(
            self.id, self.pose, model.velocity, model.angular_velocity_deg, model.acceleration, control,
            SPEED_LIMIT_KMH,
        )  # fmt: skip


def _parameters(body: Body) -> VehicleParameters:
    """Scale the Model 3's parameters to the size and mass of another vehicle."""
    base = VehicleParameters()
    length_m, width_m, height_m = body.half_extents_m
    mass, length, height = (
        body.mass_kg / base.mass_kg,
        length_m / base.half_length_m,
        height_m / base.half_height_m,
    )
    if mass == length == height == 1.0:
        return base
    force, power, top = _PEDALLED if body.tag == BICYCLE else _HEAVY if body.mass_kg > HEAVY_KG else _ORDINARY
    return dataclasses.replace(
        base,
        mass_kg=body.mass_kg,
        yaw_inertia_kgm2=base.yaw_inertia_kgm2 * mass * length**2,
        front_axle_m=base.front_axle_m * length,
        rear_axle_m=base.rear_axle_m * length,
        cg_height_m=base.cg_height_m * height,
        drive_force_n=base.drive_force_n * mass * force,
        drive_power_w=base.drive_power_w * mass * power,
        speed_max_mps=base.speed_max_mps * top,
        brake_force_n=base.brake_force_n * mass,
        drag_area_m2=base.drag_area_m2 * width_m * height_m / (base.half_width_m * base.half_height_m),
        half_length_m=length_m,
        half_width_m=width_m,
        half_height_m=height_m,
    )
