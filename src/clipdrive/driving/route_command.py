"""Which way the route takes at the next junction, as in conditional driving: what a camera alone cannot know.

Codevilla et al. 2018, "End-to-end driving via conditional imitation learning", give the network such a command.
"""

from __future__ import annotations

import numpy as np

from clipdrive.tracks.route import TURN_KINDS, Route

RANGE_M = 50.0
SIZE = len(TURN_KINDS) + 1


def route_command(route: Route, s_m: float) -> np.ndarray:
    """float32 (4,): 1 for the next turn's kind of left, straight and right, and how far off it begins / RANGE_M.

    Inside the junction the distance is 0. With no turn in range: 0, 0, 0 and 1.
    """
    numbers = np.zeros(SIZE, np.float32)
    numbers[-1] = 1.0
    laps = (0.0, route.length_m) if route.closed else (0.0,)
    for lap_m in laps:
        for turn in route.turns:
            if turn.end_m + lap_m >= s_m:
                away_m = max(turn.begin_m + lap_m - s_m, 0.0)
                if away_m < RANGE_M:
                    numbers[TURN_KINDS.index(turn.kind)] = 1.0
                    numbers[-1] = away_m / RANGE_M
                return numbers
    return numbers
