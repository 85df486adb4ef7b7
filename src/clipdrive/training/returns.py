"""Q against what was really earned: the critic's values of finished episodes beside their Monte-Carlo returns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

KEPT_STEPS = 128  # of an episode at most, evenly spaced: what one look at an episode costs
EPISODES = 20
TAIL_WEIGHT_MAX = 0.5  # of a return, what a truncated episode may leave to the critic's own estimate


class EpisodeTrace:
    """The rewards of one episode, and an even choice of its observations and actions."""

    def __init__(self) -> None:
        self.rewards: list[float] = []
        self.kept: list[tuple[int, dict[str, np.ndarray], np.ndarray]] = []
        self._every = 1

    def add(self, observation: dict[str, np.ndarray], action: np.ndarray, reward: float) -> None:
        step = len(self.rewards)
        if step % self._every == 0:
            self.kept.append((step, observation, action))
        if len(self.kept) > KEPT_STEPS:
            self.kept, self._every = self.kept[::2], 2 * self._every
        self.rewards.append(reward)


def discounted_returns(rewards: Sequence[float], gamma: float, tail: float) -> np.ndarray:
    """G_t = r_t + gamma G_(t+1) for every step, with G after the last step = `tail`."""
    result, value = np.empty(len(rewards)), tail
    for step in range(len(rewards) - 1, -1, -1):
        value = rewards[step] + gamma * value
        result[step] = value
    return result


class ReturnWatch:
    """Pairs (Q, return) of the last finished episodes, Q by the critic as it stands when the episode ends.

    `q_of(observations, actions)` gives the critic's values. A terminated episode's return is what it earned. A
    truncated one went on unseen: the critic's value of its last state stands for the rest, and only steps count of
    whose return that rest is at most a half (gamma^steps <= 0.5).
    """

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma
        self.pairs: deque[tuple[list[float], list[float]]] = deque(maxlen=EPISODES)

    def add(
        self, trace: EpisodeTrace, q_of: Callable[..., np.ndarray], last: tuple[dict[str, Any], np.ndarray] | None
    ) -> dict[str, float]:
        """Take in a finished episode; `last` is None where it terminated, else its last observation and action there.

        Returns `q_mean` and `return_mc_mean` over the steps that count; empty where none does.
        """
        steps, kept = len(trace.rewards), trace.kept
        tail = 0.0
        if last is not None:
            tail = float(q_of([last[0]], [last[1]])[0])
            kept = [row for row in kept if self.gamma ** (steps - row[0]) <= TAIL_WEIGHT_MAX]
        if not kept:
            return {}
        returns = discounted_returns(trace.rewards, self.gamma, tail)[[row[0] for row in kept]]
        q = q_of([row[1] for row in kept], [row[2] for row in kept])
        self.pairs.append((q.astype(float).tolist(), returns.tolist()))
        return {"q_mean": float(np.mean(q)), "return_mc_mean": float(np.mean(returns))}

    def summary(self) -> dict[str, float]:
        """`return_bias`: mean of Q - return. `return_correlation`: Pearson's, absent where either never varies."""
        if not self.pairs:
            return {}
        q, returns = (np.concatenate([pair[i] for pair in self.pairs]) for i in (0, 1))
        result = {"return_bias": float((q - returns).mean())}
        if len(q) > 1 and q.std() > 0.0 and returns.std() > 0.0:
            result["return_correlation"] = float(np.corrcoef(q, returns)[0, 1])
        return result

    def state(self) -> list[tuple[list[float], list[float]]]:
        return list(self.pairs)

    def load_state(self, state: Sequence[tuple[list[float], list[float]]]) -> None:
        self.pairs = deque(state, maxlen=EPISODES)
