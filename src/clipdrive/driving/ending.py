"""When an episode ends, and why: failures terminate, the rest truncates, and never both."""

from __future__ import annotations

from collections import deque

from clipdrive.params import EndingParams

FAILURES = ("collision", "off_road", "stuck")
TRUNCATIONS = ("lap", "time_limit")
ENDINGS = FAILURES + TRUNCATIONS


class EndingRules:
    """The endings of one episode; made anew for each."""

    def __init__(self, ending: EndingParams, decision_s: float, time_limit_steps: int | None = None) -> None:
        self._ending = ending
        self._time_limit_steps = time_limit_steps or ending.time_limit_steps
        window_steps = max(1, round(ending.stuck_after_s / decision_s))
        self._progress_m: deque[float] = deque([0.0], maxlen=window_steps + 1)
        self._steps = 0

    def after_decision(
        self, *, collision: bool, offset_m: float, half_width_m: float, progress_m: float, arrived: bool
    ) -> str | None:
        """The name of the ending that this decision brought, or None; a failure goes before a truncation."""
        self._steps += 1
        self._progress_m.append(progress_m)
        if self._ending.collision and collision:
            return "collision"
        if self._ending.off_road and abs(offset_m) > half_width_m + self._ending.off_road_margin_m:
            return "off_road"
        if self._ending.stuck and self._is_stuck():
            return "stuck"
        if arrived:
            return "lap"
        if self._steps >= self._time_limit_steps:
            return "time_limit"
        return None

    def _is_stuck(self) -> bool:
        window_is_full = len(self._progress_m) == self._progress_m.maxlen
        return window_is_full and self._progress_m[-1] - self._progress_m[0] < self._ending.stuck_distance_m
