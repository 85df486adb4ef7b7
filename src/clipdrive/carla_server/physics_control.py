"""VehiclePhysicsControl: what a client reads of a vehicle's physics, and gives back changed.

The vehicle's own model has fewer numbers than CARLA's. A field that a client changes acts on them in proportion to
what it was: twice the torque, twice the force. Fields that the model has no counterpart for are kept and given back.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Callable

from clipdrive.carla_server import values
from clipdrive.carla_server.poses import axes, turn
from clipdrive.carla_server.vehicle import VehicleParameters
from clipdrive.carla_server.wire import Pose

(_TORQUE, _MAX_RPM, _FINAL, _GEARS, _MASS, _DRAG, _CENTRE, _STEERING, _WHEELS) = (0, 1, 9, 10, 11, 12, 13, 14, 15)
(_TIRE_FRICTION, _MAX_STEER, _RADIUS, _BRAKE) = (0, 2, 3, 4)  # of a wheel
_ORDINARY_FRICTION = 3.5  # CARLA's number for ordinary tyres
_FRONTAL_AREA_M2 = 2.22
_LEVER_MIN_M = 0.2  # of an axle from the centre of gravity, wherever a client puts that
_FRICTION_MAX, _CENTRE_MAX_M, _DRAG_MAX_M2PKG = 10.0, 10.0, 0.05  # beyond these the steps of the model are too long
_CURVE_SAMPLES = 64


def _wheel(max_steer_deg: float, forward_m: float, right_m: float, radius_m: float) -> list:
    position_cm = [100.0 * forward_m, 100.0 * right_m, 0.0]
    steer, radius_cm = _float32(max_steer_deg), _float32(100.0 * radius_m)
    return [_ORDINARY_FRICTION, 0.25, steer, radius_cm, 1500.0, 3000.0, 2.0, 17.0, 1000.0, position_cm]


def _float32(number: float) -> float:
    """The number as a client has it: what comes back unchanged must not count as a change."""
    return struct.unpack("<f", struct.pack("<f", number))[0]


class PhysicsControl:
    """The 17 fields as they travel, checked."""

    def __init__(self, fields: list) -> None:
        self.fields = fields

    @classmethod
    def of(cls, parameters: VehicleParameters, wheels: int = 4) -> PhysicsControl:
        """Describe a vehicle of ours in CARLA's terms."""
        steer_deg = math.degrees(parameters.max_steer_rad)
        sides = (-0.74 * parameters.half_width_m, 0.74 * parameters.half_width_m) if wheels == 4 else (0.0,)
        radius_m = 0.355 if wheels == 4 else 0.31
        table = [_wheel(steer_deg, parameters.front_axle_m, side, radius_m) for side in sides]
        table += [_wheel(0.0, -parameters.rear_axle_m, side, radius_m) for side in sides]
        return cls([
            [[0.0, 430.0], [6000.0, 430.0], [18000.0, 140.0]], 18000.0, 1.0, _float32(0.15), 2.0, _float32(0.35),
            True, 0.0, 10.0, 9.0, [[1.0, _float32(0.35), _float32(0.65)]], _float32(parameters.mass_kg),
            _float32(parameters.drag_area_m2 / _FRONTAL_AREA_M2),
            [
                _float32(0.5 * (parameters.front_axle_m - parameters.rear_axle_m)), 0.0,
                _float32(parameters.cg_height_m),
            ],
            [[0.0, 1.0], [120.0, 1.0]], table, True,
        ])  # fmt: skip

    @classmethod
    def from_wire(cls, fields: object, wheels: int = 4) -> PhysicsControl:
        """Check what a client sent; raises WireError."""
        pair, gear, wheel = [0.0, 0.0], [0.0, 0.0, 0.0], _wheel(0.0, 0.0, 0.0, 0.0)
        model = [
            [pair], 0.0, 0.0, 0.0, 0.0, 0.0, True, 0.0, 0.0, 0.0, [gear], 0.0, 0.0, [0.0, 0.0, 0.0], [pair],
            [wheel], True,
        ]  # fmt: skip
        checked = values.numbers_like(fields, model, "physics control")
        if not 1.0 <= checked[_MASS] <= 1e6:
            raise values.WireError(f"mass: got {checked[_MASS]:g}, allowed are 1 to 1e6 kg")
        if len(checked[_WHEELS]) != wheels:
            raise values.WireError(f"wheels: got {len(checked[_WHEELS])}, expected {wheels}")
        return cls(checked)

    def located(self, pose: Pose) -> list:
        """Return the fields with the wheels where they are in the world (cm), as CARLA gives them."""
        frame = axes(*pose[3:])
        wheels = []
        for *numbers, place_cm in self.fields[_WHEELS]:
            offset = turn(frame, place_cm)
            wheels.append([*numbers, [100.0 * at + part for at, part in zip(pose[:3], offset, strict=True)]])
        return [*self.fields[:_WHEELS], wheels, *self.fields[_WHEELS + 1 :]]

    def with_wheels_of(self, other: PhysicsControl) -> PhysicsControl:
        """Return this control with the wheels in `other`'s places: a client cannot move them."""
        wheels = [
            [*mine[:-1], theirs[-1]] for mine, theirs in zip(self.fields[_WHEELS], other.fields[_WHEELS], strict=True)
        ]
        return PhysicsControl([*self.fields[:_WHEELS], wheels, *self.fields[_WHEELS + 1 :]])

    @property
    def mass_kg(self) -> float:
        return self.fields[_MASS]

    @property
    def max_steer_deg(self) -> float:
        return self.fields[_WHEELS][0][_MAX_STEER]

    @property
    def radius_m(self) -> float:
        """Of a wheel, on average."""
        return 0.01 * _mean(self.fields[_WHEELS], _RADIUS)

    def engine_rpm(self, speed_mps: float) -> float:
        """How fast the engine turns in the first gear."""
        gears = self.fields[_GEARS] or [[1.0, 0.0, 0.0]]
        turns_s = abs(speed_mps) / max(self.radius_m * math.tau, 1e-3)
        return min(60.0 * turns_s * gears[0][0] * self.fields[_FINAL], self.fields[_MAX_RPM])

    def changed(self, base: PhysicsControl, parameters: VehicleParameters) -> VehicleParameters:
        """Return `parameters`, which `base` describes, as they are under this control."""
        new, old = self._figures(), base._figures()
        ratio = {name: new[name] / old[name] if old[name] > 0.0 else 1.0 for name in new}
        shift_m = new["centre"] - old["centre"]  # of the centre of gravity, forward
        base_m = parameters.front_axle_m + parameters.rear_axle_m
        front_m = min(max(parameters.front_axle_m - shift_m, _LEVER_MIN_M), base_m - _LEVER_MIN_M)
        steer_rad = min(max(parameters.max_steer_rad * ratio["steer"], 0.0), math.radians(85.0))
        mass_kg = parameters.mass_kg * ratio["mass"]
        return dataclasses.replace(
            parameters,
            mass_kg=mass_kg,
            yaw_inertia_kgm2=parameters.yaw_inertia_kgm2 * ratio["mass"],
            front_axle_m=front_m if shift_m else parameters.front_axle_m,
            rear_axle_m=base_m - front_m if shift_m else parameters.rear_axle_m,
            cg_height_m=min(max(parameters.cg_height_m + (new["height"] - old["height"]), 0.0), _CENTRE_MAX_M),
            friction=min(parameters.friction * ratio["friction"], _FRICTION_MAX),
            drive_force_n=parameters.drive_force_n * ratio["pull"],
            drive_power_w=parameters.drive_power_w * ratio["power"],
            brake_force_n=parameters.brake_force_n * ratio["brake"],
            drag_area_m2=min(parameters.drag_area_m2 * ratio["drag"], _DRAG_MAX_M2PKG * mass_kg),
            max_steer_rad=steer_rad,
            speed_max_mps=parameters.speed_max_mps * ratio["top"],
            reverse_speed_max_mps=parameters.reverse_speed_max_mps * ratio["top"],
        )

    def _figures(self) -> dict[str, float]:
        """What the fields come to, as far as the vehicle's model has it."""
        fields = self.fields
        wheels, gears = fields[_WHEELS], fields[_GEARS] or [[1.0, 0.0, 0.0]]
        front = wheels[: len(wheels) // 2]
        radius = max(_mean(wheels, _RADIUS), 1e-3)
        final = max(fields[_FINAL], 0.0)
        lowest, highest = max(gear[0] for gear in gears), max(min(gear[0] for gear in gears), 1e-3)
        curve = fields[_TORQUE]
        torque = max((max(newton_m, 0.0) for _, newton_m in curve), default=0.0)
        return {
            "mass": fields[_MASS],
            "friction": max(_mean(wheels, _TIRE_FRICTION), 0.0),
            "steer": max(_mean(front, _MAX_STEER), 0.0),
            "brake": max(_mean(wheels, _BRAKE), 0.0) / radius,
            "drag": max(fields[_DRAG], 0.0),
            "pull": torque * max(lowest, 0.0) * final / radius,
            "power": _power(curve, fields[_MAX_RPM]),
            "top": max(fields[_MAX_RPM], 0.0) * radius / max(highest * final, 1e-3),
            "centre": fields[_CENTRE][0],
            "height": fields[_CENTRE][2],
        }

    def steering_curve(self) -> Callable[[float], float] | None:
        """Return the share of the steering angle by speed (km/h), None where it is 1 at every speed."""
        points = sorted((float(speed), float(share)) for speed, share in self.fields[_STEERING])
        if not points or all(share == 1.0 for _, share in points):
            return None
        return lambda speed_kmh: min(max(_interpolated(points, speed_kmh), 0.0), 1.0)


def _mean(wheels: list, field: int) -> float:
    return sum(wheel[field] for wheel in wheels) / len(wheels)


def _power(curve: list, max_rpm: float) -> float:
    """Largest product of torque and speed on the curve up to the highest speed."""
    points = sorted((rpm, newton_m) for rpm, newton_m in curve)
    if not points:
        return 0.0
    speeds = [max_rpm * step / _CURVE_SAMPLES for step in range(1, _CURVE_SAMPLES + 1)]
    return max(max(rpm * _interpolated(points, rpm), 0.0) for rpm in speeds)


def _interpolated(points: list[tuple[float, float]], x: float) -> float:
    """Linear between sorted points, constant beyond them."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0) if x1 > x0 else y1
    return points[-1][1]
