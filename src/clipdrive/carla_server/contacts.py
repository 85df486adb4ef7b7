"""What vehicles, walkers and props do to each other: boxes that touch are parted and exchange impulses.

Seen from above, boxes are rectangles. The side on which two of them meet is that of the moment in the tick at which
they first touched (so that a fast car does not come out beside or behind a thin barrier); there they exchange one
impulse (E. Catto, Game Developers Conference 2006: normal with restitution, Coulomb friction) and are moved apart,
each in proportion to how easily it moves. What has no mass stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from clipdrive.carla_server.actors import Solid
from clipdrive.carla_server.wire import Pose

RESTITUTION, REBOUND_MAX_MPS = 0.1, 0.5
FRICTION = 0.4
ROUNDS = 2  # of parting, for what is pushed from two sides
BISECTIONS = 8
FEW = 24  # actors up to which pairs are looked for one by one
STUCK_OUT_M = 0.2  # a tick, for boxes that overlapped before it
TOUCH_S = 0.0025  # how long an impact lasts, as felt by what is hit; a step of the vehicle's model
HIT_MPS = 15.0 * TOUCH_S  # a contact is a hit where it changes a velocity by more, as with walls


class Rectangle(NamedTuple):
    """A box from above: middle, direction (cosine, sine), half length, half width."""

    x: float
    y: float
    c: float
    s: float
    length: float
    width: float

    def reach(self, nx: float, ny: float) -> float:
        """How far it reaches from its middle along a direction."""
        return self.length * abs(nx * self.c + ny * self.s) + self.width * abs(ny * self.c - nx * self.s)

    def corners(self) -> list[tuple[float, float]]:
        ax, ay = self.length * self.c, self.length * self.s
        bx, by = -self.width * self.s, self.width * self.c
        return [(self.x + i * ax + j * bx, self.y + i * ay + j * by) for i, j in ((1, 1), (1, -1), (-1, -1), (-1, 1))]

    def holds(self, x: float, y: float) -> bool:
        dx, dy = x - self.x, y - self.y
        ahead, right = dx * self.c + dy * self.s, dy * self.c - dx * self.s
        return abs(ahead) <= self.length + 1e-6 and abs(right) <= self.width + 1e-6


def settle(solids: Collection[Solid]) -> None:
    """Part all boxes that overlap; what hit whom is added to the actors' `hits`."""
    hits: dict[tuple[Solid, Solid], list[float]] = {}
    pairs = _near(solids)
    for _ in range(ROUNDS):
        touched = False
        for a, b in pairs:
            impulse = _meet(a, b)
            if impulse is not None:
                touched = True
                total = hits.setdefault((a, b), [0.0, 0.0])
                total[0] += impulse[0]
                total[1] += impulse[1]
        if not touched:
            break
    for (a, b), (jx, jy) in hits.items():
        masses = [solid.mass_kg for solid in (a, b) if solid.mass_kg > 0.0]
        if math.hypot(jx, jy) > HIT_MPS * min(masses):
            a.feel(b, (-jx, -jy, 0.0), TOUCH_S)
            b.feel(a, (jx, jy, 0.0), TOUCH_S)


def _near(solids: Collection[Solid]) -> list[tuple[Solid, Solid]]:
    """Pairs that may touch, one of which can move."""
    present = [solid for solid in solids if solid.collides and solid.parent is None]
    movers = [index for index, solid in enumerate(present) if solid.mass_kg > 0.0]
    if not movers or len(present) < 2:
        return []
    radii = [math.hypot(*solid.body.half_extents_m[:2]) for solid in present]
    near = _near_few if len(present) <= FEW else _near_many
    pairs = near([solid.pose for solid in present], radii, movers)
    return [(present[i], present[j]) for i, j in pairs if _same_height(present[i], present[j])]


def _near_few(poses: list[Pose], radii: list[float], movers: list[int]) -> list[tuple[int, int]]:
    """Pairs of indices i < j, one of them in `movers`, whose circles overlap, in order."""
    moving = set(movers)
    pairs = []
    for j, (pose, radius) in enumerate(zip(poses, radii, strict=True)):
        x, y = pose[0], pose[1]
        moves = j in moving
        for i in range(j):
            other = poses[i]
            dx, dy, reach = other[0] - x, other[1] - y, radii[i] + radius
            if dx * dx + dy * dy < reach * reach and (moves or i in moving):
                pairs.append((i, j))
    return sorted(pairs)


def _near_many(poses: list[Pose], radii: list[float], movers: list[int]) -> list[tuple[int, int]]:
    """The same with arrays, which take longer for a few and less time for many."""
    x, y = np.array([pose[:2] for pose in poses]).T
    radius = np.array(radii)
    apart = (x[movers, None] - x) ** 2 + (y[movers, None] - y) ** 2
    rows, others = np.nonzero(apart < (radius[movers, None] + radius) ** 2)
    pairs = {(min(movers[r], j), max(movers[r], j)) for r, j in zip(rows.tolist(), others.tolist(), strict=True)}
    return sorted((i, j) for i, j in pairs if i != j)


def _same_height(a: Solid, b: Solid) -> bool:
    low_a, low_b = a.bottom_m, b.bottom_m
    return low_a < low_b + 2.0 * b.body.half_extents_m[2] and low_b < low_a + 2.0 * a.body.half_extents_m[2]


