"""Ways that turn at junctions, in place of going straight on, and which way a way takes where it has a choice."""

from __future__ import annotations

from collections import Counter

import numpy as np

from clipdrive.tracks.lanes import LaneGraph, LanePiece
from clipdrive.tracks.route import TURN_KINDS

STRAIGHT_BELOW_RAD = np.pi / 6
_Choice = tuple[int, int, str]  # first and last piece inside the junction, and a kind of turn


def kind_of_turn(graph: LaneGraph, piece: LanePiece, onward: LanePiece) -> str:
    """left, straight or right: how the road has turned from the end of one piece to the begin of another."""
    turned_rad = graph.turned_rad(piece, onward)
    if abs(turned_rad) < STRAIGHT_BELOW_RAD:
        return "straight"
    return "left" if turned_rad > 0.0 else "right"


def choices(graph: LaneGraph, way: list[LanePiece]) -> list[_Choice]:
    """Each passage of a way, which begins outside junctions, through one that has other ways on."""
    found = []
    inside = [graph.in_junction(piece) for piece in way]
    for first in range(1, len(way)):
        if not inside[first] or inside[first - 1]:
            continue
        last = next((at - 1 for at in range(first, len(way)) if not inside[at]), len(way) - 1)
        before, after = way[first - 1], way[(last + 1) % len(way)]
        if len(graph.ways_on(before)) > 1:
            found.append((first, last, kind_of_turn(graph, before, after)))
    return found


def turning_way(graph: LaneGraph) -> tuple[list[LanePiece], bool]:
    """A closed loop that turns as evenly as it can to the left, to the right and not at all, and True.

    From every lane, at each choice: to where the way has not been yet, and of such ways the kind that was taken least;
    where there is none, to where it was longest ago, which closes the loop. Of all loops the one with the most of the
    rarer of left and right turns, then the longest. Empty, and False, where there is no loop.
    """
    best: tuple[int, float, list[LanePiece]] = (-1, 0.0, [])
    for start in graph.pieces():
        way = _loop_from(graph, start)
        if not way:
            continue
        counted = Counter(kind for _, _, kind in choices(graph, way))
        length_m = round(sum(graph.length_m(piece) for piece in way), 3)
        rank = min(counted["left"], counted["right"])
        if (rank, length_m) > best[:2]:
            best = (rank, length_m, way)
    return best[2], bool(best[2])


def opposite_turning_way(graph: LaneGraph, way: list[LanePiece]) -> list[LanePiece] | None:
    """The same closed loop over the lanes of the other direction, or None where the lanes do not allow it."""
    outside = [piece for piece in reversed(way) if not graph.in_junction(piece)]
    back = graph.opposite(outside[0])[:1]
    for piece in [*outside[1:], outside[0]] if back else []:
        wanted = graph.opposite(piece)
        onward = next((onward for onward in graph.ways_on(back[-1]) if onward[-1] in wanted), None)
        if onward is None:
            return None
        back += onward
    return back[:-1] if len(back) > 1 and back[-1] == back[0] else None


def _loop_from(graph: LaneGraph, start: LanePiece) -> list[LanePiece]:
    """The loop that a walk from `start` ends in, beginning outside junctions; empty where it ends nowhere."""
    way, place = [start], {start: 0}
    taken: Counter[str] = Counter()
    while True:
        ways = graph.ways_on(way[-1])
        if not ways:
            return []
        fresh = [onward for onward in ways if onward[-1] not in place]
        if not fresh:
            closing = min(ways, key=lambda onward: place[onward[-1]])
            return way[place[closing[-1]] :] + closing[:-1]
        here = way[-1]

        def rank(onward: list[LanePiece], here: LanePiece = here) -> tuple[int, int]:
            kind = kind_of_turn(graph, here, onward[-1])
            return taken[kind], (TURN_KINDS.index(kind) + 1) % 3  # right, left, straight

        onward = min(fresh, key=rank)
        if len(ways) > 1:
            taken[kind_of_turn(graph, here, onward[-1])] += 1
        place[onward[-1]] = len(way) + len(onward) - 1
        way += onward
