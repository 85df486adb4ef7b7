"""The replay memory: every frame stored once, stacks put together when sampled.

A ring of rows. An episode of T steps takes T + 1 rows (its last row holds the final frame and begins no transition).
Row i holds frame and state before step i, and what the step gave; its next observation is row i + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np

from clipdrive.experience.episodes import Episode

ROW_ARRAYS = ("frames", "states", "actions", "rewards", "terminated", "age", "has_next")


class ReplayError(ValueError):
    """The memory cannot give what is asked: it is empty, or too small."""


@dataclass(frozen=True)
class Transitions:
    """Frames uint8 (B, stack*C, H, W), states (B, S), actions (B, A), rewards and terminated float32 (B,)."""

    frames: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    next_frames: np.ndarray
    next_states: np.ndarray


class ReplayMemory:
    """The last `capacity` rows driven; one frame (C, H, W) of uint8 a row.

    `count` is the number of rows ever written; row i lies at i % capacity.
    """

    def __init__(
        self, capacity: int, frame_shape: tuple[int, int, int], state_size: int, action_size: int, stack: int
    ) -> None:
        if capacity <= stack + 1:
            raise ReplayError(f"train.memory_steps: got {capacity}, allowed: more than {stack + 1}")
        self.capacity, self.stack, self.count = capacity, stack, 0
        self.frames = np.zeros((capacity, *frame_shape), np.uint8)
        self.states = np.zeros((capacity, state_size), np.float32)
        self.actions = np.zeros((capacity, action_size), np.float32)
        self.rewards = np.zeros(capacity, np.float32)
        self.terminated = np.zeros(capacity, np.float32)
        self.age = np.zeros(capacity, np.int32)  # rows since the episode's first
        self.has_next = np.zeros(capacity, bool)

    def begin(self, frame: np.ndarray, state: np.ndarray) -> None:
        """Write the first row of an episode."""
        self._write(frame, state, 0)

    def add(
        self, action: np.ndarray, reward: float, terminated: bool, frame: np.ndarray, state: np.ndarray
    ) -> None:
        """Complete the newest row with what its step gave, and write the row that the step led to."""
        here = (self.count - 1) % self.capacity
        self.actions[here], self.rewards[here], self.terminated[here] = action, reward, terminated
        self.has_next[here] = True
        self._write(frame, state, self.age[here] + 1)

    def add_episode(self, episode: Episode) -> None:
        frames = as_rows(episode.frames)
        self.begin(frames[0], episode.states[0])
        for step in range(episode.steps):
            self.add(
                episode.actions[step],
                episode.rewards[step],
                episode.terminated[step],
                frames[step + 1],
                episode.states[step + 1],
            )

    def sample(self, size: int, rng: np.random.Generator) -> Transitions:
        """`size` transitions, uniformly with replacement among all that are whole; raises where there are none."""
        return self.gather(self.draw_rows(size, rng))

    def gather(self, rows: np.ndarray) -> Transitions:
        """The transitions that begin at `rows` (B,), numbers of whole rows that are still kept."""
        here, after = rows % self.capacity, (rows + 1) % self.capacity
        back = np.arange(self.stack - 1, -2, -1)  # stack-1 .. 0 frames before the row, then the one after
        # the stack never reaches before its episode's first row: that frame is repeated
        picked = rows[:, None] - np.minimum(back[None, :], self.age[here][:, None])
        now, next_ = stacked(self.frames, picked % self.capacity)
        return Transitions(
            frames=now,
            states=self.states[here],
            actions=self.actions[here],
            rewards=self.rewards[here],
            terminated=self.terminated[here],
            next_frames=next_,
            next_states=self.states[after],
        )

    def rows_between(self, start: int, end: int) -> dict[str, np.ndarray]:
        """Copies of the rows of numbers `start` to `end` - 1, which are kept, for a checkpoint."""
        where = np.arange(start, end) % self.capacity
        return {"start": np.array(start)} | {name: getattr(self, name)[where] for name in ROW_ARRAYS}

    def put_rows(self, rows: Mapping[str, np.ndarray]) -> None:
        """Write back what `rows_between` gave, in the same order."""
        start, length = int(rows["start"]), len(rows["rewards"])
        where = np.arange(start, start + length) % self.capacity
        for name in ROW_ARRAYS:
            getattr(self, name)[where] = rows[name]
        self.count = start + length

    def _write(self, frame: np.ndarray, state: np.ndarray, age: int) -> None:
        here = self.count % self.capacity
        self.frames[here], self.states[here], self.age[here] = frame, state, age
        self.has_next[here] = False
        self.count += 1

    @property
    def oldest_row(self) -> int:
        """The first row whose whole stack is still kept."""
        return self.count - self.capacity + self.stack - 1 if self.count > self.capacity else 0

    def draw_rows(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers (size,) of whole rows, uniformly with replacement; raises ReplayError where there are none."""
        oldest, newest = self.oldest_row, self.count - 1
        if newest <= oldest or not self.has_next.any():
            raise ReplayError("the replay memory is empty: nothing was collected or driven yet")
        found = np.empty(0, np.int64)
        while len(found) < size:
            rows = rng.integers(oldest, newest, size - len(found) + 8)
            found = np.concatenate([found, rows[self.has_next[rows % self.capacity]]])
        return found[:size]


def stacked(frames: np.ndarray, picked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of frames (n, C, H, W) the rows `picked` (B, stack + 1) as two stacks (B, stack * C, H, W), all but the last row
    and all but the first.

    Stacks of four planes lie in memory with the planes innermost (torch's channels_last): a convolution's weight
    gradient takes five times as long on four planes one behind the other, and no other number has that.
    """
    _, channels, height, width = frames.shape
    batch, count = len(picked), picked.shape[1] - 1
    if count * channels != PACKED or channels != 1:
        chosen = frames[picked]  # (B, stack+1, C, H, W)
        shape = (batch, count * channels, height, width)
        return chosen[:, :-1].reshape(shape), chosen[:, 1:].reshape(shape)
    now, after = np.empty((2, batch, height * width), np.uint32)
    _pack(frames.reshape(len(frames), -1), picked, now, after)
    now, after = (words.view(np.uint8).reshape(batch, height, width, PACKED) for words in (now, after))
    return now.transpose(0, 3, 1, 2), after.transpose(0, 3, 1, 2)


PACKED = 4  # bytes of a word: a pixel's four planes are put together at once


@numba.njit(cache=True, nogil=True)
def _pack(frames: np.ndarray, picked: np.ndarray, now: np.ndarray, after: np.ndarray) -> None:
    for sample in range(len(picked)):
        first, second, third = frames[picked[sample, 0]], frames[picked[sample, 1]], frames[picked[sample, 2]]
        fourth, fifth = frames[picked[sample, 3]], frames[picked[sample, 4]]
        for pixel in range(frames.shape[1]):
            shared = np.uint32(second[pixel]) | np.uint32(third[pixel]) << 8 | np.uint32(fourth[pixel]) << 16
            now[sample, pixel] = np.uint32(first[pixel]) | shared << 8
            after[sample, pixel] = shared | np.uint32(fifth[pixel]) << 24


def as_rows(frames: np.ndarray) -> np.ndarray:
    """Frames (n, H, W) or (n, H, W, 3) as rows of the memory (n, C, H, W)."""
    return frames[:, None] if frames.ndim == 3 else np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
