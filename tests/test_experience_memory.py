"""The replay memory against a naive list of transitions, over episode borders and the ring's wrap."""

from __future__ import annotations

import numpy as np
import pytest

from clipdrive.experience.episodes import Episode
from clipdrive.experience.memory import ReplayError, ReplayMemory, as_rows, stacked


def index_frame(number: int) -> np.ndarray:
    return np.full((1, 2, 2), number % 251, np.uint8)


class NaiveStore:
    """All transitions of the world in which frame = running number, as whole stacks."""

    def __init__(self, memory: ReplayMemory, stack: int) -> None:
        self.memory, self.stack, self.transitions, self.number = memory, stack, {}, 0

    def drive(self, steps: int, terminated: bool) -> None:
        frames = [self.number]
        self.memory.begin(index_frame(self.number), self.state(self.number))
        self.number += 1
        for step in range(steps):
            action = np.array([self.number / 1000.0, 0.0], np.float32)
            ends = terminated and step == steps - 1
            self.memory.add(action, float(self.number), ends, index_frame(self.number), self.state(self.number))
            before, frames = self.stacked(frames), [*frames, self.number]
            self.transitions[frames[-2]] = (before, action, float(self.number), ends, self.stacked(frames))
            self.number += 1

    def stacked(self, frames: list[int]) -> list[int]:
        return [frames[max(0, len(frames) - self.stack + k)] % 251 for k in range(self.stack)]

    @staticmethod
    def state(number: int) -> np.ndarray:
        return np.array([number, 0, 0], np.float32)


@pytest.mark.parametrize("capacity", [1000, 60, 37])
@pytest.mark.parametrize("stack", [1, 3, 4])
def test_trap_18_every_sample_equals_the_naive_store_over_borders_and_wrap(capacity, stack):
    memory = ReplayMemory(capacity, (1, 2, 2), 3, 2, stack)
    store = NaiveStore(memory, stack)
    rng = np.random.default_rng(0)
    for episode in range(40):
        store.drive(int(rng.integers(1, 12)), terminated=episode % 2 == 0)
        sample = memory.sample(64, rng)
        for i in range(64):
            number = int(sample.states[i, 0])
            before, action, reward, ends, after = store.transitions[number]
            assert sample.frames[i, :, 0, 0].tolist() == before
            assert sample.next_frames[i, :, 0, 0].tolist() == after
            assert sample.actions[i].tolist() == action.tolist()
            assert sample.rewards[i] == reward
            assert sample.terminated[i] == float(ends)
            assert sample.next_states[i, 0] == number + 1
            assert store.number - number <= capacity


def test_every_whole_transition_is_drawn_about_as_often():
    memory = ReplayMemory(100, (1, 2, 2), 3, 2, 3)
    store = NaiveStore(memory, 3)
    store.drive(10, True)
    store.drive(10, False)
    numbers = memory.sample(20000, np.random.default_rng(1)).states[:, 0].astype(int)
    values, counts = np.unique(numbers, return_counts=True)
    assert values.tolist() == sorted(store.transitions)
    assert counts.min() > 850 and counts.max() < 1150  # 1000 expected, four standard deviations


def test_rows_put_back_give_the_same_samples_also_after_a_wrap():
    memory, other = (ReplayMemory(50, (1, 2, 2), 3, 2, 3) for _ in range(2))
    store = NaiveStore(memory, 3)
    saved = 0
    for steps in (10, 20, 30, 25):
        store.drive(steps, True)
        other.put_rows(memory.rows_between(max(saved, memory.count - memory.capacity), memory.count))
        saved = memory.count
        first = memory.sample(32, np.random.default_rng(steps))
        second = other.sample(32, np.random.default_rng(steps))
        for name in vars(first):
            assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_an_episode_is_added_with_all_its_frames_and_colours():
    frames = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)
    episode = Episode(
        frames, np.zeros((3, 3), np.float32), np.zeros((2, 2), np.float32), np.ones(2, np.float32),
        np.array([False, True]), np.zeros(2, bool),
    )  # fmt: skip
    memory = ReplayMemory(20, (3, 4, 5), 3, 2, 2)
    memory.add_episode(episode)
    assert memory.count == 3
    assert np.array_equal(memory.frames[:3], as_rows(frames))
    sample = memory.sample(8, np.random.default_rng(0))
    assert sample.frames.shape == (8, 6, 4, 5)
    assert set(sample.terminated.tolist()) <= {0.0, 1.0}


def test_one_frame_is_stored_once():
    memory = ReplayMemory(1000, (1, 84, 84), 3, 2, 4)
    stored = sum(getattr(memory, name).nbytes for name in ("frames", "states", "actions", "rewards", "age"))
    assert stored / 1000 < 1.1 * 84 * 84


def test_an_empty_memory_says_so():
    memory = ReplayMemory(10, (1, 2, 2), 3, 2, 2)
    with pytest.raises(ReplayError, match="empty"):
        memory.sample(1, np.random.default_rng(0))
    with pytest.raises(ReplayError, match="memory_steps: got 3"):
        ReplayMemory(3, (1, 2, 2), 3, 2, 3)


def test_four_planes_lie_innermost_and_hold_what_plain_stacks_hold():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (9, 1, 5, 7), np.uint8)
    picked = rng.integers(0, 9, (6, 5))
    now, after = stacked(frames, picked)
    plain = frames[picked][:, :, 0]  # (6, 5, 5, 7)
    assert np.array_equal(now, plain[:, :4]) and np.array_equal(after, plain[:, 1:])
    assert now.strides[1] == after.strides[1] == 1  # one byte from plane to plane
