"""Ackermann control: pedals and steering for a wanted speed, acceleration and angle of the front wheels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clipdrive.carla_server.vehicle import Vehicle

ACKERMANN_SETTINGS = (0.15, 0.0, 0.25, 0.01, 0.0, 0.01)  # speed and acceleration: kp, ki, kd, as CARLA has them
SPEED_GAIN_PER_S = 2.0  # at CARLA's speed_kp of 0.15; the other settings are kept, the pedals being computed
ACCELERATION_MAX_MPS2 = 5.0  # where none is given
STANDSTILL_MPS = 0.1
GRAVITY_MPS2 = 9.81
AIR_KGPM3 = 1.225


@dataclass
class Ackermann:
    """What is wanted: radians (right positive), rad/s (0 = at once), m/s (negative: backwards), m/s2, m/s3."""

    steer: float
    steer_speed: float
    speed: float
    acceleration: float
    jerk: float
    steer_rad: float  # asked of the wheels now

    def control(self, vehicle: Vehicle, step_s: float, settings: tuple) -> tuple:
        """Return the VehicleControl for the next step."""
        car = vehicle.parameters
        most = abs(self.steer_speed) * step_s if self.steer_speed else math.inf
        self.steer_rad += min(max(self.steer - self.steer_rad, -most), most)
        steer = min(max(self.steer_rad / max(car.max_steer_rad, 1e-6), -1.0), 1.0)
        ahead = vehicle.forward_mps
        reverse = self.speed < 0.0
        if abs(self.speed) < STANDSTILL_MPS and abs(ahead) < 1.0:
            return 0.0, steer, 1.0, False, reverse, False, 0
        gain = SPEED_GAIN_PER_S * settings[0] / ACKERMANN_SETTINGS[0]
        limit = abs(self.acceleration) or ACCELERATION_MAX_MPS2
        wanted = min(max(gain * (self.speed - ahead), -limit), limit) * (-1.0 if reverse else 1.0)
        resistance = car.rolling_resistance * car.mass_kg * GRAVITY_MPS2
        resistance += 0.5 * AIR_KGPM3 * car.drag_area_m2 * ahead * ahead
        force = car.mass_kg * wanted + resistance
        if force >= 0.0:
            pull = min(car.drive_force_n, car.drive_power_w / max(abs(ahead), 1.0))
            return min(force / max(pull, 1.0), 1.0), steer, 0.0, False, reverse, False, -1 if reverse else 1
        brake = min(-force / max(car.brake_force_n, 1.0), 1.0)
        return 0.0, steer, brake, False, reverse, False, -1 if reverse else 1
