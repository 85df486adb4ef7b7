"""Which way the route takes at the next junction, as in conditional driving: what a camera alone cannot know.

Codevilla et al. 2018, "End-to-end driving via conditional imitation learning", give the network such a command. A
navigator knows more than the word: how far off the turn begins, and how much of it is done. Nothing here tells where
the lane is, nor where in it the car is.
"""

from __future__ import annotations

import numpy as np

from clipdrive.tracks.route import TURN_KINDS, Route

RANGE_M, CLOSE_M = 50.0, 10.0
PER_KIND = 3
SIZE = PER_KIND * len(TURN_KINDS)


def route_command(route: Route, s_m: float) -> np.ndarray:
    """float32 (9,): three numbers each for left, straight and right, of which only the next turn's are not all 0.

    How near its beginning is, from 0 at RANGE_M to 1 there and inside the junction; the same from CLOSE_M on; and the
    share of the way through that is done. With no turn in range all are 0.
    """
    numbers = np.zeros((len(TURN_KINDS), PER_KIND), np.float32)
    laps = (0.0, route.length_m) if route.closed else (0.0,)
    following = ((turn, lap_m) for lap_m in laps for turn in route.turns if turn.end_m + lap_m >= s_m)
    turn, lap_m = next(following, (None, 0.0))
    if turn is not None:
        done_m = s_m - turn.begin_m - lap_m  # below 0 before the junction
        numbers[TURN_KINDS.index(turn.kind)] = (
            _nearness(-done_m, RANGE_M),
            _nearness(-done_m, CLOSE_M),
            max(done_m, 0.0) / max(turn.end_m - turn.begin_m, 1e-6),
        )
    return numbers.ravel()


def _nearness(away_m: float, range_m: float) -> float:
    return 1.0 - min(max(away_m / range_m, 0.0), 1.0)
