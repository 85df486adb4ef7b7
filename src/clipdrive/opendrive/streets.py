"""The plan of a generated town: crossings on an uneven grid, and streets between them with bends and corners."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

SPACING_M = (40.0, 80.0)  # between neighbouring lines of the grid
SHIFT_M = 3.5  # of a crossing from where its two lines meet, at most
TURN_MIN_RAD, TURN_MAX_RAD = np.radians(65.0), np.radians(115.0)  # a way through a crossing turns so much ...
STRAIGHT_MAX_RAD = np.radians(23.0)  # ... or at most this
THREE_ARMS_SHARE = 0.65  # of the crossings that would have four arms
BEND_SHARE = 0.35  # of the straight stretches of BENT_MIN_M or more that are given a bend
BENT_MIN_M = 55.0
BEND_M = (2.0, 7.0)  # how far the bend leads aside

Edge = tuple[int, int]


@dataclass(frozen=True)
class Street:
    """A street between two crossings, by their numbers, through the corners of a line (n, 2), ends included."""

    start: int
    end: int
    line: np.ndarray


def town_plan(rng: np.random.Generator) -> tuple[np.ndarray, list[Street]] | None:
    """Places of all nodes (n, 2) and the streets; None where what was drawn makes no town."""
    columns, rows = (int(count) for count in rng.integers(3, 5, 2))
    across, along = (np.cumsum(rng.uniform(*SPACING_M, count)) for count in (columns, rows))
    nodes = np.array([(x, y) for y in along for x in across]) + rng.uniform(-SHIFT_M, SHIFT_M, (columns * rows, 2))
    nodes = (nodes - nodes.mean(axis=0)) @ _rotation(rng.uniform(0.0, 2.0 * np.pi))
    edges = _thinned(_grid(columns, rows), len(nodes), rng)
    if edges is None:
        return None
    streets = [_bent(street, rng) for street in _streets(edges, nodes)]
    fits = all(street.start != street.end for street in streets) and _arms_fit(streets)
    return (nodes, streets) if fits else None


def _rotation(angle_rad: float) -> np.ndarray:
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cosine, sine], [-sine, cosine]])


def _grid(columns: int, rows: int) -> list[Edge]:
    number = np.arange(columns * rows).reshape(rows, columns)
    pairs = [*zip(number[:, :-1].ravel(), number[:, 1:].ravel(), strict=True)]
    pairs += zip(number[:-1].ravel(), number[1:].ravel(), strict=True)
    return [(int(a), int(b)) for a, b in pairs]


def _thinned(edges: list[Edge], count: int, rng: np.random.Generator) -> list[Edge] | None:
    """The grid without some edges: most crossings of four arms lose one, and up to two more edges go."""
    edges = [edges[at] for at in rng.permutation(len(edges))]
    for node in rng.permutation(count):
        own = [edge for edge in edges if node in edge]
        if len(own) == 4 and rng.random() < THREE_ARMS_SHARE:
            edges.remove(own[0])
    for _ in range(int(rng.integers(0, 3))):
        edges.pop()
    if not all(_joined(edges[:at] + edges[at + 1 :], count) for at in range(len(edges))):
        return None  # a street that is the only way to somewhere
    return edges if sum(arms >= 3 for arms in _arms(edges, count)) >= 4 else None


def _joined(edges: list[Edge], count: int) -> bool:
    """Whether every node can be reached from every other."""
    reached, open_nodes = {0}, [0]
    while open_nodes:
        node = open_nodes.pop()
        for edge in edges:
            if node in edge:
                other = edge[1] if edge[0] == node else edge[0]
                if other not in reached:
                    reached.add(other)
                    open_nodes.append(other)
    return len(reached) == count


def _arms(edges: list[Edge], count: int) -> np.ndarray:
    return np.bincount(np.array(edges).ravel(), minlength=count)


def _streets(edges: list[Edge], nodes: np.ndarray) -> list[Street]:
    """Chains of edges from crossing to crossing; a node of two arms is a corner of a street."""
    arms = _arms(edges, len(nodes))
    left = sorted(edges)
    streets = []
    while left:
        edge = next(edge for edge in left if max(arms[edge[0]], arms[edge[1]]) >= 3)
        chain = list(edge if arms[edge[0]] >= 3 else edge[::-1])
        left.remove(edge)
        while arms[chain[-1]] < 3:
            edge = next(edge for edge in left if chain[-1] in edge)
            left.remove(edge)
            chain.append(edge[1] if edge[0] == chain[-1] else edge[0])
        streets.append(Street(chain[0], chain[-1], nodes[chain]))
    return streets


def _bent(street: Street, rng: np.random.Generator) -> Street:
    """The street with bends in some of its straight stretches: aside and back, or first to one side, then the other."""
    line = [street.line[0]]
    for begin, end in pairwise(street.line):
        along = end - begin
        length_m = float(np.hypot(*along))
        drawn, aside_m, twice = rng.random(), rng.uniform(*BEND_M) * rng.choice((-1.0, 1.0)), rng.random() < 0.5
        if length_m >= BENT_MIN_M and drawn < BEND_SHARE:
            beside = np.array([-along[1], along[0]]) / length_m * aside_m
            if twice and length_m >= 1.4 * BENT_MIN_M:
                line += [begin + along / 3.0 + 0.7 * beside, begin + along * (2.0 / 3.0) - 0.7 * beside]
            else:
                line.append(begin + 0.5 * along + beside)
        line.append(end)
    return Street(street.start, street.end, np.array(line))


def arms_of(streets: list[Street]) -> dict[int, list[tuple[Street, bool, float]]]:
    """For each crossing its arms: street, whether it begins there, and the heading away from the crossing."""
    found: dict[int, list[tuple[Street, bool, float]]] = {}
    for street in streets:
        for node, begins, (near, far) in (
            (street.start, True, street.line[:2]),
            (street.end, False, street.line[:-3:-1]),
        ):
            found.setdefault(node, []).append((street, begins, float(np.arctan2(*(far - near)[::-1]))))
    return found


def turning_rad(heading_in: float, heading_out: float) -> float:
    """By how much a way turns that comes in by one arm and leaves by another, both headings away from the crossing."""
    return float((heading_out - heading_in) % (2.0 * np.pi) - np.pi)


def _arms_fit(streets: list[Street]) -> bool:
    """Whether every way through a crossing is clearly a turn or clearly none."""
    for arms in arms_of(streets).values():
        for one, other in combinations(arms, 2):
            angle = abs(turning_rad(one[2], other[2]))
            if not (angle <= STRAIGHT_MAX_RAD or TURN_MIN_RAD <= angle <= TURN_MAX_RAD):
                return False
    return True
