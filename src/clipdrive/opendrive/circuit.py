"""Closed circuits of about a kilometre, generated from a seed and written as OpenDRIVE.

A random polygon that does not cross itself; each of its corners is rounded by a clothoid, an arc and the
clothoid back, as roads are laid out, so that the curvature is continuous and the loop closes by construction.
What does not meet the limits below is thrown away and drawn again from the same generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clipdrive.opendrive.curves import clothoid, follow
from clipdrive.opendrive.network import Geometry
from clipdrive.opendrive.writer import circuit_document

LENGTH_MIN_M, LENGTH_MAX_M = 850.0, 1250.0
TURNING_MIN_RAD = 11.0
RADIUS_MIN_M = 11.0
TIGHTEST_MAX_M = 14.5  # every circuit has a corner of at most this radius
WIDEST_MIN_M = 30.0  # ... and one of at least this radius
STRAIGHT_MIN_M = 60.0  # every circuit has a straight of at least this length
ARM_DISTANCE_MIN_M = 23.0  # between middles of the road, for points further apart along it than ...
ARM_ALONG_M = 60.0
CLOTHOID_MIN_M = 6.0
TURN_MAX_RAD = 2.65  # of one corner
EXTENT_MAX_M = 430.0
POINTS_APART_M = 24.0  # between corners of the polygon
_RADII_M = ((11.0, 14.5), (11.0, 14.5), (15.0, 28.0), (28.0, 60.0), (60.0, 120.0))  # drawn per corner
_GENTLE_RAD = 0.7  # corners that turn less than this have one of the two largest ranges
_TRIES = 20_000


@dataclass(frozen=True)
class Corner:
    """A corner of the polygon, rounded: `turn_rad` is positive to the left."""

    turn_rad: float
    radius_m: float
    clothoid_m: float
    arc_m: float
    tangent_m: float  # from the polygon's corner to where the first clothoid begins


@lru_cache(maxsize=64)
def circuit_xodr(seed: int) -> str:
    """The OpenDRIVE text of the closed circuit of that seed, named `circuit_<seed>`.

    Two lanes of 3.5 m, one each way, flat, 850 to 1250 m; radii from 11 m, the tightest at most 14.5 m.
    """
    rng = np.random.default_rng(seed)
    for _ in range(_TRIES):
        pieces = _attempt(rng)
        if pieces is not None:
            return circuit_document(f"circuit_{seed}", pieces)
    raise RuntimeError(f"No circuit found for seed {seed} in {_TRIES} tries.")


def _attempt(rng: np.random.Generator) -> list[Geometry] | None:
    polygon = _polygon(rng)
    corners = None if polygon is None else _rounded(polygon, rng)
    if corners is None:
        return None
    pieces = _laid(polygon, corners)
    length_m = sum(piece.length_m for piece in pieces)
    turning_rad = sum(abs(corner.turn_rad) for corner in corners)
    fits = (
        LENGTH_MIN_M <= length_m <= LENGTH_MAX_M
        and turning_rad >= TURNING_MIN_RAD
        and 2.0 * pieces[0].length_m >= STRAIGHT_MIN_M
        and min(corner.radius_m for corner in corners) <= TIGHTEST_MAX_M
        and max(corner.radius_m for corner in corners) >= WIDEST_MIN_M
        and _arms_apart(pieces)
    )
    return pieces if fits else None


def _polygon(rng: np.random.Generator) -> np.ndarray | None:
    """Random points, joined to a loop, uncrossed; (corners, 2), or None where it cannot become a circuit."""
    count = int(rng.integers(9, 15))
    size = rng.uniform(190.0, 320.0) * np.sqrt([rng.uniform(0.6, 1.6), 1.0])
    points = rng.uniform(0.0, 1.0, (count, 2)) * size
    gaps = points[:, None, :] - points
    apart = np.hypot(gaps[..., 0], gaps[..., 1])[np.triu_indices(count, 1)]
    if apart.min() < POINTS_APART_M or np.ptp(points, axis=0).max() > EXTENT_MAX_M:
        return None
    order = _uncrossed(points, np.arange(count))
    if order is None:
        return None
    polygon = points[order]
    area = np.sum(polygon[:, 0] * np.roll(polygon[:, 1], -1) - polygon[:, 1] * np.roll(polygon[:, 0], -1))
    if (area > 0) == (rng.random() < 0.5):  # as many circuits to the left as to the right
        polygon = polygon[::-1]
    return polygon


def _uncrossed(points: np.ndarray, order: np.ndarray) -> np.ndarray | None:
    """The loop, with the stretch between two crossing edges turned round until no edges cross (2-opt)."""
    count = len(order)
    following = (np.arange(count) + 1) % count
    gap = np.arange(count) - np.arange(count)[:, None]
    strangers = (gap > 1) & (gap < count - 1)  # edges i and j that have no corner in common
    for _ in range(40):
        starts = points[order]
        left_of = _left_of(starts, starts[following], starts)  # (edge, point)
        differs = left_of != left_of[:, following]  # edge i separates the two ends of edge j
        first, second = np.nonzero(differs & differs.T & strangers)
        if len(first) == 0:
            return order
        i, j = first[0], second[0]
        order = np.concatenate((order[: i + 1], order[i + 1 : j + 1][::-1], order[j + 1 :]))
    return None


def _left_of(starts, ends, points) -> np.ndarray:
    along = (ends - starts)[:, None, :]
    to = points[None, :, :] - starts[:, None, :]
    return along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0] > 0.0


def _rounded(polygon: np.ndarray, rng: np.random.Generator) -> list[Corner] | None:
    """A radius for each corner, as drawn where the edges have room, else smaller; None if they have none."""
    edges = np.roll(polygon, -1, axis=0) - polygon  # edge i leads from corner i to corner i + 1
    lengths = np.hypot(*edges.T)
    headings = np.arctan2(edges[:, 1], edges[:, 0])
    turns = (headings - np.roll(headings, 1) + np.pi) % (2.0 * np.pi) - np.pi
    angles = np.abs(turns)
    shares = rng.uniform(0.35, 0.75, len(turns))  # of a corner's turning, in its two clothoids together
    kinds = rng.integers(0, len(_RADII_M), len(turns))
    kinds = np.where(angles < _GENTLE_RAD, 3 + kinds % 2, kinds)
    kinds[np.argmax(angles)] = 0
    limits = np.array(_RADII_M)[kinds]
    radii = rng.uniform(limits[:, 0], limits[:, 1])
    if angles.max() > TURN_MAX_RAD or angles.min() < 0.03 or angles.sum() < TURNING_MIN_RAD:
        return None
    least = np.maximum(RADIUS_MIN_M, CLOTHOID_MIN_M / (shares * angles))
    radii = np.maximum(radii, least)
    per_radius = np.array([_tangent(1.0, *each) for each in zip(angles, shares, strict=True)])
    for _ in range(8):
        tangents = radii * per_radius
        over = (tangents + np.roll(tangents, -1)) / (lengths - 2.0)  # edge i serves corners i and i + 1
        over = np.maximum(over, np.roll(over, 1))
        if over.max() <= 1.0:
            return [_corner(*each) for each in zip(turns, np.floor(radii * 10.0) / 10.0, shares, strict=True)]
        radii = np.maximum(np.where(over > 1.0, radii / over - 0.1, radii), least)
    return None


def _corner(turn_rad: float, radius_m: float, share: float) -> Corner:
    angle = abs(float(turn_rad))
    return Corner(
        turn_rad=float(turn_rad),
        radius_m=float(radius_m),
        clothoid_m=share * angle * radius_m,
        arc_m=(1.0 - share) * angle * radius_m,
        tangent_m=_tangent(radius_m, angle, share),
    )


def _tangent(radius_m: float, angle_rad: float, share: float) -> float:
    """From the corner to where its rounding begins: (radius + shift) tan(angle / 2) + set-back."""
    clothoid_m = share * angle_rad * radius_m
    u, v = clothoid(0.0, 1.0 / (radius_m * clothoid_m), np.array([clothoid_m]))
    turned = 0.5 * clothoid_m / radius_m
    shift = v[0] - radius_m * (1.0 - np.cos(turned))
    return float((radius_m + shift) * np.tan(0.5 * angle_rad) + u[0] - radius_m * np.sin(turned))


def _laid(polygon: np.ndarray, corners: list[Corner]) -> list[Geometry]:
    """The loop's pieces in driving order, from the middle of the longest straight and back to it."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    tangents = np.array([corner.tangent_m for corner in corners])
    straights = np.hypot(*edges.T) - tangents - np.roll(tangents, -1)
    first = int(np.argmax(straights))
    along = edges[first] / np.hypot(*edges[first])
    x, y = polygon[first] + along * (tangents[first] + 0.5 * straights[first])
    heading = float(np.arctan2(along[1], along[0]))
    shapes: list[tuple[float, str, tuple[float, ...]]] = [(0.5 * float(straights[first]), "line", ())]
    for step in range(1, len(corners) + 1):
        index = (first + step) % len(corners)
        corner = corners[index]
        curvature = np.copysign(round(1.0 / corner.radius_m, 10), corner.turn_rad)
        shapes.append((corner.clothoid_m, "spiral", (0.0, curvature)))
        shapes.append((corner.arc_m, "arc", (curvature,)))
        shapes.append((corner.clothoid_m, "spiral", (curvature, 0.0)))
        share = 0.5 if index == first else 1.0
        shapes.append((share * float(straights[index]), "line", ()))
    pieces = []
    s_m = 0.0
    for length_m, kind, parameters in shapes:
        piece = Geometry(s_m, float(x), float(y), float(heading), float(length_m), kind, parameters)
        pieces.append(piece)
        (x,), (y,), (heading,), _ = follow(piece, np.array([length_m]))
        s_m += length_m
    return pieces


def _arms_apart(pieces: list[Geometry]) -> bool:
    """Whether the road keeps its distance from itself, between points far apart along it."""
    step_m = 3.0
    s, x, y = [], [], []
    for piece in pieces:
        ds = np.arange(0.5 * step_m, piece.length_m, step_m)
        px, py, _, _ = follow(piece, ds)
        s.append(piece.s_m + ds)
        x.append(px)
        y.append(py)
    s, z = np.concatenate(s), np.concatenate(x) + 1j * np.concatenate(y)
    total_m = pieces[-1].s_m + pieces[-1].length_m
    along = np.abs(s[:, None] - s)
    far = np.minimum(along, total_m - along) > ARM_ALONG_M
    return bool(np.abs(z[:, None] - z)[far].min() >= ARM_DISTANCE_MIN_M)
