"""A walker: stands, walks and runs where its WalkerControl says, on the ground and not through walls."""

from __future__ import annotations

import math

from clipdrive.carla_server import wire
from clipdrive.carla_server.actors import ZERO, Solid
from clipdrive.carla_server.blueprints import Blueprint
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.poses import Vector
from clipdrive.carla_server.wire import Pose

SPEED_MAX_MPS = 10.0  # faster than anybody runs
TURN_DEG_S = 360.0
JUMP_MPS = 4.2
GRAVITY_MPS2 = 9.81
WALKED_MPS = 3.0  # a contact that changes the velocity by more takes a walker along
SLIDE_MPS2 = 6.0  # by which it slows down then
STANDING = ((0.0, 0.0, 0.0), 0.0, False)  # direction, speed, jump


class Walker(Solid):
    """A person: its origin is the middle of the body, half a body above the ground."""

    yields = True

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.control = STANDING
        self._velocity: Vector = ZERO
        self._fall_mps = 0.0
        self._thrown: Vector | None = None  # a velocity that was set; holds for one tick
        self._slide = (0.0, 0.0)  # velocity of a walker who was run into

    @property
    def velocity(self) -> Vector:
        return self._velocity

    def apply_control(self, control: tuple) -> None:
        """Take a WalkerControl (direction, speed, jump)."""
        self.control = control

    def set_velocity(self, velocity: Vector) -> None:
        self._thrown = velocity

    def push(self, impulse: Vector) -> None:
        self.knock(impulse[0] / self.body.mass_kg, impulse[1] / self.body.mass_kg, 0.0, 0.0, 0.0)

    def motion(self) -> tuple[float, float, float]:
        return (*self._slide, 0.0)  # who walks into something stops, and does not push it

    def knock(self, dvx_mps: float, dvy_mps: float, turn_rad_s: float, out_x_m: float, out_y_m: float) -> None:
        self.pose = (self.pose[0] + out_x_m, self.pose[1] + out_y_m, *self.pose[2:])
        vx, vy, vz = self._velocity
        self._velocity = (vx + dvx_mps, vy + dvy_mps, vz)
        if math.hypot(dvx_mps, dvy_mps) > WALKED_MPS:
            self._slide = self._velocity[:2]

    def step(self, ground: GroundMap, step_s: float) -> None:
        """Walk on for `step_s` seconds."""
        super().step(ground, step_s)
        if not self.simulated:
            self._velocity = ZERO
            return
        vx, vy = self._sliding(step_s) or self._wish()
        x, y, z, pitch, yaw, roll = self.pose
        new_x, new_y = x + vx * step_s, y + vy * step_s
        if self._walled(ground, x, y, new_x, new_y):
            new_x, new_y = x, y
        if (vx or vy) and self._slide == (0.0, 0.0):
            turn = math.remainder(math.degrees(math.atan2(vy, vx)) - yaw, 360.0)
            most = TURN_DEG_S * step_s
            yaw = math.remainder(yaw + min(max(turn, -most), most), 360.0)
        new_z = self._height(ground, new_x, new_y, z, step_s)
        self.pose = (new_x, new_y, new_z, pitch, yaw, roll)
        self._velocity = ((new_x - x) / step_s, (new_y - y) / step_s, (new_z - z) / step_s)

    def _sliding(self, step_s: float) -> tuple[float, float] | None:
        """The velocity of a walker who was run into, until it has gone."""
        vx, vy = self._slide
        speed = math.hypot(vx, vy)
        if speed == 0.0:
            return None
        left = max(speed - SLIDE_MPS2 * step_s, 0.0) / speed
        self._slide = (vx * left, vy * left)
        return vx, vy

    def _wish(self) -> tuple[float, float]:
        if self._thrown is not None:
            (vx, vy, _), self._thrown = self._thrown, None
            return vx, vy
        (x, y, _), speed, _ = self.control
        length = math.hypot(x, y)
        speed = min(max(speed, 0.0), SPEED_MAX_MPS)
        return (speed * x / length, speed * y / length) if length > 1e-6 else (0.0, 0.0)

    def _walled(self, ground: GroundMap, x: float, y: float, new_x: float, new_y: float) -> bool:
        """Tell whether the way leads into a wall, from whichever side of it the walker is on."""
        radius = self.body.half_extents_m[0]
        after = float(ground.wall_clearance(new_x, new_y))
        if abs(after) >= radius:
            return False
        return abs(after) < abs(float(ground.wall_clearance(x, y)))

    def _height(self, ground: GroundMap, x: float, y: float, z: float, step_s: float) -> float:
        floor = float(ground.height(x, y)) + self.body.half_extents_m[2]
        standing = z <= floor + 0.3 and self._fall_mps <= 0.0  # a kerb or a slope is walked down
        if standing and self.control[2]:
            self._fall_mps = JUMP_MPS
            self.control = (*self.control[:2], False)
        elif standing:
            self._fall_mps = 0.0
            return floor
        self._fall_mps -= GRAVITY_MPS2 * step_s
        z += self._fall_mps * step_s
        if z <= floor:
            self._fall_mps = 0.0
            return floor
        return z

    def record(self) -> bytes:
        return wire.walker_record(self.id, self.pose, self._velocity, self.control)
