"""n-step returns by hand, prioritised chances and weights against a direct computation, and each step once."""

from __future__ import annotations

import numpy as np
import pytest

from clipdrive.experience.memory import ReplayError, ReplayMemory
from clipdrive.experience.replay import FreshReplay, PrioritisedReplay, UniformReplay, n_step

GAMMA = 0.9


class World:
    """A memory in which frame = state = number of the row and reward = number + 1."""

    def __init__(self, capacity: int = 100, stack: int = 2) -> None:
        self.memory = ReplayMemory(capacity, (1, 1, 1), 1, 1, stack)

    def drive(self, steps: int, terminated: bool = False, open_end: bool = False) -> None:
        memory = self.memory
        memory.begin(self._frame(), self._state())
        for step in range(steps):
            number = memory.count
            ends = terminated and step == steps - 1 and not open_end
            memory.add(np.zeros(1, np.float32), float(number), ends, self._frame(), self._state())

    def _frame(self) -> np.ndarray:
        return np.full((1, 1, 1), self.memory.count % 251, np.uint8)

    def _state(self) -> np.ndarray:
        return np.array([self.memory.count], np.float32)


def test_n_step_returns_by_hand_at_every_kind_of_border():
    world = World()
    world.drive(4, terminated=True)  # rows 0..4: rewards 1 2 3 4, row 4 begins nothing
    world.drive(3)  # rows 5..8: rewards 6 7 8, cut: bootstraps
    world.drive(2, open_end=True)  # rows 9..11: rewards 10 11, still driven
    rows = np.array([0, 1, 2, 3, 5, 6, 7, 9, 10])
    transitions, steps = n_step(world.memory, rows, 3, GAMMA)
    expected = [
        (1 + 0.9 * 2 + 0.81 * 3, 0, 3, 3),  # return, terminated, next row, steps
        (2 + 0.9 * 3 + 0.81 * 4, 1, 4, 3),
        (3 + 0.9 * 4, 1, 4, 2),
        (4, 1, 4, 1),
        (6 + 0.9 * 7 + 0.81 * 8, 0, 8, 3),
        (7 + 0.9 * 8, 0, 8, 2),
        (8, 0, 8, 1),
        (10 + 0.9 * 11, 0, 11, 2),
        (11, 0, 11, 1),
    ]
    assert transitions.rewards.tolist() == pytest.approx([row[0] for row in expected])
    assert transitions.terminated.tolist() == [row[1] for row in expected]
    assert transitions.next_states[:, 0].tolist() == [row[2] for row in expected]
    assert steps.tolist() == [row[3] for row in expected]
    assert transitions.states[:, 0].tolist() == rows.tolist()
    # the next observation is a stack of its own episode
    assert transitions.next_frames[:, :, 0, 0].tolist() == [[row[2] - 1, row[2]] for row in expected]


def test_n_step_over_a_ring_that_has_wrapped():
    world = World(capacity=12)
    for _ in range(6):
        world.drive(4, terminated=True)
    memory = world.memory
    rows = np.arange(memory.oldest_row, memory.count)
    rows = rows[memory.has_next[rows % 12]]
    transitions, steps = n_step(memory, rows, 2, GAMMA)
    for row, value, n in zip(rows.tolist(), transitions.rewards.tolist(), steps.tolist(), strict=True):
        last_of_episode = row % 5 == 3  # rows 5k..5k+3 begin a step
        assert n == (1 if last_of_episode else 2)
        assert value == pytest.approx(row + 1 if last_of_episode else row + 1 + 0.9 * (row + 2))


def test_one_step_is_the_memorys_own_transition():
    world = World()
    world.drive(5, terminated=True)
    drawn = UniformReplay(world.memory, 1, GAMMA).draw(16, np.random.default_rng(3), 0.0)
    plain = world.memory.sample(16, np.random.default_rng(3))
    assert drawn.steps is None and drawn.weights is None
    for name in vars(plain):
        assert np.array_equal(getattr(drawn.transitions, name), getattr(plain, name)), name


