"""Turns a way through the lane graph into a route: the middle of the lane, or of the road surface."""

from __future__ import annotations

import numpy as np

from clipdrive.opendrive.geometry import SectionBorders, elevation, reference_line, section_borders
from clipdrive.tracks.lanes import LaneGraph, LanePiece
from clipdrive.tracks.route import Route, Turn
from clipdrive.tracks.turning import choices

SPACING_M = 0.5
_FINE_M = 0.1  # the lane is sampled this finely before the route's points are laid on it
_SMOOTHING_M = 8.0  # over which the way from the lane to the road's middle is evened out, where it changes


def route_along(graph: LaneGraph, way: list[LanePiece], closed: bool, follow: str, name: str) -> Route:
    """The route over these lane pieces, a point about every 0.5 m; `follow` is 'road' or 'lane'."""
    lane = _resampled(_sampled(graph, way), closed, _FINE_M)
    step_m = lane["s"][1]
    if follow == "road":
        left = _evened(_bridged(lane["to_middle"], lane["in_junction"], closed), closed, step_m)
        half = _evened(_bridged(lane["half_road"], lane["in_junction"], closed), closed, step_m)
        lane = _shifted_left(lane, left, closed)
    else:
        half = lane["half_lane"]
    lane["half"] = half
    fine = _resampled(lane, closed, SPACING_M)
    length_m = fine["s"][1] * (len(fine["s"]) if closed else len(fine["s"]) - 1)
    return Route(
        name=name,
        closed=closed,
        length_m=float(length_m),
        spacing_m=float(fine["s"][1]),
        s_m=fine["s"],
        x_m=fine["x"],
        y_m=-fine["y"],  # from here on CARLA's frame
        z_m=fine["z"],
        yaw_rad=-fine["heading"],
        pitch_rad=np.arctan(fine["slope"]),
        curvature_1pm=-_derivative(fine["heading"], fine["s"][1], closed, jump=True),
        half_width_m=fine["half"],
        turns=_turns(graph, way, fine),
    )


def _sampled(graph: LaneGraph, way: list[LanePiece]) -> dict[str, np.ndarray]:
    """Points of the lane's middle, every 0.1 m along the reference lines, in OpenDRIVE's frame."""
    parts: list[dict[str, np.ndarray]] = []
    for number, piece in enumerate(way):
        road, section = graph.network.roads[piece.road_id], graph.section(piece)
        count = max(2, int(np.ceil(graph.length_m(piece) / _FINE_M)) + 1)
        s = np.linspace(section.s_m, section.end_m, count)
        borders = section_borders(road, section, s)
        row = borders.lane_ids.index(piece.lane_id)
        t = 0.5 * (borders.t_left_m[row] + borders.t_right_m[row])
        t_right, t_left = _surface_around(borders, row)
        line = reference_line(road, s)
        z, slope = elevation(road, s)
        direction = 1.0 if piece.along_s else -1.0
        sideways = np.gradient(t, s) if s[-1] > s[0] else np.zeros(count)
        heading = line.heading_rad + np.arctan2(sideways, 1.0 - line.curvature_1pm * t)
        part = {
            "x": line.x_m - t * np.sin(line.heading_rad),
            "y": line.y_m + t * np.cos(line.heading_rad),
            "z": z,
            "slope": direction * slope,
            "heading": heading if piece.along_s else heading + np.pi,
            "half_lane": 0.5 * (borders.t_left_m[row] - borders.t_right_m[row]),
            "half_road": 0.5 * (t_left - t_right),
            "to_middle": direction * (0.5 * (t_left + t_right) - t),
            "in_junction": np.full(count, float(graph.in_junction(piece))),
            "piece": np.full(count, float(number)),
        }
        parts.append(part if piece.along_s else {key: values[::-1] for key, values in part.items()})
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _turns(graph: LaneGraph, way: list[LanePiece], fine: dict[str, np.ndarray]) -> tuple[Turn, ...]:
    """The way's choices, by where on the route they begin and end."""
    turns = []
    for first, last, kind in choices(graph, way):
        s_m = fine["s"][(fine["piece"] > first - 0.5) & (fine["piece"] < last + 0.5)]
        if len(s_m):
            turns.append(Turn(float(s_m[0]), float(s_m[-1]), kind))
    return tuple(turns)


