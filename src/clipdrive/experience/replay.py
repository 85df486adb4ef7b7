"""Which steps of the memory an update learns from: uniform, prioritised, or each once; and their n-step returns.

    uniform      any whole step, with replacement
    prioritised  P(i) ~ (|TD error| + epsilon)^alpha, weights (N P(i))^-beta / the batch's largest (Schaul et al. 2016)
    none         the oldest steps not yet learned from, each once, then forgotten (Sallab et al. 2016)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clipdrive.experience.memory import ReplayError, ReplayMemory, Transitions
from clipdrive.experience.sum_tree import SumTree


@dataclass(frozen=True)
class Drawn:
    """Transitions with the rewards summed in each return (`steps`, float32 (B,)) and their importance weights (B,)."""

    transitions: Transitions
    rows: np.ndarray
    steps: np.ndarray | None = None  # None: one each
    weights: np.ndarray | None = None  # None: one each


def n_step(memory: ReplayMemory, rows: np.ndarray, steps: int, gamma: float) -> tuple[Transitions, np.ndarray]:
    """Transitions from `rows` whose rewards are r_0 + gamma r_1 + ... over up to `steps` steps, and how many each has.

    A return ends with its episode, whether that terminated or was cut, and at the newest row of an episode that is
    still driven; its next observation is the one after its last step, from which a cut one bootstraps.
    """
    transitions = memory.gather(rows)
    if steps == 1:
        return transitions, np.ones(len(rows), np.float32)
    rewards = transitions.rewards.astype(np.float64)
    last = rows.copy()  # the row of the return's last step
    whole = np.ones(len(rows), bool)
    for step in range(1, steps):
        here = (rows + step) % memory.capacity
        # an episode's last row begins no step, and a row that begins one is of the same episode as the row before
        whole &= memory.has_next[here]
        rewards[whole] += gamma**step * memory.rewards[here[whole]]
        last[whole] = rows[whole] + step
    end = memory.gather(last)
    transitions = replace(
        transitions,
        rewards=rewards.astype(np.float32),
        terminated=end.terminated,
        next_frames=end.next_frames,
        next_states=end.next_states,
    )
    return transitions, (last - rows + 1).astype(np.float32)


class UniformReplay:
    """Any whole step of the memory, as often as any other."""

    def __init__(self, memory: ReplayMemory, steps: int, gamma: float) -> None:
        self.memory, self.steps, self.gamma = memory, steps, gamma

    def holds(self, size: int) -> bool:
        return True

    def draw(self, size: int, rng: np.random.Generator, share: float) -> Drawn:
        """A batch; `share` in [0, 1] says how much of the run is done. Raises ReplayError for an empty memory."""
        rows = self.memory.draw_rows(size, rng)
        return self._drawn(rows)

    def _drawn(self, rows: np.ndarray, weights: np.ndarray | None = None) -> Drawn:
        transitions, steps = n_step(self.memory, rows, self.steps, self.gamma)
        return Drawn(transitions, rows, None if self.steps == 1 else steps, weights)

    def learned(self, rows: np.ndarray, td_errors: np.ndarray) -> None:
        """Take note of the |TD errors| (B,) with which an update learned from `rows`."""

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave, with the memory's rows back in place."""


class FreshReplay:
    """Each step learned from once, in the order driven."""

    def __init__(self, memory: ReplayMemory, steps: int, gamma: float) -> None:
        self._uniform = UniformReplay(memory, steps, gamma)
        self.memory = memory
        self.next_row = 0

    def holds(self, size: int) -> bool:
        return len(self._fresh()) >= size

    def draw(self, size: int, rng: np.random.Generator, share: float) -> Drawn:
        rows = self._fresh()[:size]
        if len(rows) < size:
            raise ReplayError(f"batch_size: got {size}, allowed with replay: none: at most the {len(rows)} fresh steps")
        self.next_row = int(rows[-1]) + 1
        return self._uniform._drawn(rows)

    def learned(self, rows: np.ndarray, td_errors: np.ndarray) -> None:
        """Nothing is kept of a step."""

    def _fresh(self) -> np.ndarray:
        rows = np.arange(max(self.next_row, self.memory.oldest_row), self.memory.count)
        return rows[self.memory.has_next[rows % self.memory.capacity]]

    def state(self) -> dict[str, Any]:
        return {"next_row": self.next_row}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.next_row = state["next_row"]


class PrioritisedReplay:
    """Steps by how wrong the critics were about them when last learned from; new ones as the most wrong so far."""

    def __init__(
        self, memory: ReplayMemory, steps: int, gamma: float, *, alpha: float, beta: float, epsilon: float
    ) -> None:
        self._uniform = UniformReplay(memory, steps, gamma)
        self.memory, self.alpha, self.beta, self.epsilon = memory, alpha, beta, epsilon
        self.tree = SumTree(memory.capacity)
        self.largest = 1.0  # priority, alpha applied
        self._seen = 0  # rows of the memory that the tree knows

    def holds(self, size: int) -> bool:
        return True

    def draw(self, size: int, rng: np.random.Generator, share: float) -> Drawn:
        """A batch, one step from each of `size` equal parts of the whole priority (Schaul et al., B.2.1)."""
        self._take_note_of_new_rows()
        memory, total = self.memory, self.tree.total
        if total == 0.0:
            raise ReplayError("the replay memory is empty: nothing was collected or driven yet")
        leaves = self.tree.find((np.arange(size) + rng.random(size)) * (total / size))
        leaves = rng.permutation(leaves)  # in no order of age
        chance = self.tree.priorities[leaves] / total
        beta = self.beta + (1.0 - self.beta) * min(share, 1.0)
        weights = chance**-beta  # the number of steps N cancels against the batch's largest
        rows = memory.count - 1 - (memory.count - 1 - leaves) % memory.capacity
        return self._uniform._drawn(rows, (weights / weights.max()).astype(np.float32))

    def learned(self, rows: np.ndarray, td_errors: np.ndarray) -> None:
        priorities = (td_errors.astype(np.float64) + self.epsilon) ** self.alpha
        self.tree.put(rows % self.memory.capacity, priorities)
        self.largest = max(self.largest, float(priorities.max()))

    def _take_note_of_new_rows(self) -> None:
        memory = self.memory
        if self._seen == memory.count:
            return
        # the newest row of last time began no step then
        rows = np.arange(max(self._seen - 1, memory.oldest_row), memory.count)
        here = rows % memory.capacity
        self.tree.put(here, np.where(memory.has_next[here], self.largest, 0.0))
        gone = np.arange(max(memory.count - memory.capacity, 0), memory.oldest_row) % memory.capacity
        self.tree.put(gone, np.zeros(len(gone)))
        self._seen = memory.count

    def state(self) -> dict[str, Any]:
        return {"priorities": self.tree.priorities.copy(), "largest": self.largest, "seen": self._seen}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.tree.load(state["priorities"])
        self.largest, self._seen = state["largest"], state["seen"]


Replay = UniformReplay | FreshReplay | PrioritisedReplay


def replay_of(params: Any, memory: ReplayMemory) -> Replay:
    """The replay that the params describe."""
    if params.replay == "prioritised":
        numbers = {"alpha": params.priority_alpha, "beta": params.priority_beta, "epsilon": params.priority_epsilon}
        return PrioritisedReplay(memory, params.n_step, params.gamma, **numbers)
    kind = UniformReplay if params.replay == "uniform" else FreshReplay
    return kind(memory, params.n_step, params.gamma)
