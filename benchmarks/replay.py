"""What the replay memory takes of the machine, and prioritised replay beside cpprb's.

`python -m benchmarks.replay` prints both: a memory of a million steps of gray 84x84 frames (`--steps`) with its bytes a
step and the time of a batch of 256; then one draw and one update of priorities without the gathering of rows, 200,000
steps, best and median of interleaved rounds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import cpprb
import numpy as np

from benchmarks.runs import markdown_table, store_table
from clipdrive.experience.memory import ReplayMemory
from clipdrive.experience.replay import PrioritisedReplay

STEPS, BATCH, DRAWS, ROUNDS = 200_000, 256, 200, 15
SIZE_PX, STACK, STATE, ACTIONS, EPISODE_STEPS = 84, 3, 3, 2, 250


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


def of_frames(steps: int) -> list[list[str]]:
    """A memory that is full of frames: its resident bytes a step, and what sampling takes."""
    before = _resident_bytes()
    memory, rng = ReplayMemory(steps, (1, SIZE_PX, SIZE_PX), STATE, ACTIONS, STACK), np.random.default_rng(0)
    frame, state, action = rng.integers(0, 256, (1, SIZE_PX, SIZE_PX), np.uint8), np.zeros(STATE), np.zeros(ACTIONS)
    for number in range(steps):
        if number % EPISODE_STEPS == 0:
            memory.begin(frame, state)
        memory.add(action, 0.0, False, frame, state)
    a_step = (_resident_bytes() - before) / steps
    taken_ms = []
    for _ in range(DRAWS + 1):
        begun = time.perf_counter()
        memory.sample(BATCH, rng)
        taken_ms.append(1000.0 * (time.perf_counter() - begun))
    sampled_ms = statistics.median(taken_ms[1:])  # the first one compiles
    cells = [f"{steps:,}", f"{a_step:,.0f}", f"{a_step / SIZE_PX**2:.2f}", f"{steps * a_step / 2**30:.1f}"]
    return [[*cells, f"{sampled_ms:.2f}"]]


def _resident_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def prioritised() -> list[list[str]]:
    """A row each for clipdrive and cpprb: milliseconds of a draw and an update of priorities."""
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
    return [[name, f"{min(ms):.3f}", f"{statistics.median(ms):.3f}"] for name, ms in taken_ms.items()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1_000_000, help="of the memory of frames (default 1000000)")
    parser.add_argument("--record", action="store_true", help="write benchmarks/records/replay-*.json")
    arguments = parser.parse_args()
    header = ["steps", "bytes a step", "x one frame", "GiB", f"batch of {BATCH}, median ms"]
    tables = {"replay-frames": (header, of_frames(arguments.steps))}
    header = [f"batch {BATCH} of {STEPS:,} steps", "best, ms", "median, ms"]
    tables["replay-prioritised"] = (header, prioritised())
    for name, (header, rows) in tables.items():
        print(markdown_table(header, rows) + "\n")
        if arguments.record:
            store_table(name, header, rows)


if __name__ == "__main__":
    main()
