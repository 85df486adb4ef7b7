"""Prioritised replay beside cpprb's: time of one draw and one update of priorities, without the gathering of rows.

`python -m benchmarks.replay` prints the table: 200,000 steps, batches of 256, best and median of interleaved rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cpprb
import numpy as np

from benchmarks.runs import markdown_table
from clipdrive.experience.memory import ReplayMemory
from clipdrive.experience.replay import PrioritisedReplay

STEPS, BATCH, DRAWS, ROUNDS = 200_000, 256, 200, 15


class _WithoutRows(PrioritisedReplay):
    """Leaves out what every replay does alike."""

    def draw(self, size: int, rng: np.random.Generator, share: float):
        self._uniform._drawn = lambda rows, weights: (rows, weights)
        return super().draw(size, rng, share)


def ours(errors: np.ndarray) -> Callable[[], None]:
    memory = ReplayMemory(STEPS + 2, (1, 0, 0), 1, 1, 1)
    memory.begin(np.zeros((1, 0, 0), np.uint8), np.zeros(1, np.float32))
    for _ in range(STEPS):
        memory.add(np.zeros(1, np.float32), 0.0, False, np.zeros((1, 0, 0), np.uint8), np.zeros(1, np.float32))
    replay, rng = _WithoutRows(memory, 1, 0.99, alpha=0.6, beta=0.4, epsilon=1e-6), np.random.default_rng(0)

    def step() -> None:
        rows, _ = replay.draw(BATCH, rng, 0.5)
        replay.learned(rows, errors)

    return step


def peer(errors: np.ndarray) -> Callable[[], None]:
    replay = cpprb.PrioritizedReplayBuffer(STEPS, {"reward": {}}, alpha=0.6, eps=1e-6)
    replay.add(reward=np.zeros(STEPS))

    def step() -> None:
        replay.update_priorities(replay.sample(BATCH, beta=0.7)["indexes"], errors)

    return step


def main() -> None:
    errors = np.random.default_rng(1).exponential(size=BATCH).astype(np.float32)
    steps = {"clipdrive": ours(errors), "cpprb": peer(errors)}
    taken_ms: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS + 1):
        for name in sorted(steps, reverse=number % 2 == 1):
            begun = time.perf_counter()
            for _ in range(DRAWS):
                steps[name]()
            if number:  # the first round compiles
                taken_ms[name].append((time.perf_counter() - begun) / DRAWS * 1000.0)
    rows = [[name, f"{min(ms):.3f}", f"{statistics.median(ms):.3f}"] for name, ms in taken_ms.items()]
    print(markdown_table([f"batch {BATCH} of {STEPS:,} steps", "best, ms", "median, ms"], rows))


if __name__ == "__main__":
    main()