def _surface_around(borders: SectionBorders, row: int) -> tuple[np.ndarray, np.ndarray]:
    """t of the right and left edge of the road surface that the lane is part of."""
    drivable = [borders.section.lane(lane_id).drivable for lane_id in borders.lane_ids]
    widths = borders.t_left_m - borders.t_right_m
    first = last = row
    while first > 0 and (drivable[first - 1] or widths[first - 1].max() < 0.05):
        first -= 1
    while last + 1 < len(drivable) and (drivable[last + 1] or widths[last + 1].max() < 0.05):
        last += 1
    return borders.t_right_m[last], borders.t_left_m[first]


def _resampled(fields: dict[str, np.ndarray], closed: bool, spacing_m: float) -> dict[str, np.ndarray]:
    """The same line with evenly spaced points; a closed one without its end, which is its beginning."""
    x, y = fields["x"], fields["y"]
    if closed:
        x, y = np.append(x, x[0]), np.append(y, y[0])
    steps = np.hypot(np.diff(x), np.diff(y))
    keep = np.concatenate(([True], steps > 1e-4))
    if closed:
        keep[-1] = True
    along = np.concatenate(([0.0], np.cumsum(steps)))
    count = max(2, int(round(along[-1] / spacing_m)))
    places = np.linspace(0.0, along[-1], count + 1)[: count if closed else None]
    out = {"s": places}
    for key, values in fields.items():
        if key == "s":
            continue
        if key == "heading":
            values = np.unwrap(values)
        if closed:
            end = values[0]
            if key == "heading":
                end = values[-1] + (end - values[-1] + np.pi) % (2.0 * np.pi) - np.pi
            values = np.append(values, end)
        out[key] = np.interp(places, along[keep], values[keep])
    return out


def _bridged(values: np.ndarray, in_junction: np.ndarray, closed: bool) -> np.ndarray:
    """The values, bridged inside junctions, where a way through knows nothing of the road's surface."""
    outside = np.flatnonzero(in_junction <= 0.0)  # points between the two are mixtures
    if len(outside) == 0:
        return values
    period = len(values) if closed else None
    return np.interp(np.arange(len(values)), outside, values[outside], period=period)


def _evened(values: np.ndarray, closed: bool, step_m: float) -> np.ndarray:
    """Two moving averages: a lane that begins or ends at once makes the route neither jump nor kink."""
    if np.ptp(values) < 1e-9:
        return values
    window = 2 * int(0.5 * _SMOOTHING_M / step_m) + 1
    for _ in range(2):
        padded = np.pad(values, window // 2, mode="wrap" if closed else "edge")
        values = np.convolve(padded, np.full(window, 1.0 / window), mode="valid")
    return values


def _shifted_left(fields: dict[str, np.ndarray], left: np.ndarray, closed: bool) -> dict[str, np.ndarray]:
    """The line moved `left` (n,) to its left, and turned as the change of that demands."""
    heading, step_m = fields["heading"], fields["s"][1]
    curvature = _derivative(heading, step_m, closed, jump=True)
    sideways = _derivative(left, step_m, closed)
    stretch = np.maximum(1.0 - curvature * left, 0.1)
    moved = dict(fields)
    moved["x"] = fields["x"] - left * np.sin(heading)
    moved["y"] = fields["y"] + left * np.cos(heading)
    moved["heading"] = heading + np.arctan2(sideways, stretch)
    return moved


def _derivative(values: np.ndarray, step_m: float, closed: bool, jump: bool = False) -> np.ndarray:
    """The values' change per metre; `jump`: round a closed line they grow by whole turns."""
    if not closed:
        return np.gradient(values, step_m)
    before, after = np.roll(values, 1), np.roll(values, -1)
    if jump:
        before[0] = values[0] + (before[0] - values[0] + np.pi) % (2.0 * np.pi) - np.pi
        after[-1] = values[-1] + (after[-1] - values[-1] + np.pi) % (2.0 * np.pi) - np.pi
    return (after - before) / (2.0 * step_m)
