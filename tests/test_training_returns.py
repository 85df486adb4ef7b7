"""Q against Monte-Carlo returns, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clipdrive.training.returns import KEPT_STEPS, EpisodeTrace, ReturnWatch, discounted_returns


def trace(rewards):
    result = EpisodeTrace()
    for step, reward in enumerate(rewards):
        result.add({"step": step}, np.array([step]), reward)
    return result


def q_table(values):
    return lambda observations, actions: np.array([values[o["step"]] for o in observations])


def test_returns_by_hand():
    assert discounted_returns([1.0, 2.0, 4.0], 0.5, 0.0).tolist() == [3.0, 4.0, 4.0]
    assert discounted_returns([1.0, 2.0], 0.5, 8.0).tolist() == [1.0 + 0.5 * (2.0 + 4.0), 6.0]


def test_a_terminated_episode_counts_whole():
    watch = ReturnWatch(0.5)
    row = watch.add(trace([1.0, 2.0, 4.0]), q_table([4.0, 5.0, 6.0]), None)
    assert row == {"q_mean": 5.0, "return_mc_mean": pytest.approx(11.0 / 3.0)}
    assert watch.summary()["return_bias"] == pytest.approx((1.0 + 1.0 + 2.0) / 3.0)
    expected = np.corrcoef([4.0, 5.0, 6.0], [3.0, 4.0, 4.0])[0, 1]
    assert watch.summary()["return_correlation"] == pytest.approx(expected)


def test_trap_03_a_truncated_episode_bootstraps_and_counts_where_half_of_its_return_was_seen():
    watch = ReturnWatch(0.8)  # 0.8 ** 4 = 0.41, 0.8 ** 3 = 0.512
    row = watch.add(trace([1.0] * 5), q_table({0: 10.0, 1: 10.0, 5: 10.0}), ({"step": 5}, np.array([0])))
    first = discounted_returns([1.0] * 5, 0.8, 10.0)[:2]
    assert row == {"q_mean": 10.0, "return_mc_mean": pytest.approx(first.mean())}
    assert watch.add(trace([1.0] * 2), q_table({2: 10.0}), ({"step": 2}, np.array([0]))) == {}


def test_no_correlation_where_nothing_varies_and_none_without_episodes():
    watch = ReturnWatch(0.5)
    assert watch.summary() == {}
    watch.add(trace([1.0]), q_table([3.0]), None)
    assert watch.summary() == {"return_bias": 2.0}


def test_long_episodes_keep_an_even_choice_of_steps():
    steps = [row[0] for row in trace([0.0] * 1000).kept]
    assert len(steps) <= KEPT_STEPS and steps == list(range(0, 1000, 8))


def test_the_state_goes_on():
    first, second = ReturnWatch(0.5), ReturnWatch(0.5)
    first.add(trace([1.0, 2.0]), q_table([4.0, 1.0]), None)
    second.load_state(first.state())
    assert second.summary() == first.summary()
