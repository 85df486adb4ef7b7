"""Poses in CARLA's frame: left-handed, degrees, yaw clockwise from above, pitch up positive."""

from __future__ import annotations

from functools import lru_cache
from math import atan2, cos, degrees, hypot, radians, sin

from clipdrive.carla_server.wire import Pose

Vector = tuple[float, float, float]


def axes(pitch_deg: float, yaw_deg: float, roll_deg: float) -> tuple[Vector, Vector, Vector]:
    """Return the unit vectors forward, right and up of a rotation."""
    sp, cp = sin(radians(pitch_deg)), cos(radians(pitch_deg))
    sy, cy = sin(radians(yaw_deg)), cos(radians(yaw_deg))
    sr, cr = sin(radians(roll_deg)), cos(radians(roll_deg))
    return (
        (cp * cy, cp * sy, sp),
        (sr * sp * cy - cr * sy, sr * sp * sy + cr * cy, -sr * cp),
        (-(cr * sp * cy + sr * sy), sr * cy - cr * sp * sy, cr * cp),
    )


def compose(parent: Pose, relative: Pose) -> Pose:
    """Return the world pose of something mounted at `relative` on `parent`."""
    if not any(relative):
        return parent
    forward, right, up = axes(*parent[3:])
    location = turn((forward, right, up), relative[:3])
    x, y, z = parent[0] + location[0], parent[1] + location[1], parent[2] + location[2]
    if relative[3] == relative[4] == relative[5] == 0.0:
        return (x, y, z, *parent[3:])
    inner_forward, inner_right, inner_up = _mount_axes(*relative[3:])
    fx, fy, fz = turn((forward, right, up), inner_forward)
    right_z = turn((forward, right, up), inner_right)[2]
    up_z = turn((forward, right, up), inner_up)[2]
    return x, y, z, degrees(atan2(fz, hypot(fx, fy))), degrees(atan2(fy, fx)), degrees(atan2(-right_z, up_z))


_mount_axes = lru_cache(1024)(axes)  # mounts stay what they are, tick after tick


def turn(frame: tuple[Vector, Vector, Vector], vector: Vector) -> Vector:
    """Return a vector given along the axes of `frame` in the world's axes."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = frame
    u, v, w = vector
    return u * ax + v * bx + w * cx, u * ay + v * by + w * cy, u * az + v * bz + w * cz


def turn_back(frame: tuple[Vector, Vector, Vector], vector: Vector) -> Vector:
    """Return a vector of the world along the axes of `frame`."""
    x, y, z = vector
    return tuple(x * axis[0] + y * axis[1] + z * axis[2] for axis in frame)


def footprints_overlap(a: Pose, a_half: Vector, b: Pose, b_half: Vector) -> bool:
    """Tell whether two boxes overlap, seen from above."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    ca, sa = cos(radians(a[4])), sin(radians(a[4]))
    cb, sb = cos(radians(b[4])), sin(radians(b[4]))
    for nx, ny in ((ca, sa), (-sa, ca), (cb, sb), (-sb, cb)):  # separating axes
        reach_a = a_half[0] * abs(nx * ca + ny * sa) + a_half[1] * abs(-nx * sa + ny * ca)
        reach_b = b_half[0] * abs(nx * cb + ny * sb) + b_half[1] * abs(-nx * sb + ny * cb)
        if abs(dx * nx + dy * ny) > reach_a + reach_b:
            return False
    return True
