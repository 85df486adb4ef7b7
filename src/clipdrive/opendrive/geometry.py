"""Where roads and lanes lie: reference line, elevation, lane borders, drivable surface and painted lines.

OpenDRIVE's own frame: x east, y north, headings anticlockwise, s along a road, t positive to the left of it.
Every function takes arc lengths `s_m` (n,), clamps them to the road, and returns arrays (n,).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clipdrive.opendrive.curves import follow
from clipdrive.opendrive.network import LaneSection, Road


class ReferenceLine(NamedTuple):
    """Points of a reference line; headings are as the file gives them, so may jump by 2 pi between pieces."""

    x_m: np.ndarray
    y_m: np.ndarray
    heading_rad: np.ndarray
    curvature_1pm: np.ndarray  # positive turns left


class SectionBorders(NamedTuple):
    """The lane borders of one lane section at those s that lie in it."""

    section: LaneSection
    rows: np.ndarray  # (m,) which of the s asked for
    lane_ids: tuple[int, ...]  # leftmost to rightmost, without the centre lane 0
    t_left_m: np.ndarray  # (lanes, m)
    t_right_m: np.ndarray  # (lanes, m)
    t_centre_m: np.ndarray  # (m,) the border between left and right lanes


class Mark(NamedTuple):
    """A line painted along a lane border: where, which kind ('none': nothing is painted), what colour."""

    t_m: np.ndarray  # (n,) nan where the border does not exist
    kind: np.ndarray  # (n,) str
    colour: np.ndarray  # (n,) str


def reference_line(road: Road, s_m) -> ReferenceLine:
    """Points of the road's reference line at `s_m` (n,)."""
    s = _clamped(road, s_m)
    starts = np.array([geometry.s_m for geometry in road.geometries])
    piece = np.maximum(np.searchsorted(starts, s, side="right") - 1, 0)
    out = np.empty((4, len(s)))
    for index in np.unique(piece):
        rows = piece == index
        out[:, rows] = follow(road.geometries[index], s[rows] - starts[index])
    return ReferenceLine(*out)


def elevation(road: Road, s_m) -> tuple[np.ndarray, np.ndarray]:
    """Height z and slope dz/ds at `s_m` (n,)."""
    s = _clamped(road, s_m)
    return road.elevation(s), road.elevation.slope(s)


def points(road: Road, s_m, t_m) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the points `t_m` (n,) to the left of the reference line at `s_m` (n,)."""
    line = reference_line(road, s_m)
    return line.x_m - t_m * np.sin(line.heading_rad), line.y_m + t_m * np.cos(line.heading_rad)


def lane_borders(road: Road, s_m) -> list[SectionBorders]:
    """The t of every lane's two borders, one entry for each lane section that holds any of `s_m` (n,)."""
    s = _clamped(road, s_m)
    index = section_index(road, s)
    entries = []
    for which in np.unique(index):
        rows = np.flatnonzero(index == which)
        entries.append(_section_borders(road, road.lane_sections[which], s[rows], rows))
    return entries


def section_borders(road: Road, section: LaneSection, s_m) -> SectionBorders:
    """The lane borders of a given section at `s_m` (n,), its two ends included."""
    s = np.atleast_1d(np.asarray(s_m, dtype=np.float64))
    return _section_borders(road, section, s, np.arange(len(s)))


def driving_extent(road: Road, s_m) -> tuple[np.ndarray, np.ndarray]:
    """(t_right, t_left): the outer borders of all drivable lanes together; nan where there is none."""
    t_right = np.full(len(np.atleast_1d(s_m)), np.nan)
    t_left = np.full(len(np.atleast_1d(s_m)), np.nan)
    for borders in lane_borders(road, s_m):
        lanes = [borders.section.lane(lane_id) for lane_id in borders.lane_ids]
        drivable = [row for row, lane in enumerate(lanes) if lane.drivable]
        if drivable:
            t_right[borders.rows] = borders.t_right_m[drivable].min(axis=0)
            t_left[borders.rows] = borders.t_left_m[drivable].max(axis=0)
    return t_right, t_left


def marks(road: Road, s_m) -> list[Mark]:
    """The painted lines at `s_m` (n,): one entry for each lane id of the road, 0 being the centre line."""
    s = _clamped(road, s_m)
    found: dict[int, Mark] = {}
    for borders in lane_borders(road, s):
        ds = s[borders.rows] - borders.section.s_m
        for lane in borders.section.lanes:
            if lane.id not in found:
                nothing = np.full(len(s), "none", dtype="<U24")
                found[lane.id] = Mark(np.full(len(s), np.nan), nothing, nothing.copy())
            mark = found[lane.id]
            if lane.id == 0:
                mark.t_m[borders.rows] = borders.t_centre_m
            else:
                outer = borders.t_left_m if lane.id > 0 else borders.t_right_m
                mark.t_m[borders.rows] = outer[borders.lane_ids.index(lane.id)]
            for painted in lane.road_marks:  # sorted: a later one replaces the one before
                there = borders.rows[ds >= painted.s_m - 1e-9]
                mark.kind[there] = painted.kind
                mark.colour[there] = painted.colour
    return [found[lane_id] for lane_id in sorted(found, reverse=True)]


def section_index(road: Road, s_m: np.ndarray) -> np.ndarray:
    """Which lane section each of `s_m` (n,) lies in; at a seam the later one."""
    starts = np.array([section.s_m for section in road.lane_sections])
    return np.maximum(np.searchsorted(starts, s_m, side="right") - 1, 0)


def _section_borders(road: Road, section: LaneSection, s, rows) -> SectionBorders:
    centre = road.lane_offset(s)
    ds = s - section.s_m
    outer: dict[int, np.ndarray] = {0: centre}
    by_distance = sorted((lane for lane in section.lanes if lane.id != 0), key=lambda lane: abs(lane.id))
    inner_of: dict[int, np.ndarray] = {}
    for side in (1, -1):
        inner = centre
        for lane in by_distance:
            if lane.id * side > 0:
                inner_of[lane.id] = inner
                if lane.borders is not None:
                    inner = lane.borders(ds)
                else:
                    inner = inner + side * np.maximum(lane.widths(ds), 0.0)
                outer[lane.id] = inner
    ids = tuple(lane.id for lane in section.lanes if lane.id != 0)
    shape = (len(ids), len(s))
    left = np.array([outer[i] if i > 0 else inner_of[i] for i in ids]).reshape(shape)
    right = np.array([inner_of[i] if i > 0 else outer[i] for i in ids]).reshape(shape)
    return SectionBorders(section, rows, ids, left, right, centre)


def _clamped(road: Road, s_m) -> np.ndarray:
    return np.clip(np.atleast_1d(np.asarray(s_m, dtype=np.float64)), 0.0, road.length_m)
