"""Small towns, generated from a seed and written as OpenDRIVE: crossings close together, a lane each way.

A plan of streets is drawn (`clipdrive.opendrive.streets`), the corners of its streets are rounded by arcs, and each
crossing gets a road for every way through it: straight in, an arc, straight out. What does not meet the limits is drawn
again from the same generator. The sizes enclose those of the small towns that simulators come with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from clipdrive.opendrive.curves import follow
from clipdrive.opendrive.network import Geometry, Link
from clipdrive.opendrive.streets import Street, arms_of, town_plan, turning_rad
from clipdrive.opendrive.writer import LaneStyle, Passage, document, junction_lines, road_lines

LANE_WIDTH_M = (3.5, 4.1)
SHOULDER_M = (0.2, 0.4)
CROSSING_RADIUS_M = (6.0, 8.5)  # of the arc that two turns share, the one on its inside and the one on its outside
CROSSING_STRAIGHT_M = (0.3, 3.5)  # before and after the tightest arc of a crossing
CORNER_RADIUS_M = (7.0, 13.0)
BEND_RADIUS_M = (20.0, 70.0)
CORNER_FROM_RAD = 0.7  # what turns more is a corner, else a bend
STREET_MIN_M = 16.0
ARMS_APART_M = 20.0  # between streets, but where both are near the same crossing
_NEAR_CROSSING_M = 32.0
_MARKED_SHARE = 0.65  # of the ways through crossings, whose middle is painted as on streets
_FIRST_PASSAGE, _FIRST_JUNCTION = 100, 1000  # ids; streets count from 1
_TRIES = 2000

_Shape = tuple[float, str, tuple[float, ...]]


@dataclass(frozen=True)
class _Crossing:
    """How far from its middle the arms end, and the arc's radius between each two of its arms, by their numbers."""

    cut_m: float
    radii_m: dict[tuple[int, int], float]


@lru_cache(maxsize=64)
def town_xodr(seed: int) -> str:
    """The OpenDRIVE text of the town of that seed, named `town_<seed>`.

    Flat; 4 to 12 crossings of three or four arms, two lanes of 3.5 to 4.1 m, one each way.
    """
    rng = np.random.default_rng([seed, 2])  # apart from the circuit of that seed
    for _ in range(_TRIES):
        plan = town_plan(rng)
        if plan is not None:
            text = _town(f"town_{seed}", *plan, rng)
            if text is not None:
                return text
    raise RuntimeError(f"No town found for seed {seed} in {_TRIES} tries.")


def _town(name: str, nodes: np.ndarray, streets: list[Street], rng: np.random.Generator) -> str | None:
    arms = arms_of(streets)
    crossings = {node: _crossing([heading for _, _, heading in arms[node]], rng) for node in sorted(arms)}
    laid = [_street(street, crossings[street.start].cut_m, crossings[street.end].cut_m, rng) for street in streets]
    if any(pieces is None for pieces in laid) or not _apart(streets, laid, nodes):
        return None
    numbers = {id(street): number for number, street in enumerate(streets, 1)}
    junctions = {node: _FIRST_JUNCTION + number for number, node in enumerate(crossings)}
    style = LaneStyle(
        width_m=round(rng.uniform(*LANE_WIDTH_M), 2),
        shoulder_m=round(rng.uniform(*SHOULDER_M), 2) if rng.random() < 0.5 else 0.0,
        middle_colour="yellow" if rng.random() < 0.5 else "white",
    )
    lines = []
    for street, pieces in zip(streets, laid, strict=True):
        ends = (Link("junction", str(junctions[node]), None) for node in (street.start, street.end))
        lines += road_lines(numbers[id(street)], pieces, style, *ends)
    next_id, tables = _FIRST_PASSAGE, []
    for node, crossing in crossings.items():
        passages = _passages(node, nodes[node], crossing, arms[node], numbers, next_id, rng)
        next_id += len(passages)
        for passage, pieces, marked in passages:
            lines += road_lines(passage.road, pieces, style, junction=junctions[node], passage=passage, marked=marked)
        tables += junction_lines(junctions[node], [passage for passage, _, _ in passages])
    return document(name, [piece for pieces in laid for piece in pieces], lines + tables)


def _crossing(headings: list[float], rng: np.random.Generator) -> _Crossing:
    turns = {
        (one, other): abs(turning_rad(headings[one], headings[other]))
        for one, other in combinations(range(len(headings)), 2)
    }
    radii_m = {pair: float(rng.uniform(*CROSSING_RADIUS_M)) for pair in turns}
    tangents = [radii_m[pair] * np.tan(0.5 * turn) for pair, turn in turns.items() if turn > CORNER_FROM_RAD]
    cut_m = round(float(max(tangents) + rng.uniform(*CROSSING_STRAIGHT_M)), 2)
    for pair, turn in turns.items():
        if turn <= CORNER_FROM_RAD:  # straight on: as wide an arc as there is room for
            radii_m[pair] = 0.95 * cut_m / np.tan(0.5 * max(turn, 1e-4))
    return _Crossing(cut_m, radii_m)


