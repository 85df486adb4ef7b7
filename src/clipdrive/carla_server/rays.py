"""Rays through the world: how far they go, and what they meet: the ground, walls, or the boxes of actors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipdrive.carla_server.actors import DrawnBox
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.poses import axes

ROAD, WALL, TERRAIN = 1, 4, 10  # semantic tags
MARCH_STEPS = 200
STRIDE_MIN_M = 0.1
STRIDE_ON_HILLS_M = 2.0
NOTHING = 0  # tag and actor id of a ray that meets nothing


class Met(NamedTuple):
    """What n rays met: distance (n,) in metres, inf for nothing; tag, actor id (0 = no actor), |cos| of incidence."""

    distance_m: np.ndarray
    tag: np.ndarray
    actor_id: np.ndarray
    cosine: np.ndarray


def cast(
    ground: GroundMap, boxes: Sequence[DrawnBox], origin: Sequence[float], directions: np.ndarray, range_m: float
) -> Met:
    """Send rays from `origin` along unit vectors `directions` (n, 3) in the world's axes, at most `range_m` far."""
    count = len(directions)
    start = np.asarray(origin, dtype=np.float64)
    met = Met(
        np.full(count, math.inf), np.full(count, NOTHING), np.full(count, NOTHING), np.zeros(count, dtype=np.float64)
    )
    for box in boxes:
        if math.dist(box.pose[:3], start) <= range_m + 2.0 * math.hypot(*box.half_extents_m):
            _meet_box(met, box, start, directions, range_m)
    _meet_ground(met, ground, start, directions, range_m)
    if ground.wall_height_m > 0.0:
        _meet_walls(met, ground, start, directions, range_m)
    return met


def enter_box(
    box: DrawnBox, start: np.ndarray, directions: np.ndarray, grown_m: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n,) at which rays from outside enter a box, grown on every side, inf where not; |cos| of incidence."""
    frame = np.array(axes(*box.pose[3:]))
    middle = np.array(box.pose[:3]) + frame.T @ np.array(box.centre_m)
    half = np.array(box.half_extents_m) + grown_m
    local, along = frame @ (start - middle), directions @ frame.T
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (-half - local) / along, (half - local) / along
    near, far = np.fmin(first, second), np.fmax(first, second)
    enters = np.fmax(np.fmax(near[:, 0], near[:, 1]), near[:, 2])
    leaves = np.fmin(np.fmin(far[:, 0], far[:, 1]), far[:, 2])
    parallel_outside = ((along == 0.0) & (np.abs(local) > half)).any(axis=1)
    hit = (enters <= leaves) & (enters > 0.0) & ~parallel_outside
    side = np.argmax(np.where(np.isnan(near), -math.inf, near), axis=1)
    cosine = np.abs(along[np.arange(len(along)), side])
    return np.where(hit, enters, math.inf), cosine


def _meet_box(met: Met, box: DrawnBox, start: np.ndarray, directions: np.ndarray, range_m: float) -> None:
    distance, cosine = enter_box(box, start, directions)
    _keep(met, distance, range_m, box.tag, box.actor_id, cosine)


def _keep(met: Met, distance: np.ndarray, range_m: float, tag, actor_id: int, cosine: np.ndarray) -> None:
    nearer = (distance < met.distance_m) & (distance <= range_m)
    met.distance_m[nearer] = distance[nearer]
    met.tag[nearer] = np.broadcast_to(tag, distance.shape)[nearer]
    met.actor_id[nearer] = actor_id
    met.cosine[nearer] = cosine[nearer]


def _meet_ground(met: Met, ground: GroundMap, start: np.ndarray, directions: np.ndarray, range_m: float) -> None:
    down = directions[:, 2]
    if ground.elevation is None:
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(down < 0.0, (ground.base_z_m - start[2]) / down, math.inf)
        distance = np.where(distance >= 0.0, distance, math.inf)
    else:
        distance = _march(
            lambda x, y, z: z - ground.height(x, y), start, directions, range_m,
            lambda above, _: np.minimum(above / (np.abs(down).max() + ground.steepest + 1e-6), STRIDE_ON_HILLS_M),
        )  # fmt: skip
    hit = np.isfinite(distance)
    tag = np.full(len(down), TERRAIN)
    place = start[:2] + directions[hit, :2] * distance[hit, None]
    on_road = ground.edge_distance(np.ascontiguousarray(place[:, 0]), np.ascontiguousarray(place[:, 1])) > 0.0
    tag[hit] = np.where(on_road, ROAD, TERRAIN)
    _keep(met, distance, range_m, tag, NOTHING, np.abs(down))


def _meet_walls(met: Met, ground: GroundMap, start: np.ndarray, directions: np.ndarray, range_m: float) -> None:
    """Walls are where `wall_clearance` changes its sign, as high as the map's walls above the ground."""
    flat = np.hypot(directions[:, 0], directions[:, 1])
    level = flat > 1e-6
    if not level.any():
        return
    side = 1.0 if ground.wall_clearance(start[0], start[1]) >= 0.0 else -1.0
    rays, slant = directions[level], flat[level]
    distance = _march(
        lambda x, y, z: side * ground.wall_clearance(x, y), start, rays,
        np.minimum(met.distance_m[level], range_m), lambda clear, which: clear / slant[which],
    )  # fmt: skip
    hit = np.flatnonzero(np.isfinite(distance))
    x, y, z = (start + rays[hit] * distance[hit, None]).T
    above = z - ground.height(np.ascontiguousarray(x), np.ascontiguousarray(y))
    distance[hit[(above > ground.wall_height_m) | (above < 0.0)]] = math.inf  # over it: into the sky, or far beyond
    everywhere, cosine = np.full(len(directions), math.inf), np.ones(len(directions))
    everywhere[level] = distance
    cosine[level] = flat[level]
    _keep(met, everywhere, range_m, WALL, NOTHING, cosine)


def _march(height, start: np.ndarray, directions: np.ndarray, range_m, stride) -> np.ndarray:
    """Distances (n,) at which `height(x, y, z)` along the rays falls to 0, inf where it does not.

    stride: how far rays may surely go on, from their heights and their numbers.
    """
    count = len(directions)
    reach = np.broadcast_to(np.asarray(range_m, dtype=np.float64), (count,))
    found = np.full(count, math.inf)
    at = np.zeros(count)
    before = np.broadcast_to(height(*_points(start, directions, at)), (count,))
    going = np.flatnonzero(before > 0.0)  # numbers of the rays that are still under way
    at, before = at[going], before[going]
    for _ in range(MARCH_STEPS):
        if not len(going):
            break
        step = np.maximum(stride(before, going), STRIDE_MIN_M)
        after_m = at + step
        now = height(*_points(start, directions[going], after_m))
        crossed = now <= 0.0
        share = before[crossed] / np.maximum(before[crossed] - now[crossed], 1e-12)
        found[going[crossed]] = at[crossed] + share * step[crossed]
        on = ~crossed & (after_m < reach[going])
        going, at, before = going[on], after_m[on], now[on]
    return np.where(found <= reach, found, math.inf)


def _points(start: np.ndarray, directions: np.ndarray, distance: np.ndarray) -> list[np.ndarray]:
    return [start[axis] + directions[:, axis] * distance for axis in range(3)]
