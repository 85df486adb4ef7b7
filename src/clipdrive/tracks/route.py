"""A route as arrays: where along it a vehicle is, how far beside it, and which way it should look.

CARLA's frame: x forward, y right, z up, yaw clockwise seen from above. Offsets are positive to the right of
the direction of travel. Built once for a track; nothing here asks a simulator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

SEARCH_M = 12.0  # how far from the last index a projection looks: not as far as another arm of the road


class Projection(NamedTuple):
    """A vehicle's place on a route."""

    index: int  # of the nearest point: give it back at the next projection
    s_m: float
    offset_m: float  # positive right of the route
    heading_error_rad: float  # in (-pi, pi], positive: turned to the right of the route
    half_width_m: float


class Pose(NamedTuple):
    """A place and an attitude in CARLA's frame, in radians; pitch is positive uphill."""

    x_m: float
    y_m: float
    z_m: float
    yaw_rad: float
    pitch_rad: float


class Turn(NamedTuple):
    """Where a route goes through a junction that has other ways on, and which way it takes."""

    begin_m: float
    end_m: float
    kind: str  # left | straight | right


TURN_KINDS = ("left", "straight", "right")


@dataclass(frozen=True, eq=False)
class Route:
    """The line to follow, a point every `spacing_m`; if closed, the last point is followed by the first."""

    name: str
    closed: bool
    length_m: float
    spacing_m: float
    s_m: np.ndarray  # (n,) float64, as all of them
    x_m: np.ndarray
    y_m: np.ndarray
    z_m: np.ndarray
    yaw_rad: np.ndarray  # unwrapped: no jumps of 2 pi
    pitch_rad: np.ndarray
    curvature_1pm: np.ndarray  # positive turns right
    half_width_m: np.ndarray
    turns: tuple[Turn, ...] = ()  # in the order in which they come

    def project(self, x_m: float, y_m: float, yaw_rad: float = 0.0, index: int | None = None) -> Projection:
        """Where (x, y, yaw) is on the route: near the last `index`, or anywhere if that is None.

        With an index the search walks downhill from it, `SEARCH_M` at most, so that it never jumps to another
        arm of the road that comes near.
        """
        points = self._points
        if index is None:
            nearest = int(np.argmin((self.x_m - x_m) ** 2 + (self.y_m - y_m) ** 2))
        else:
            nearest = self._downhill(x_m, y_m, index)
        x, y, yaw, cosine, sine, curvature, half_width = points[nearest]
        dx, dy = x_m - x, y_m - y
        along, right = dx * cosine + dy * sine, dy * cosine - dx * sine
        # The foot on the circle of curvature through the nearest point, to second order.
        stretch = 1.0 - curvature * right
        if stretch < 0.1:  # at or beyond the circle's centre
            stretch = 0.1
        step = along / stretch
        reach = self.spacing_m
        step = -reach if step < -reach else reach if step > reach else step
        offset = right - 0.5 * curvature * along * step
        s = nearest * self.spacing_m + step
        if self.closed:
            s %= self.length_m
        else:
            s = min(max(s, 0.0), self.length_m)
        error = math.remainder(yaw_rad - yaw - curvature * step, math.tau)
        if error == -math.pi:
            error = math.pi
        return Projection(nearest, s, offset, error, half_width)

    def pose(self, s_m: float, offset_m: float = 0.0, heading_error_rad: float = 0.0) -> Pose:
        """The pose `offset_m` right of the route at `s_m`, turned `heading_error_rad` to the right of it."""
        at, after, share = self._between(s_m)
        x0, y0, yaw0, cosine0, sine0 = self._points[at][:5]
        x1, y1, yaw1, cosine1, sine1 = self._points[after][:5]
        yaw1 = yaw0 + math.remainder(yaw1 - yaw0, math.tau)
        # Cubic Hermite: a chord would cut the corner.
        a = (1.0 + 2.0 * share) * (1.0 - share) ** 2
        b = share * (1.0 - share) ** 2 * self.spacing_m
        d = share * share * (share - 1.0) * self.spacing_m
        yaw = yaw0 + (yaw1 - yaw0) * share
        return Pose(
            x_m=a * x0 + b * cosine0 + (1.0 - a) * x1 + d * cosine1 - offset_m * math.sin(yaw),
            y_m=a * y0 + b * sine0 + (1.0 - a) * y1 + d * sine1 + offset_m * math.cos(yaw),
            z_m=float(self.z_m[at] + (self.z_m[after] - self.z_m[at]) * share),
            yaw_rad=yaw + heading_error_rad,
            pitch_rad=float(self.pitch_rad[at] + (self.pitch_rad[after] - self.pitch_rad[at]) * share),
        )

    def position_ahead(self, s_m: float, distance_m: float) -> tuple[float, float]:
        """x and y of the route's point `distance_m` further on than `s_m`; at most an open route's end."""
        pose = self.pose(s_m + distance_m)
        return pose.x_m, pose.y_m

    def checkpoints(self, every_m: float) -> np.ndarray:
        """Evenly spaced s, from 0, at least `every_m` apart and from the end of an open route."""
        if not every_m > 0.0:
            raise ValueError(f"The distance between checkpoints is {every_m}; it must be above 0.")
        count = max(1, int(self.length_m / every_m + 1e-9))
        return np.arange(count) * (self.length_m / count)

    def reversed(self) -> Route:
        """The same line driven the other way, from the same point if closed, from the other end if open."""

        def turned(values: np.ndarray) -> np.ndarray:
            return np.roll(values[::-1], 1) if self.closed else values[::-1].copy()

        return Route(
            name=f"{self.name} reversed",
            closed=self.closed,
            length_m=self.length_m,
            spacing_m=self.spacing_m,
            s_m=self.s_m.copy(),
            x_m=turned(self.x_m),
            y_m=turned(self.y_m),
            z_m=turned(self.z_m),
            yaw_rad=np.unwrap(turned(self.yaw_rad) + math.pi),
            pitch_rad=-turned(self.pitch_rad),
            curvature_1pm=-turned(self.curvature_1pm),
            half_width_m=turned(self.half_width_m),
            turns=tuple(self._turned_round(turn) for turn in reversed(self.turns)),
        )

    def _turned_round(self, turn: Turn) -> Turn:
        kind = TURN_KINDS[2 - TURN_KINDS.index(turn.kind)]
        return Turn(self.length_m - turn.end_m, self.length_m - turn.begin_m, kind)

    @cached_property
    def _points(self) -> list[tuple[float, ...]]:
        """The arrays as rows of plain floats: indexing numpy one value at a time is several times slower."""
        columns = (
            self.x_m,
            self.y_m,
            self.yaw_rad,
            np.cos(self.yaw_rad),
            np.sin(self.yaw_rad),
            self.curvature_1pm,
            self.half_width_m,
        )
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _downhill(self, x_m: float, y_m: float, index: int) -> int:
        points = self._points
        count = len(points)
        nearest = index % count
        row = points[nearest]
        least = (row[0] - x_m) ** 2 + (row[1] - y_m) ** 2
        for direction in (1, -1):
            begun = nearest
            for _ in range(int(SEARCH_M / self.spacing_m)):
                other = nearest + direction
                if self.closed:
                    other %= count
                elif not 0 <= other < count:
                    break
                row = points[other]
                distance = (row[0] - x_m) ** 2 + (row[1] - y_m) ** 2
                if distance >= least:
                    break
                nearest, least = other, distance
            if nearest != begun:
                break
        return nearest

    def _between(self, s_m: float) -> tuple[int, int, float]:
        """The points before and after `s_m`, and how far it is from the one to the other, 0 to 1."""
        count = len(self._points)
        place = s_m / self.spacing_m
        if self.closed:
            place %= count
            at = min(int(place), count - 1)
            return at, (at + 1) % count, place - at
        place = min(max(place, 0.0), count - 1.0)
        at = min(int(place), count - 2)
        return at, at + 1, place - at
