"""The road as numbers, in place of the camera: offset, heading error, and how far away its edges are all around.

As in TORCS, whose track sensors are range finders from straight left to straight right of the car.
"""

from __future__ import annotations

import math

import numpy as np

from clipdrive.tracks.route import Projection, Route

BEAMS_RAD = np.radians(np.arange(-90.0, 91.0, 10.0))  # against the car's heading, negative to the left
RANGE_M = 60.0
BEHIND_M = 10.0
SIZE = 2 + len(BEAMS_RAD)


class RoadAhead:
    """Range finders on one route."""

    def __init__(self, route: Route) -> None:
        side = np.stack([-np.sin(route.yaw_rad), np.cos(route.yaw_rad)], axis=1) * route.half_width_m[:, None]
        middle = np.stack([route.x_m, route.y_m], axis=1)
        self._edges = np.stack([middle - side, middle + side])  # (2, n, 2)
        self._closed, self._points = route.closed, len(middle)
        self._window = np.arange(-round(BEHIND_M / route.spacing_m), round(RANGE_M / route.spacing_m) + 1)

    def numbers(self, place: Projection, x_m: float, y_m: float, yaw_rad: float) -> np.ndarray:
        """float32 (SIZE,): offset in half widths, heading error / pi, distance to the edge on each beam / RANGE_M."""
        distances = self.distances_m(place.index, x_m, y_m, yaw_rad) / RANGE_M
        own = [place.offset_m / place.half_width_m, place.heading_error_rad / math.pi]
        return np.concatenate([own, distances]).astype(np.float32)

    def distances_m(self, index: int, x_m: float, y_m: float, yaw_rad: float) -> np.ndarray:
        """To the nearest edge on each beam, at most RANGE_M; `index` is the route's nearest point."""
        rows = index + self._window
        rows = rows % self._points if self._closed else rows[(rows >= 0) & (rows < self._points)]
        points = self._edges[:, rows] - (x_m, y_m)  # (2, k, 2)
        begin, along = points[:, :-1].reshape(-1, 2), np.diff(points, axis=1).reshape(-1, 2)
        beams = np.stack([np.cos(yaw_rad + BEAMS_RAD), np.sin(yaw_rad + BEAMS_RAD)], axis=1)[:, None]  # (b, 1, 2)
        # begin + share along = distance beam
        across = _cross(beams, along)  # (b, segments)
        across = np.where(np.abs(across) < 1e-12, np.nan, across)
        distance, share = _cross(begin, along) / across, _cross(begin, beams) / across
        hit = (distance >= 0.0) & (share >= 0.0) & (share <= 1.0)  # false where parallel
        return np.minimum(np.where(hit, distance, np.inf).min(axis=1), RANGE_M)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
