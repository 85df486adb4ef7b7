"""Where the algorithms differ: which value of the next state each bootstraps from, and a few switches beside it.

An algorithm more is a function and a line of `ALGORITHMS` here, and its word in params.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def twin_minimum(q1: Tensor, q2: Tensor, gap_last: Tensor | None = None) -> Tensor:
    """min(Q1', Q2'); TD3 (Fujimoto et al. 2018), algorithm 1."""
    return torch.minimum(q1, q2)


def momentum(q1: Tensor, q2: Tensor, gap_last: Tensor) -> Tensor:
    """max(Q1', Q2') - (delta_last + |Q1' - Q2'|) / 2; MPG (Zhou et al. 2019, arXiv 1911.06882).

    `gap_last` is delta_last, the |Q1' - Q2'| of the update before: a scalar (its mean over the batch) or (B,).
    """
    return torch.maximum(q1, q2) - 0.5 * (gap_last + (q1 - q2).abs())


def single(q1: Tensor, q2: Tensor, gap_last: Tensor | None = None) -> Tensor:
    """Q1', there being no other critic; DDPG (Lillicrap et al. 2016), algorithm 1."""
    return q1


@dataclass(frozen=True)
class Algorithm:
    """The few places where an algorithm is not TD3."""

    value: Callable[[Tensor, Tensor, Tensor], Tensor]  # what the target bootstraps from
    critics: int = 2
    delayed: bool = True  # actor and targets move every `policy_delay` updates, else in each
    smoothed: bool = True  # noise on the target policy's action
    remembers_gap: bool = False  # delta_last, see MpgGap
    imitates: bool = False  # the actor also follows the actions of the data


ALGORITHMS = {
    "td3": Algorithm(twin_minimum),
    "mpg": Algorithm(momentum, remembers_gap=True),
    "ddpg": Algorithm(single, critics=1, delayed=False, smoothed=False),
    "td3_bc": Algorithm(twin_minimum, imitates=True),
}


def bootstrapped(reward: Tensor, terminated: Tensor, gamma: float | Tensor, value: Tensor) -> Tensor:
    """r + gamma (1 - terminated) V', all of shape (B,). A truncated step is not terminated, and bootstraps.

    For an n-step return `reward` is the discounted sum of its rewards and `gamma` (B,) is gamma^n.
    """
    return reward + gamma * (1.0 - terminated) * value


def smoothed_action(action: Tensor, noise: Tensor, noise_clip: float) -> Tensor:
    """clip(pi'(s') + clip(eps, -c, c), -1, 1), for actions and noise of shape (B, A); TD3, equation 14."""
    return (action + noise.clamp(-noise_clip, noise_clip)).clamp(-1.0, 1.0)


class MpgGap:
    """MPG's delta_last between updates: training state, and so in the checkpoint.

    `kind` batch: the mean over the batch; sample: the vector by position in the batch. At the first update it is the
    current one. The paper leaves both open; docs/algorithms.md says why batch is the default.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.last: Tensor | None = None

    def exchange(self, q1: Tensor, q2: Tensor) -> Tensor:
        """Give delta_last and keep the |Q1' - Q2'| of this update in its place; q1 and q2 are (B,)."""
        gap = (q1 - q2).abs()
        gap = gap.mean() if self.kind == "batch" else gap
        last = gap if self.last is None else self.last
        self.last = gap
        return last


def imitation_weight(bc_weight: float, q: Tensor) -> Tensor:
    """lambda = alpha / mean |Q1(s, pi(s))|, detached; TD3+BC (Fujimoto and Gu 2021), equation 5."""
    return bc_weight / q.detach().abs().mean()
