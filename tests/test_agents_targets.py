"""The targets against hand arithmetic: MPG over several updates with both deltas, DDPG, and what MPG's algebra says."""

from __future__ import annotations

import pytest
import torch

from clipdrive.agents.targets import ALGORITHMS, MpgGap, bootstrapped, imitation_weight, momentum, twin_minimum

REWARD = torch.tensor([1.0, 2.0])
TERMINATED = torch.tensor([0.0, 1.0])
# three updates on a table of two states: (Q1', Q2') by position
TABLE = [([5.0, 1.0], [4.0, 4.0]), ([2.0, 8.0], [3.0, 3.0]), ([6.0, 0.0], [6.0, 1.0])]
# gaps: (1, 3), (1, 5), (0, 1); their means 2, 3, 0.5
BY_HAND = {
    # q = max - (delta_last + gap) / 2, delta_last first the update's own mean, then the one before's
    "batch": [
        [5.0 - (2.0 + 1.0) / 2, 4.0 - (2.0 + 3.0) / 2],
        [3.0 - (2.0 + 1.0) / 2, 8.0 - (2.0 + 5.0) / 2],
        [6.0 - (3.0 + 0.0) / 2, 1.0 - (3.0 + 1.0) / 2],
    ],
    "sample": [
        [5.0 - (1.0 + 1.0) / 2, 4.0 - (3.0 + 3.0) / 2],  # TD3's minimum: 4 and 1
        [3.0 - (1.0 + 1.0) / 2, 8.0 - (3.0 + 5.0) / 2],
        [6.0 - (1.0 + 0.0) / 2, 1.0 - (5.0 + 1.0) / 2],
    ],
}


@pytest.mark.parametrize("kind", ["batch", "sample"])
def test_mpg_by_hand_over_three_updates(kind):
    gap = MpgGap(kind)
    for (q1, q2), expected in zip(TABLE, BY_HAND[kind], strict=True):
        q1, q2 = torch.tensor(q1), torch.tensor(q2)
        value = momentum(q1, q2, gap.exchange(q1, q2))
        assert value.tolist() == pytest.approx(expected)
        target = bootstrapped(REWARD, TERMINATED, 0.9, value)
        assert target.tolist() == pytest.approx([1.0 + 0.9 * expected[0], 2.0])


def test_mpg_with_the_samples_own_gap_is_td3_and_without_any_the_mean():
    q1, q2 = torch.tensor([5.0, -1.0, 0.5]), torch.tensor([4.0, 4.0, 0.5])
    assert momentum(q1, q2, (q1 - q2).abs()).tolist() == pytest.approx(torch.minimum(q1, q2).tolist())
    assert momentum(q1, q2, torch.zeros(())).tolist() == pytest.approx(((q1 + q2) / 2).tolist())


def test_ddpg_bootstraps_from_its_one_critic():
    q = torch.tensor([3.0, 4.0])
    assert ALGORITHMS["ddpg"].value(q, q, None).tolist() == [3.0, 4.0]
    assert ALGORITHMS["ddpg"].critics == 1 and not ALGORITHMS["ddpg"].delayed and not ALGORITHMS["ddpg"].smoothed


def test_an_n_step_target_discounts_by_gamma_to_the_n_and_a_terminated_one_not_at_all():
    gammas = torch.tensor([0.9**3, 0.9**2])
    target = bootstrapped(REWARD, TERMINATED, gammas, twin_minimum(torch.tensor([5.0, 7.0]), torch.tensor([4.0, 9.0])))
    assert target.tolist() == pytest.approx([1.0 + 0.729 * 4.0, 2.0])


def test_the_weight_of_td3_bc_by_hand():
    assert float(imitation_weight(2.5, torch.tensor([-1.0, 4.0]))) == pytest.approx(2.5 / 2.5)
