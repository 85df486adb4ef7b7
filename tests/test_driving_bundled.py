"""The environment as its users get it: with the bundled server behind it."""

import contextlib
import os
import warnings

import gymnasium
import numpy as np
import psutil
import pytest
from gymnasium.utils.env_checker import check_env

import clipdrive.driving  # registers the environment
from clipdrive.driving.drivers import Follower
from clipdrive.driving.environment import DriveEnv
from fake_world import PARAMS, default_params

EVALUATION = default_params().tracks.evaluation


@pytest.fixture(autouse=True)
def no_server_is_left():
    yield
    assert [
        child for child in psutil.Process(os.getpid()).children() if "carla_server" in " ".join(child.cmdline())
    ] == []


def test_made_by_name_it_passes_both_checkers(monkeypatch):
    monkeypatch.chdir(PARAMS.parent)
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    with contextlib.closing(gymnasium.make(clipdrive.driving.ENVIRONMENT_ID)) as env:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(env.unwrapped)
            sb3.check_env(env.unwrapped)


def test_an_episode_has_the_same_bits_on_another_server_after_other_episodes():
    rng = np.random.default_rng(0)
    actions = rng.uniform(-0.3, 0.6, (60, 2)).astype(np.float32)

    def episode(before):
        with contextlib.closing(DriveEnv(default_params())) as env:
            for number in before:
                env.reset(options={"episode": number})
                for action in actions[:5]:
                    env.step(-action)
            observation, info = env.reset(options={"episode": 15})
            seen = [(observation, info)]
            for action in actions:
                observation, reward, terminated, truncated, info = env.step(action)
                seen.append((observation, reward, info))
                if terminated or truncated:
                    break
            return seen

    for one, other in zip(episode([]), episode([2, 25, 14]), strict=True):
        assert one[1:] == other[1:]
        assert all((one[0][key] == other[0][key]).all() for key in one[0])


def lap(env, **options):
    observation, info = env.reset(options={"s_m": 0.0, "lap": True, "time_limit_steps": 3000} | options)
    follower, infos = Follower.for_env(env), [info]
    while infos[-1]["ending"] is None:
        observation, *_, info = env.step(follower.act(observation, infos[-1]))
        infos.append(info)
    return infos


def assert_clean(infos, params):
    assert infos[-1]["ending"] == "lap" and infos[-1]["route_completion"] == 1.0
    speeds = [info["speed_mps"] for info in infos[30:]]
    assert np.mean(speeds) > 0.9 * params.reward.target_speed_mps
    assert max(abs(info["offset_m"]) for info in infos) < 1.0


def test_the_follower_laps_a_circuit():
    params = default_params()
    with contextlib.closing(DriveEnv(params, tracks="evaluation")) as env:
        assert_clean(lap(env, track=EVALUATION[0], direction="backward"), params)


@pytest.mark.slow
def test_the_follower_laps_five_circuits_in_both_directions():
    params = default_params()
    with contextlib.closing(DriveEnv(params, tracks="evaluation")) as env:
        for track in EVALUATION[:5]:
            for direction in ("forward", "backward"):
                assert_clean(lap(env, track=track, direction=direction), params)


def test_the_follower_laps_a_town_in_its_lane_in_both_directions():
    params = default_params(tracks={"follow": "lane", "junctions": "turns", "evaluation": ("town:8",)}, mirror=False)
    with contextlib.closing(DriveEnv(params, tracks="evaluation")) as env:
        for direction in ("forward", "backward"):
            infos = lap(env, track="town:8", direction=direction)
            assert {turn.kind for turn in env.route.turns} == {"left", "straight", "right"}
            assert infos[-1]["ending"] == "lap" and infos[-1]["route_completion"] == 1.0
            assert max(abs(info["offset_m"]) for info in infos) < 1.0


def test_every_failure_happens_on_a_real_road():
    params = default_params()
    with contextlib.closing(DriveEnv(params)) as env:

        def ending_of(action, **start):
            env.reset(options={"track": "circuit:1", "direction": "forward", "s_m": 50.0} | start)
            while True:
                *_, terminated, truncated, info = env.step(np.array(action))
                if terminated or truncated:
                    assert terminated
                    return info["ending"]

        assert ending_of([0.0, 0.0]) == "stuck"
        assert ending_of([0.5, 1.0], speed_mps=8.0) == "off_road"
    with contextlib.closing(DriveEnv(default_params(ending={"off_road": False}))) as env:
        assert ending_of([0.2, 1.0], speed_mps=8.0) == "collision"
