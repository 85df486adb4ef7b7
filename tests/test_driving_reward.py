import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipdrive.driving.reward import decision_reward, largest_reward, speed_share
from fake_world import default_params

REWARD = default_params().reward
KINDS = ("perot", "mnih", "margin", "sigmoid", "goal")


def reward_of(kind, speed_mps=10.0, heading=0.0, d=0.0, remaining=0.5, failed=False, target=None, crash=-1.0):
    reward = dataclasses.replace(REWARD, kind=kind, speed_max_mps=10.0, target_speed_mps=target, crash=crash)
    return decision_reward(
        reward,
        speed_mps=speed_mps,
        heading_error_rad=heading,
        offset_half_widths=d,
        remaining_share=remaining,
        failed=failed,
    )


@pytest.mark.parametrize(
    ("kind", "speed_mps", "heading_deg", "d", "expected"),
    [
        ("perot", 10.0, 0.0, 0.0, 1.0),
        ("perot", 5.0, 60.0, -0.25, 0.5 * (0.5 - 0.25)),
        ("perot", 5.0, 0.0, 1.7, 0.5 * (1.0 - 1.0)),
        ("mnih", 5.0, 60.0, 0.9, 0.25),
        ("margin", 10.0, 0.0, 0.9, 1.0),
        ("margin", 10.0, 0.0, -1.25, 0.75),
        ("margin", 10.0, 0.0, 7.0, 0.0),
        ("sigmoid", 10.0, 0.0, 1.0, 0.5),
        ("sigmoid", 10.0, 0.0, 0.0, 1.0 - 1.0 / (1.0 + math.exp(4.0))),
        ("perot", 10.0, 180.0, 1.0, -1.0),
        ("perot", -2.0, 0.0, 0.5, -0.2),
        ("goal", 3.0, 50.0, -0.5, -0.55),
        ("goal", 3.0, 50.0, 4.0, -0.6),
    ],
)
def test_formulas_by_hand(kind, speed_mps, heading_deg, d, expected):
    assert reward_of(kind, speed_mps, math.radians(heading_deg), d) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("speed_mps", "expected"),
    [(0.0, 0.0), (4.0, 0.5), (8.0, 1.0), (10.0, 0.5), (12.0, 0.0), (40.0, -1.0), (-4, -0.5)],
)
def test_past_the_target_speed_more_speed_earns_less(speed_mps, expected):
    reward = dataclasses.replace(REWARD, target_speed_mps=8.0)
    assert speed_share(reward, speed_mps) == pytest.approx(expected, abs=1e-12)


def test_crash_takes_the_rewards_place_where_it_is_given():
    assert reward_of("perot", failed=True, crash=-0.7) == -0.7
    assert reward_of("perot", failed=True, crash=0.0) == 0.0
    assert reward_of("perot", failed=True, crash=None) == 1.0


@given(
    kind=st.sampled_from(KINDS),
    speed_mps=st.floats(-1e3, 1e3),
    heading=st.floats(-math.pi, math.pi),
    d=st.floats(-1e3, 1e3),
    remaining=st.floats(-1.0, 2.0),
    failed=st.booleans(),
    target=st.none() | st.floats(0.1, 100.0),
    crash=st.none() | st.floats(-100.0, 0.0),
)
def test_no_reward_is_larger_than_r_max(kind, speed_mps, heading, d, remaining, failed, target, crash):
    params = dataclasses.replace(REWARD, kind=kind, speed_max_mps=10.0, target_speed_mps=target, crash=crash)
    reward = reward_of(kind, speed_mps, heading, d, remaining, failed, target, crash)
    assert isinstance(reward, float)
    assert abs(reward) <= largest_reward(params)


@pytest.mark.parametrize(
    ("kind", "crash", "expected"),
    [("perot", -1.0, 1.0), ("perot", None, 1.0), ("mnih", -5.0, 5.0), ("goal", None, 1.1)],
)
def test_r_max_is_reached(kind, crash, expected):
    assert largest_reward(dataclasses.replace(REWARD, kind=kind, crash=crash)) == pytest.approx(expected)
    worst = reward_of(kind, d=1.0, remaining=1.0, failed=True, crash=crash)
    best = reward_of(kind, crash=crash)
    assert max(abs(worst), abs(best)) == pytest.approx(expected)
