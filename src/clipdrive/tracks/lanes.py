"""The graph of lanes and the loops through it, for right-hand traffic.

A lane right of the reference line (id below 0) is driven along s, one left of it against s.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import numpy as np

from clipdrive.opendrive.geometry import reference_line
from clipdrive.opendrive.network import Lane, LaneSection, Link, RoadNetwork


class LanePiece(NamedTuple):
    """A lane within one lane section of a road."""

    road_id: str
    section: int
    lane_id: int

    @property
    def along_s(self) -> bool:
        """Whether it is driven in the direction of its road's s."""
        return self.lane_id < 0


class LaneGraph:
    """Which lane leads to which, over lane sections, roads and junctions."""

    def __init__(self, network: RoadNetwork):
        self.network = network
        self._straightest: dict[LanePiece, list[LanePiece]] = {}

    def section(self, piece: LanePiece) -> LaneSection:
        """The lane section that the piece lies in."""
        return self.network.roads[piece.road_id].lane_sections[piece.section]

    def lane(self, piece: LanePiece) -> Lane:
        """The lane itself."""
        return self.section(piece).lane(piece.lane_id)

    def in_junction(self, piece: LanePiece) -> bool:
        """Whether the piece is a way through a junction."""
        return self.network.roads[piece.road_id].junction_id is not None

    def length_m(self, piece: LanePiece) -> float:
        """Length along the reference line."""
        section = self.section(piece)
        return section.end_m - section.s_m

    def pieces(self) -> Iterator[LanePiece]:
        """All lanes of type driving outside junctions, in the file's order; those along s first."""
        for along_s in (True, False):
            for road in self.network.roads.values():
                for index, section in enumerate(road.lane_sections):
                    for lane in section.lanes:
                        piece = LanePiece(road.id, index, lane.id)
                        if lane.id != 0 and lane.type == "driving" and piece.along_s == along_s:
                            if road.junction_id is None:
                                yield piece

    def after(self, piece: LanePiece) -> list[LanePiece]:
        """The pieces that a car can go on to."""
        road = self.network.roads[piece.road_id]
        if 0 <= piece.section + (1 if piece.along_s else -1) < len(road.lane_sections):
            return self.within_road(piece)
        lane = self.lane(piece)
        joined = lane.successor if piece.along_s else lane.predecessor
        link = road.successor if piece.along_s else road.predecessor
        if link is None:
            return []
        if link.element_type == "junction":
            return self._through_junction(link.element_id, piece)
        return self._valid([self._entry(link, joined)]) if joined is not None else []

    def within_road(self, piece: LanePiece) -> list[LanePiece]:
        """The piece that follows in the next lane section of the same road; empty in its last one."""
        lane = self.lane(piece)
        joined = lane.successor if piece.along_s else lane.predecessor
        section = piece.section + (1 if piece.along_s else -1)
        if joined is None or not 0 <= section < len(self.network.roads[piece.road_id].lane_sections):
            return []
        return self._valid([LanePiece(piece.road_id, section, joined)])

    def straightest(self, piece: LanePiece) -> list[LanePiece]:
        """The pieces of the way on that turns least, up to and including the first one outside a junction."""
        if piece not in self._straightest:
            ways = self.ways_on(piece)
            self._straightest[piece] = min(ways, key=lambda way: abs(self.turned_rad(piece, way[-1])), default=[])
        return self._straightest[piece]

    def ways_on(self, piece: LanePiece) -> list[list[LanePiece]]:
        """All ways on, each up to and including its first piece outside a junction."""
        return [way for first in self.after(piece) if (way := self._out_of_junction(first))]

    def turned_rad(self, piece: LanePiece, onward: LanePiece) -> float:
        """By how much the road has turned from the end of a piece to the begin of another, positive to the left."""
        return _wrapped(self._heading(onward, at_end=False) - self._heading(piece, at_end=True))

    def towards(self, piece: LanePiece, road_id: str) -> list[LanePiece]:
        """The pieces of a way on whose first one outside a junction is on that road."""
        return next((way for way in self.ways_on(piece) if way[-1].road_id == road_id), [])

    def opposite(self, piece: LanePiece) -> list[LanePiece]:
        """The driving lanes of the same section that are driven the other way, the innermost first."""
        lanes = self.section(piece).lanes
        ids = [lane.id for lane in lanes if lane.type == "driving" and lane.id * piece.lane_id < 0]
        return [LanePiece(piece.road_id, piece.section, lane_id) for lane_id in sorted(ids, key=abs)]

    def _through_junction(self, junction_id: str, piece: LanePiece) -> list[LanePiece]:
        found = []
        for connection in self._connections.get((junction_id, piece.road_id), []):
            for lane_from, lane_to in connection.lane_links:
                if lane_from == piece.lane_id and connection.connecting_road in self.network.roads:
                    link = Link("road", connection.connecting_road, connection.contact_point)
                    found.append(self._entry(link, lane_to))
        return self._valid(found)

    @cached_property
    def _connections(self) -> dict:
        table: dict = {}
        for junction in self.network.junctions.values():
            for connection in junction.connections:
                table.setdefault((junction.id, connection.incoming_road), []).append(connection)
        return table

    def _entry(self, link: Link, lane_id: int) -> LanePiece:
        road = self.network.roads.get(link.element_id)
        last = 0 if road is None else len(road.lane_sections) - 1
        # Without a contact point the lane's side tells the end by which it is entered.
        at_start = lane_id < 0 if link.contact_point is None else link.contact_point == "start"
        piece = LanePiece(link.element_id, 0 if at_start else last, lane_id)
        return piece if piece.along_s == at_start else piece._replace(lane_id=0)  # else: against the traffic

    def _valid(self, pieces: list[LanePiece]) -> list[LanePiece]:
        """Those that exist and are driven on."""
        known = [p for p in pieces if p.lane_id != 0 and p.road_id in self.network.roads]
        return [p for p in known if self.lane(p) is not None and self.lane(p).type == "driving"]

    def _out_of_junction(self, piece: LanePiece) -> list[LanePiece]:
        way = [piece]
        while self.in_junction(way[-1]):
            following = self.after(way[-1])
            if not following or following[0] in way:
                return []
            way.append(following[0])
        return way

    def _heading(self, piece: LanePiece, at_end: bool) -> float:
        section = self.section(piece)
        s_m = section.end_m if piece.along_s == at_end else section.s_m
        heading = reference_line(self.network.roads[piece.road_id], [s_m]).heading_rad[0]
        return float(heading) if piece.along_s else float(heading) + np.pi