def prioritised(memory: ReplayMemory, **changes: float) -> PrioritisedReplay:
    return PrioritisedReplay(memory, 1, GAMMA, **({"alpha": 0.6, "beta": 0.4, "epsilon": 0.01} | changes))


def test_chances_and_weights_against_a_direct_computation():
    world = World()
    world.drive(6, terminated=True)
    replay, rng = prioritised(world.memory), np.random.default_rng(0)
    replay.draw(8, rng, 0.0)
    rows, errors = np.arange(6), np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
    replay.learned(rows, errors)
    priorities = (errors + 0.01) ** 0.6
    chances = priorities / priorities.sum()
    assert replay.tree.priorities[:6] / replay.tree.total == pytest.approx(chances)
    assert replay.tree.priorities[6:].sum() == 0.0
    counts, draws = np.zeros(6), 400
    for _ in range(draws):
        drawn = replay.draw(32, rng, 0.5)
        counts += np.bincount(drawn.rows, minlength=6)
        weights = (6 * chances[drawn.rows]) ** -0.7  # beta half way from 0.4 to 1
        assert drawn.weights == pytest.approx(weights / weights.max(), rel=1e-6)
        assert drawn.transitions.states[:, 0].tolist() == drawn.rows.tolist()
    total = 32 * draws
    assert np.abs(counts / total - chances).max() < 4 * np.sqrt(0.25 / total)


def test_every_stratum_gives_one_step():
    world = World()
    world.drive(8)
    replay = prioritised(world.memory)
    rows = replay.draw(8, np.random.default_rng(0), 0.0).rows  # all new: of one priority
    assert sorted(rows.tolist()) == list(range(8))


def test_new_steps_come_as_the_most_wrong_and_forgotten_ones_not_at_all():
    world = World(capacity=20, stack=3)
    replay, rng = prioritised(world.memory), np.random.default_rng(0)
    for episode in range(12):
        world.drive(int(rng.integers(1, 7)), terminated=episode % 2 == 0)
        drawn = replay.draw(16, rng, 0.0)
        memory = world.memory
        whole = [row for row in range(memory.oldest_row, memory.count) if memory.has_next[row % 20]]
        alive = (memory.count - 1 - (memory.count - 1 - np.flatnonzero(replay.tree.priorities)) % 20).tolist()
        assert sorted(alive) == whole
        assert set(drawn.rows.tolist()) <= set(whole)
        replay.learned(drawn.rows, rng.uniform(0, 5, 16))
        newest = memory.count
        world.drive(1)
        replay.draw(4, rng, 0.0)
        assert replay.tree.priorities[newest % 20] == replay.largest


def test_a_prioritised_replay_put_back_draws_the_same():
    world = World()
    world.drive(30)
    first, second, rng = prioritised(world.memory), prioritised(world.memory), np.random.default_rng(1)
    for _ in range(5):
        first.learned(first.draw(8, rng, 0.1).rows, rng.uniform(0, 3, 8))
    second.load_state(first.state())
    one, other = (replay.draw(8, np.random.default_rng(7), 0.2) for replay in (first, second))
    assert np.array_equal(one.rows, other.rows) and np.array_equal(one.weights, other.weights)


def test_without_replay_each_step_is_learned_from_once_and_in_order():
    world = World()
    replay, rng = FreshReplay(world.memory, 1, GAMMA), np.random.default_rng(0)
    assert not replay.holds(1)
    world.drive(5, terminated=True)  # rows 0..4
    world.drive(4)  # rows 6..9
    assert replay.holds(9) and not replay.holds(10)
    assert replay.draw(4, rng, 0.0).rows.tolist() == [0, 1, 2, 3]
    assert replay.draw(4, rng, 0.0).rows.tolist() == [4, 6, 7, 8]
    assert not replay.holds(2)
    with pytest.raises(ReplayError, match="batch_size: got 2, allowed with replay: none: at most the 1 fresh"):
        replay.draw(2, rng, 0.0)
    again = FreshReplay(world.memory, 1, GAMMA)
    again.load_state(replay.state())
    assert again.draw(1, rng, 0.0).rows.tolist() == [9]
