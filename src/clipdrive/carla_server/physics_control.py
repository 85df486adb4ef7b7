"""VehiclePhysicsControl: what a client reads of a vehicle's physics, and gives back changed."""

from __future__ import annotations

import math

from clipdrive.carla_server import values
from clipdrive.carla_server.vehicle import VehicleParameters

_MASS, _WHEELS = 11, 15
_FRICTION = 3.5  # CARLA's number for ordinary tyres
_FRONTAL_AREA_M2 = 2.22


def _wheel(max_steer_deg: float, side: float, forward_m: float, half_width_m: float) -> list:
    position_cm = [100.0 * forward_m, 100.0 * side * half_width_m, 0.0]
    return [_FRICTION, 0.25, max_steer_deg, 35.5, 1500.0, 3000.0, 2.0, 17.0, 1000.0, position_cm]


class PhysicsControl:
    """The 17 fields as they travel, checked; `mass_kg` is the one that impulses need."""

    def __init__(self, fields: list) -> None:
        self.fields = fields

    @classmethod
    def of(cls, parameters: VehicleParameters) -> PhysicsControl:
        """Describe a vehicle of ours in CARLA's terms."""
        steer_deg = math.degrees(parameters.max_steer_rad)
        half_width_m = 0.74 * parameters.half_width_m
        wheels = [_wheel(steer_deg, side, parameters.front_axle_m, half_width_m) for side in (-1.0, 1.0)]
        wheels += [_wheel(0.0, side, -parameters.rear_axle_m, half_width_m) for side in (-1.0, 1.0)]
        return cls([
            [[0.0, 430.0], [6000.0, 430.0], [18000.0, 140.0]], 18000.0, 1.0, 0.15, 2.0, 0.35, True, 0.0, 10.0,
            9.0, [[1.0, 0.35, 0.65]], parameters.mass_kg, parameters.drag_area_m2 / _FRONTAL_AREA_M2,
            [0.5 * (parameters.front_axle_m - parameters.rear_axle_m), 0.0, parameters.cg_height_m],
            [[0.0, 1.0], [120.0, 1.0]], wheels, True,
        ])  # fmt: skip

    @classmethod
    def from_wire(cls, fields: object) -> PhysicsControl:
        """Check what a client sent; raises WireError."""
        pair, gear, wheel = [0.0, 0.0], [0.0, 0.0, 0.0], _wheel(0.0, 0.0, 0.0, 0.0)
        model = [
            [pair], 0.0, 0.0, 0.0, 0.0, 0.0, True, 0.0, 0.0, 0.0, [gear], 0.0, 0.0, [0.0, 0.0, 0.0], [pair],
            [wheel], True,
        ]  # fmt: skip
        checked = values.numbers_like(fields, model, "physics control")
        if not 1.0 <= checked[_MASS] <= 1e6:
            raise values.WireError(f"mass: got {checked[_MASS]:g}, allowed are 1 to 1e6 kg")
        if len(checked[_WHEELS]) != 4:
            raise values.WireError(f"wheels: got {len(checked[_WHEELS])}, expected 4")
        return cls(checked)

    @property
    def mass_kg(self) -> float:
        return self.fields[_MASS]

    @property
    def max_steer_deg(self) -> float:
        return self.fields[_WHEELS][0][2]
