"""What the simulator showed at one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import carla
import numpy as np


@dataclass(frozen=True, slots=True)
class Reading:
    """The vehicle and its camera's image at one frame, in CARLA's frame of reference (y right, yaw
    clockwise).

    `image` is uint8, (height, width) in gray or (height, width, 3) in RGB. `speed_mps` is the part of the
    velocity along the heading, negative when the vehicle rolls back. Accelerations are those along the
    heading and to its right. `collision`: whether anything was hit since the reading before.
    """

    frame: int
    image: np.ndarray
    x_m: float
    y_m: float
    z_m: float
    yaw_rad: float
    pitch_rad: float
    roll_rad: float
    speed_mps: float
    forward_mps2: float
    right_mps2: float
    collision: bool


def reading_of(frame: int, image: np.ndarray, state: carla.ActorSnapshot, collision: bool) -> Reading:
    """The reading of a snapshot of the vehicle; angles in radians, wrapped to half a turn either way."""
    transform, velocity, acceleration = state.get_transform(), state.get_velocity(), state.get_acceleration()
    location, rotation = transform.location, transform.rotation
    yaw_rad = _wrapped_rad(rotation.yaw)
    cos_yaw, sin_yaw = math.cos(yaw_rad), math.sin(yaw_rad)
    return Reading(
        frame=frame,
        image=image,
        x_m=location.x,
        y_m=location.y,
        z_m=location.z,
        yaw_rad=yaw_rad,
        pitch_rad=_wrapped_rad(rotation.pitch),
        roll_rad=_wrapped_rad(rotation.roll),
        speed_mps=velocity.x * cos_yaw + velocity.y * sin_yaw,
        forward_mps2=acceleration.x * cos_yaw + acceleration.y * sin_yaw,
        right_mps2=acceleration.y * cos_yaw - acceleration.x * sin_yaw,
        collision=collision,
    )


def _wrapped_rad(angle_deg: float) -> float:
    return math.remainder(math.radians(angle_deg), math.tau)