def _street(street: Street, cut_start_m: float, cut_end_m: float, rng: np.random.Generator) -> list[Geometry] | None:
    """Its reference line between the two crossings; None where it has no room."""
    edges = np.diff(street.line, axis=0)
    lengths = np.hypot(*edges.T)
    headings = np.arctan2(edges[:, 1], edges[:, 0])
    turns = (np.diff(headings) + np.pi) % (2.0 * np.pi) - np.pi
    shapes: list[_Shape] = []
    used_m = cut_start_m  # of the edge that is being laid
    for at, turn in enumerate(turns):
        span = np.tan(0.5 * max(abs(turn), 1e-4))
        drawn_m = rng.uniform(*(CORNER_RADIUS_M if abs(turn) > CORNER_FROM_RAD else BEND_RADIUS_M))
        radius_m = min(drawn_m, 0.42 * min(lengths[at], lengths[at + 1]) / span)
        shapes.append((lengths[at] - used_m - radius_m * span, "line", ()))
        shapes.append((radius_m * abs(turn), "arc", (float(np.copysign(1.0 / radius_m, turn)),)))
        used_m = radius_m * span
    shapes.append((lengths[-1] - used_m - cut_end_m, "line", ()))
    lines_m = [length_m for length_m, kind, _ in shapes if kind == "line"]
    if min(lines_m) < 1.0 or sum(shape[0] for shape in shapes) < STREET_MIN_M:
        return None
    return laid_out(street.line[0] + cut_start_m * edges[0] / lengths[0], float(headings[0]), shapes)


def _passages(
    node: int, place: np.ndarray, crossing: _Crossing, arms: list, numbers: dict[int, int], first_id: int, rng
) -> list[tuple[Passage, list[Geometry], bool]]:
    """A road for every way from one arm of a crossing into another, and whether its middle is painted."""
    found = []
    for one, (street_in, begins_in, heading_in) in enumerate(arms):
        for other, (street_out, begins_out, heading_out) in enumerate(arms):
            if one == other:
                continue
            turn = turning_rad(heading_in, heading_out)
            radius_m = crossing.radii_m[min(one, other), max(one, other)]
            tangent_m = radius_m * np.tan(0.5 * max(abs(turn), 1e-4))
            straight: _Shape = (crossing.cut_m - float(tangent_m), "line", ())
            arc: _Shape = (radius_m * max(abs(turn), 1e-4), "arc", (float(np.copysign(1.0 / radius_m, turn)),))
            begin = place + crossing.cut_m * np.array([np.cos(heading_in), np.sin(heading_in)])
            pieces = laid_out(begin, heading_in + np.pi, [straight, arc, straight])
            passage = Passage(
                road=first_id + len(found),
                from_road=numbers[id(street_in)],
                from_start=begins_in,
                to_road=numbers[id(street_out)],
                to_start=begins_out,
            )
            found.append((passage, pieces, bool(rng.random() < _MARKED_SHARE)))
    return found


def laid_out(begin: np.ndarray, heading_rad: float, shapes: list[_Shape]) -> list[Geometry]:
    """Shapes (length, kind, parameters), each beginning where the one before ends."""
    pieces: list[Geometry] = []
    s_m, x, y, heading = 0.0, float(begin[0]), float(begin[1]), heading_rad
    for length_m, kind, parameters in shapes:
        piece = Geometry(s_m, x, y, heading, float(length_m), kind, parameters)
        pieces.append(piece)
        (x,), (y,), (heading,), _ = (values.tolist() for values in follow(piece, np.array([piece.length_m])))
        s_m += piece.length_m
    return pieces


def _apart(streets: list[Street], laid: list[list[Geometry]], nodes: np.ndarray) -> bool:
    """Whether streets keep their distance from each other, but for where both come to the same crossing."""
    points = [np.concatenate([_points(piece) for piece in pieces]) for pieces in laid]
    for one, other in combinations(range(len(streets)), 2):
        gaps = np.hypot(*(points[one][:, None] - points[other]).transpose(2, 0, 1))
        near = gaps < ARMS_APART_M
        shared = {streets[one].start, streets[one].end} & {streets[other].start, streets[other].end}
        for node in shared:
            at = [np.hypot(*(each - nodes[node]).T) < _NEAR_CROSSING_M for each in (points[one], points[other])]
            near &= ~(at[0][:, None] & at[1])
        if near.any():
            return False
    return True


def _points(piece: Geometry) -> np.ndarray:
    x, y, _, _ = follow(piece, np.arange(0.0, piece.length_m, 3.0))
    return np.column_stack([x, y])