def longest_way(graph: LaneGraph) -> tuple[list[LanePiece], bool]:
    """The longest closed loop found by going straightest first from every lane, and True.

    Where there is no loop: the longest open way, and False. Empty where no lane can be driven.
    """
    best: tuple[bool, float, list[LanePiece]] = (False, 0.0, [])
    covered: set[LanePiece] = set()
    for start in graph.pieces():
        if start in covered:
            continue  # it leads where an earlier one led
        way, closed = _straightest_way(graph, start)
        if closed:
            covered.update(way)
        length_m = round(sum(graph.length_m(piece) for piece in way), 3)
        if (closed, length_m) > best[:2]:
            best = (closed, length_m, way)
    closed, _, way = best
    if closed:
        order = {road_id: place for place, road_id in enumerate(graph.network.roads)}
        first = min((p.road_id for p in way if not graph.in_junction(p)), key=order.__getitem__)
        at = next((i for i, p in enumerate(way) if p.road_id == first != way[i - 1].road_id), 0)
        way = way[at:] + way[:at]
    return way, closed


def opposite_way(graph: LaneGraph, way: list[LanePiece], closed: bool) -> list[LanePiece] | None:
    """The same roads driven the other way, or None where the lanes do not allow it."""
    outside = [piece for piece in way if not graph.in_junction(piece)]
    roads = [road_id for road_id, _ in groupby(reversed(outside), key=lambda piece: piece.road_id)]
    for start in graph.opposite(outside[-1]):
        back = _way_over(graph, start, roads + roads[:1] if closed else roads)
        if back is None:
            continue
        if not closed:
            return back
        if back[-1] == start:
            return back[:-1]
    return None


def _straightest_way(graph: LaneGraph, start: LanePiece) -> tuple[list[LanePiece], bool]:
    way, place = [start], {start: 0}
    while True:
        following = graph.straightest(way[-1])
        if not following:
            return way, False
        for piece in following:
            if piece in place:
                return way[place[piece] :], True
            place[piece] = len(way)
            way.append(piece)


def _way_over(graph: LaneGraph, start: LanePiece, roads: list[str]) -> list[LanePiece] | None:
    """From `start` to the end of these roads, in this order; back at `start` it ends there."""
    way = [start]
    for following in [*roads[1:], None]:
        while inside := graph.within_road(way[-1]):
            way += inside
        if following is None:
            return way
        onward = graph.towards(way[-1], following)
        if not onward:
            return None
        way += onward
        if way[-1] == start:
            return way
    return None


def _wrapped(angle_rad: float) -> float:
    return (angle_rad + np.pi) % (2.0 * np.pi) - np.pi
