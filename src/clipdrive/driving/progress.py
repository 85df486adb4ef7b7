"""How far along the route a vehicle came, from one projection to the next."""

from __future__ import annotations

import math

from clipdrive.tracks.route import Projection, Route

# The inside of a corner is shorter than its middle, so s may grow faster than the vehicle moves, but not at
# any rate: beyond this the projection has jumped to another part of the route, and the jump is not counted.
STRETCH = 2.0
SLACK_M = 1.0


class RouteProgress:
    """Signed metres along one route since the episode's start; made anew for each episode.

    `near_s_m` is about where on the route the vehicle stands, which may cross itself or run both ways on one road.
    """

    def __init__(self, route: Route, near_s_m: float, x_m: float, y_m: float, yaw_rad: float) -> None:
        self.route = route
        index = min(max(round(near_s_m / route.spacing_m), 0), len(route.s_m) - 1)
        self.projection: Projection = route.project(x_m, y_m, yaw_rad, index)
        self.progress_m = 0.0
        self.furthest_m = 0.0
        self.start_s_m = self.projection.s_m
        self._x_m, self._y_m = x_m, y_m

    @property
    def target_m(self) -> float:
        """The whole way: a lap of a closed route, the rest of an open one."""
        return self.route.length_m if self.route.closed else max(self.route.length_m - self.start_s_m, 1e-6)

    @property
    def completion(self) -> float:
        """The share of the way that was driven, in [0, 1]."""
        return min(max(self.progress_m / self.target_m, 0.0), 1.0)

    @property
    def arrived(self) -> bool:
        reserve_m = 0.0 if self.route.closed else 2.0 * self.route.spacing_m
        return self.progress_m >= self.target_m - reserve_m

    def move(self, x_m: float, y_m: float, yaw_rad: float) -> Projection:
        """Project the new pose, searching from the last place, and count the way between."""
        projection, index = self.route.project(x_m, y_m, yaw_rad, self.projection.index), None
        while projection.index != index:  # one search reaches some metres: go on to where it stays
            index = projection.index
            projection = self.route.project(x_m, y_m, yaw_rad, index)
        gained_m = projection.s_m - self.projection.s_m
        if self.route.closed:
            gained_m = math.remainder(gained_m, self.route.length_m)
        limit_m = STRETCH * math.hypot(x_m - self._x_m, y_m - self._y_m) + SLACK_M
        if abs(gained_m) <= limit_m:
            self.progress_m += gained_m
        self.furthest_m = max(self.furthest_m, self.progress_m)
        self.projection, self._x_m, self._y_m = projection, x_m, y_m
        return projection

    def last_checkpoint_s_m(self, every_m: float) -> float:
        """The checkpoint that was reached last, counted from the furthest point of the episode."""
        reached_m = self.start_s_m + self.furthest_m
        if self.route.closed:
            reached_m %= self.route.length_m
        passed = [s_m for s_m in self.route.checkpoints(every_m) if s_m <= reached_m + 1e-6]
        return float(passed[-1]) if passed else 0.0
