"""The reward of one decision, from the state at its end.

Speed counts as a share s of `speed_max_mps`, at most 1, or with a target speed T as

    s = v / T up to T, then 1 - 2 (v - T) / T, never below -1.

d is |offset| in half widths of the road. Past its cap it costs no more: 1 in `perot`, 2 in `margin` and
`sigmoid`, whose formulas begin to bite at the road's edge (the papers' w / 2 is d = 1). Where s < 0 the
reward is s, whatever the heading.

    perot    s (cos a - d)                             Jaritz et al. 2018
    mnih     s cos a                                   Mnih et al. 2016, as quoted there
    margin   s (cos a - max(d - 1, 0))
    sigmoid  s (cos a - 1 / (1 + exp(-4 (d - 1))))
    goal     -(share of the way still to drive) - 0.1 d, the share in [0, 1] and d at most 1

Two deviations from the papers keep |r| <= 1 in the first four: the caps, and that none of them falls below -1
(which only driving fast against the road's direction would). On an ending that is a failure `crash` takes the
place of the reward.
"""

from __future__ import annotations

import math

from clipdrive.params import RewardParams

SIGMOID_STEEPNESS = 4.0
GOAL_OFFSET_WEIGHT = 0.1
OFFSET_CAP = {"perot": 1.0, "mnih": 1.0, "margin": 2.0, "sigmoid": 2.0, "goal": 1.0}


def speed_share(reward: RewardParams, speed_mps: float) -> float:
    """The speed's part s of the reward, in [-1, 1]."""
    target_mps = reward.target_speed_mps
    if target_mps is None:
        return min(max(speed_mps / reward.speed_max_mps, -1.0), 1.0)
    over_target = (speed_mps - target_mps) / target_mps
    return max(1.0 - 2.0 * over_target if over_target > 0.0 else speed_mps / target_mps, -1.0)


def decision_reward(
    reward: RewardParams,
    *,
    speed_mps: float,
    heading_error_rad: float,
    offset_half_widths: float,
    remaining_share: float,
    failed: bool,
) -> float:
    """The reward of a decision; `failed`: it ended the episode by a failure, `remaining_share`: of the
    way, for `goal`."""
    if failed and reward.crash is not None:
        return reward.crash
    d = min(abs(offset_half_widths), OFFSET_CAP[reward.kind])
    if reward.kind == "goal":
        return -min(max(remaining_share, 0.0), 1.0) - GOAL_OFFSET_WEIGHT * d
    s = speed_share(reward, speed_mps)
    if s < 0.0:
        return s
    return max(s * (math.cos(heading_error_rad) - _offset_cost(reward.kind, d)), -1.0)


def _offset_cost(kind: str, d: float) -> float:
    if kind == "perot":
        return d
    if kind == "mnih":
        return 0.0
    if kind == "margin":
        return max(d - 1.0, 0.0)
    return 1.0 / (1.0 + math.exp(-SIGMOID_STEEPNESS * (d - 1.0)))


def largest_reward(reward: RewardParams) -> float:
    """R_max: no decision's reward is larger than this in size, so that |Q| <= R_max / (1 - gamma) for
    every policy."""
    while_driving = 1.0 + GOAL_OFFSET_WEIGHT if reward.kind == "goal" else 1.0
    return max(while_driving, abs(reward.crash or 0.0))