def _meet(a: Solid, b: Solid) -> tuple[float, float] | None:
    """Part two boxes; returns the impulse (x, y) on `b`, None where they do not touch."""
    box_a, box_b = rectangle(a, a.pose), rectangle(b, b.pose)
    if overlap(box_a, box_b) is None:
        return None
    (_, nx, ny), stuck = _first_touch(a, b)
    depth = box_a.reach(nx, ny) + box_b.reach(nx, ny) - (box_b.x - box_a.x) * nx - (box_b.y - box_a.y) * ny
    if stuck:
        depth = min(depth, STUCK_OUT_M)
    depth = max(depth, 0.0)
    share_a = _share(a, b)
    x, y = _middle_of_contact(box_a, box_b)
    impulse = _impulse(a, b, (x - box_a.x, y - box_a.y), (x - box_b.x, y - box_b.y), nx, ny)
    out_a, out_b = -depth * share_a, depth * (1.0 - share_a)
    _push(a, -impulse[0], -impulse[1], x - box_a.x, y - box_a.y, out_a * nx, out_a * ny)
    _push(b, *impulse, x - box_b.x, y - box_b.y, out_b * nx, out_b * ny)
    return impulse


def _share(a: Solid, b: Solid) -> float:
    """How much of the way apart is `a`'s: the lighter goes further, a walker all of it."""
    if a.yields != b.yields and a.mass_kg > 0.0 and b.mass_kg > 0.0:
        return 1.0 if a.yields else 0.0
    light_a, light_b = _lightness(a)[0], _lightness(b)[0]
    return light_a / (light_a + light_b)


def _push(solid: Solid, jx: float, jy: float, arm_x: float, arm_y: float, out_x: float, out_y: float) -> None:
    light, turns = _lightness(solid)
    if light > 0.0:
        solid.knock(jx * light, jy * light, (arm_x * jy - arm_y * jx) * turns, out_x, out_y)


def _lightness(solid: Solid) -> tuple[float, float]:
    """Inverse mass and inverse moment of inertia about the vertical."""
    mass, inertia = solid.mass_kg, solid.yaw_inertia_kgm2
    return (1.0 / mass if mass > 0.0 else 0.0), (1.0 / inertia if mass > 0.0 and inertia > 0.0 else 0.0)


def _impulse(a: Solid, b: Solid, arm_a: tuple, arm_b: tuple, nx: float, ny: float) -> tuple[float, float]:
    """The impulse on `b` at the contact; the normal (nx, ny) leads from `a` to `b`."""
    (light_a, turns_a), (light_b, turns_b) = _lightness(a), _lightness(b)
    avx, avy, ar = a.motion()
    bvx, bvy, br = b.motion()
    dvx = bvx - br * arm_b[1] - avx + ar * arm_a[1]
    dvy = bvy + br * arm_b[0] - avy - ar * arm_a[0]
    toward = dvx * nx + dvy * ny
    if toward >= 0.0:
        return 0.0, 0.0
    lever_a, lever_b = arm_a[0] * ny - arm_a[1] * nx, arm_b[0] * ny - arm_b[1] * nx
    apart = -toward + min(-RESTITUTION * toward, REBOUND_MAX_MPS)
    normal = apart / (light_a + light_b + lever_a**2 * turns_a + lever_b**2 * turns_b)
    tx, ty = -ny, nx
    slide_a, slide_b = arm_a[0] * ty - arm_a[1] * tx, arm_b[0] * ty - arm_b[1] * tx
    rub = -(dvx * tx + dvy * ty) / (light_a + light_b + slide_a**2 * turns_a + slide_b**2 * turns_b)
    rub = min(max(rub, -FRICTION * normal), FRICTION * normal)
    return normal * nx + rub * tx, normal * ny + rub * ty


def _first_touch(a: Solid, b: Solid) -> tuple[tuple[float, float, float], bool]:
    """(depth, normal from `a` to `b`) when they first touched in this tick, and whether that was before it."""
    at_start = overlap(rectangle(a, a.before), rectangle(b, b.before))
    if at_start is not None:
        return at_start, True
    apart, touching = 0.0, 1.0
    found = None
    for _ in range(BISECTIONS):
        share = 0.5 * (apart + touching)
        met = overlap(rectangle(a, _between(a, share)), rectangle(b, _between(b, share)))
        if met is None:
            apart = share
        else:
            touching, found = share, met
    return found or overlap(rectangle(a, a.pose), rectangle(b, b.pose)), False


def _between(solid: Solid, share: float) -> Pose:
    before, now = solid.before, solid.pose
    x, y = (p + share * (q - p) for p, q in zip(before[:2], now[:2], strict=True))
    yaw = before[4] + share * math.remainder(now[4] - before[4], 360.0)
    return x, y, now[2], now[3], yaw, now[5]


def rectangle(solid: Solid, pose: Pose | None = None) -> Rectangle:
    """Return a solid actor from above, at its pose or at another."""
    pose = pose or solid.pose
    yaw = math.radians(pose[4])
    return Rectangle(pose[0], pose[1], math.cos(yaw), math.sin(yaw), *solid.body.half_extents_m[:2])


def overlap(a: Rectangle, b: Rectangle) -> tuple[float, float, float] | None:
    """Depth of the shallowest overlap and its direction from `a` to `b`, None where there is none."""
    dx, dy = b.x - a.x, b.y - a.y
    best = None
    for nx, ny in ((a.c, a.s), (-a.s, a.c), (b.c, b.s), (-b.s, b.c)):  # separating axes
        away = dx * nx + dy * ny
        depth = a.reach(nx, ny) + b.reach(nx, ny) - abs(away)
        if depth <= 0.0:
            return None
        if best is None or depth < best[0] - 1e-9:
            best = (depth, nx, ny) if away >= 0.0 else (depth, -nx, -ny)
    return best


def _middle_of_contact(a: Rectangle, b: Rectangle) -> tuple[float, float]:
    points = [corner for corner in b.corners() if a.holds(*corner)]
    points += [corner for corner in a.corners() if b.holds(*corner)]
    if not points:
        return 0.5 * (a.x + b.x), 0.5 * (a.y + b.y)
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
