"""The environment on a circle, with a session that needs no server."""

import math
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from clipdrive.driving.drivers import Follower
from clipdrive.driving.environment import DriveEnv
from clipdrive.simulator.errors import SimulatorError
from fake_world import RADIUS_M, FakeSession, circle_env, circle_track, default_params

STRAIGHT = {"s_m": 0.0, "speed_mps": 5.0}  # the circle turns away from a car that does not steer
CIRCLE_M = math.tau * RADIUS_M


def drive(env, action=(0.0, 0.0), steps=10_000, **options):
    """Every (observation, reward, terminated, truncated, info) of an episode; reset's has the reward None."""
    observation, info = env.reset(options=options)
    seen = [(observation, None, False, False, info)]
    while len(seen) <= steps and not (seen[-1][2] or seen[-1][3]):
        seen.append(env.step(np.array(action, np.float32)))
    return seen


def test_gymnasiums_checker_has_nothing_to_say(monkeypatch, recwarn):
    check_env(circle_env(monkeypatch), skip_render_check=True)
    ours = [str(w.message) for w in recwarn if "env" in str(w.message).lower()]
    assert [text for text in ours if "wrapper" not in text and "spec" not in text] == []


def test_stable_baselines_checker_has_nothing_to_say(monkeypatch, recwarn):
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    sb3.check_env(circle_env(monkeypatch))
    assert [str(w.message) for w in recwarn if "stable_baselines3" in str(w.filename)] == []


def test_importing_the_package_registers_it_and_imports_neither_the_simulator_nor_torch():
    code = (
        "import sys, gymnasium, clipdrive.driving\n"
        "clipdrive.driving.register()\n"
        "assert 'clipdrive/Drive-v0' in gymnasium.registry\n"
        "assert not {'carla', 'torch', 'numba', 'clipdrive.driving.environment'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_trap_03_a_time_out_is_no_ending_and_an_ending_is_no_time_out(monkeypatch):
    env = circle_env(monkeypatch, default_params(ending={"time_limit_steps": 7}))
    *before, last = drive(env, s_m=0.0, speed_mps=1.0)
    assert len(before) == 7 and not any(step[2] or step[3] for step in before)
    assert (last[2], last[3], last[4]["ending"]) == (False, True, "time_limit")
    assert last[1] != env.params.reward.crash

    env = circle_env(monkeypatch)
    *before, last = drive(env, **STRAIGHT)
    assert (last[2], last[3], last[4]["ending"]) == (True, False, "off_road")
    assert last[1] == env.params.reward.crash == -1.0
    assert abs(last[4]["offset_m"]) > 3.8 >= abs(before[-1][4]["offset_m"])

    env = circle_env(monkeypatch)
    last = drive(env, s_m=0.0)[-1]
    assert (last[2], last[3], last[4]["ending"]) == (True, False, "stuck")

    env = circle_env(monkeypatch, collide_at=5)
    last = drive(env, **STRAIGHT)[-1]
    assert (last[2], last[3], last[4]["ending"], last[4]["frame"]) == (True, False, "collision", 6)


def test_a_failure_at_the_time_limit_terminates_only(monkeypatch):
    env = circle_env(monkeypatch, default_params(ending={"time_limit_steps": 3}), collide_at=6)
    last = drive(env, **STRAIGHT)[-1]
    assert (last[2], last[3]) == (True, False)


@pytest.mark.parametrize("camera", [{}, {"color": "rgb", "stack": 2}, {"width_px": 50, "height_px": 40, "stack": 1}])
def test_trap_09_every_observation_is_in_the_space(monkeypatch, camera):
    env = circle_env(monkeypatch, default_params(camera=camera))
    rng = np.random.default_rng(0)
    for _ in range(5):
        observation, info = env.reset()
        done = False
        while not done:
            assert env.observation_space.contains(observation)
            assert {k: (v.shape, v.dtype) for k, v in observation.items()} == {
                k: (space.shape, space.dtype) for k, space in env.observation_space.items()
            }
            observation, reward, terminated, truncated, info = env.step(rng.uniform(-3.0, 3.0, 2))
            assert type(reward) is float and type(terminated) is bool and type(truncated) is bool
            done = terminated or truncated
        assert env.observation_space.contains(observation)


def test_trap_10_two_environments_do_not_leak_into_each_other(monkeypatch):
    alone = drive(circle_env(monkeypatch), (0.02, 0.3), 40, episode=3)
    one, other = circle_env(monkeypatch), circle_env(monkeypatch)
    one_now, _ = one.reset(options={"episode": 3})
    other.reset(options={"episode": 8})
    assert (one_now["frames"] == alone[0][0]["frames"]).all()
    for expected in alone[1:]:
        other.step(np.array([-0.5, 1.0]))
        if other._ended:
            other.reset()
        observation, reward, _, _, info = one.step(np.array([0.02, 0.3], np.float32))
        assert reward == expected[1] and info == expected[4]
        assert (observation["frames"] == expected[0]["frames"]).all()


def test_trap_13_a_simulators_error_comes_out_of_step(monkeypatch):
    env = circle_env(monkeypatch, fail_at=4, error=SimulatorError("the server has gone"))
    with pytest.raises(SimulatorError, match="the server has gone"):
        drive(env, **STRAIGHT)


def test_trap_18_a_stack_never_crosses_an_episodes_start(monkeypatch):
    # its images show the tick of the episode, two a decision, and no exposure may change them
    env = circle_env(monkeypatch, default_params(exposure="none"))
    for episode in range(3):
        seen = drive(env, (0.0, 0.2), 6, episode=episode, s_m=0.0, speed_mps=1.0)
        stacks = [step[0]["frames"][:, 0, 0].tolist() for step in seen]
        assert stacks == [[2 * max(0, t - k) for k in (2, 1, 0)] for t in range(7)]
        assert [step[4]["frame"] for step in seen] == [2 * t for t in range(7)]


def test_the_state_holds_speed_and_last_action(monkeypatch):
    env = circle_env(monkeypatch)
    first, *_, last = drive(env, (0.1, 0.5), 3, s_m=0.0, speed_mps=4.0)
    assert first[0]["state"] == pytest.approx([0.2, 0.0, 0.0])
    assert last[0]["state"][1:] == pytest.approx([0.1, 0.5])
    assert last[0]["state"][0] == pytest.approx(last[4]["speed_mps"] / 20.0)


def test_episode_i_depends_on_seed_and_i_alone(monkeypatch):
    env = circle_env(monkeypatch)
    late = [drive(env, (0.02, 0.4), 5, episode=episode)[0][4] for episode in range(13)][12]
    early = drive(circle_env(monkeypatch), (0.5, 0.4), 5, episode=12)[0][4]
    assert late == early
    env.reset(seed=env.params.seed)
    assert env.episode == 0
    infos = {seed: env.reset(seed=seed, options={"episode": 12})[1] for seed in (0, 1)}
    assert infos[0] == late and infos[1] != late


def test_episodes_count_up(monkeypatch):
    env = circle_env(monkeypatch)
    numbers = [env.reset()[1]["episode"] for _ in range(3)]
    numbers.append(env.reset(options={"episode": 40})[1]["episode"])
    numbers.append(env.reset()[1]["episode"])
    assert numbers == [0, 1, 2, 40, 41]


def test_a_track_is_loaded_only_when_it_changes(monkeypatch):
    params = default_params(tracks={"training": ("circuit:1", "circuit:2"), "episodes_per_load": 3})
    env = circle_env(monkeypatch, params)
    names = [env.reset()[1]["track"] for _ in range(9)]
    assert names[0:3] == names[6:9] == [names[0]] * 3 and names[3:6] == [names[3]] * 3 and names[0] != names[3]
    assert env._session.loads == [names[0], names[3], names[0]]


def test_options_fix_the_start(monkeypatch):
    env = circle_env(monkeypatch)
    place = {"s_m": 30.0, "offset_m": 1.0, "heading_error_rad": 0.2, "speed_mps": 3.0}
    _, info = env.reset(options={"track": "circuit:9", "direction": "backward"} | place)
    assert (info["track"], info["direction"]) == ("circuit:9", "backward")
    expected = place | {"progress_m": 0.0}
    assert {key: info[key] for key in expected} == pytest.approx(expected, abs=5e-3)
    # The circle driven backwards turns left: its right side is outside.
    assert math.hypot(info["x_m"], info["y_m"]) == pytest.approx(RADIUS_M + 1.0, abs=1e-2)
    _, info = env.reset(options={"track": "circuit:9"})
    assert info["offset_m"] == pytest.approx(0.0, abs=5e-3) and info["speed_mps"] == 0.0


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_lap_ends_where_it_began(monkeypatch, direction):
    env = circle_env(monkeypatch)
    follower, infos = None, []
    observation, info = env.reset(options={"direction": direction, "s_m": 200.0, "lap": True, "time_limit_steps": 2000})
    follower = Follower.for_env(env)
    done = False
    while not done:
        _, _, terminated, truncated, info = env.step(follower.act(observation, info))
        infos.append(info)
        done = terminated or truncated
    assert (terminated, truncated, info["ending"], info["route_completion"]) == (False, True, "lap", 1.0)
    assert info["progress_m"] == pytest.approx(CIRCLE_M, abs=2.0)
    assert info["s_m"] == pytest.approx(200.0, abs=2.0)
    assert max(abs(i["offset_m"]) for i in infos) < 0.5
    assert infos[len(infos) // 2]["route_completion"] == pytest.approx(0.5, abs=0.1)


def test_without_the_option_a_lap_does_not_end_an_episode(monkeypatch):
    env = circle_env(monkeypatch, default_params(ending={"time_limit_steps": 500}))
    observation, info = env.reset(options={"s_m": 0.0})
    follower, done = Follower.for_env(env), False
    while not done:
        observation, _, terminated, truncated, info = env.step(follower.act(observation, info))
        done = terminated or truncated
    assert info["ending"] == "time_limit" and info["progress_m"] > CIRCLE_M and info["route_completion"] == 1.0


def test_an_open_route_ends_at_its_end(monkeypatch):
    env = circle_env(monkeypatch, closed=False)
    observation, info = env.reset(options={"s_m": 250.0, "direction": "forward"})
    follower, done = Follower.for_env(env), False
    while not done:
        observation, _, terminated, truncated, info = env.step(follower.act(observation, info))
        done = terminated or truncated
    assert info["ending"] == "lap" and info["route_completion"] > 0.97


def test_last_goes_on_from_the_checkpoint_that_was_reached(monkeypatch):
    spawn = {"kind": "last", "every_m": 10.0}
    params = default_params(spawn=spawn, tracks={"episodes_per_load": 3})
    env = circle_env(monkeypatch, params)
    every_m = CIRCLE_M / int(CIRCLE_M / 10.0)
    expected_s_m = 0.0
    for episode in range(3):
        _, info = env.reset(options={"episode": episode})
        assert info["s_m"] == pytest.approx(expected_s_m, abs=1e-2)
        follower = Follower.for_env(env)
        for _ in range(40):
            _, _, _, _, info = env.step(follower.act({}, info))
        assert info["progress_m"] > 12.0
        expected_s_m = math.floor((expected_s_m + info["progress_m"]) / every_m) * every_m
    assert env.reset(options={"episode": 3})[1]["s_m"] == pytest.approx(0.0, abs=1e-2)


def test_a_jump_of_the_projection_is_no_progress(monkeypatch):
    env = circle_env(monkeypatch, default_params(ending={"off_road": False}))
    env.reset(options=STRAIGHT)
    x, y, *rest = env._session._pose
    env._session._pose = type(env._session._pose)(-0.02 * x, -0.02 * y, *rest)  # beyond the circle's centre
    *_, info = env.step(np.zeros(2))
    assert abs(info["progress_m"]) < 110.0 and env._session is not None


@pytest.mark.parametrize("action", [[math.nan, 0.0], [0.0, math.inf], [0.0], [0.0, 0.0, 0.0]])
def test_an_action_that_is_none_is_refused(monkeypatch, action):
    env = circle_env(monkeypatch)
    env.reset()
    with pytest.raises(ValueError, match="action: got .*allowed: two finite numbers"):
        env.step(np.array(action))


def test_an_action_out_of_range_is_clipped(monkeypatch):
    env = circle_env(monkeypatch)
    env.reset(options=STRAIGHT)
    observation, *_ = env.step(np.array([7.0, -9.0]))
    assert observation["state"][1:].tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sm": 3}, "'sm', allowed: episode, track"),
        ({"direction": "left"}, "direction: got 'left', allowed: forward"),
        ({"episode": -1}, "episode: got -1"),
    ],
)
def test_wrong_options_are_refused(monkeypatch, options, message):
    with pytest.raises(ValueError, match=message):
        circle_env(monkeypatch).reset(options=options)


def test_step_needs_a_reset(monkeypatch):
    env = circle_env(monkeypatch, collide_at=0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(2))
    env.reset()
    env.step(np.zeros(2))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(2))


def test_a_session_that_was_given_is_not_closed_and_an_own_one_is(monkeypatch):
    env = circle_env(monkeypatch)
    env.reset()
    env.close()
    assert not env._session.closed

    params = default_params()
    opened = []
    monkeypatch.setattr("clipdrive.driving.environment.open_track", lambda name, *_: circle_track(name))
    monkeypatch.setattr(
        "clipdrive.simulator.supervisor.open_session",
        lambda *_: opened.append(FakeSession(params)) or opened[-1],
    )
    env = DriveEnv(params)
    assert not opened
    env.reset()
    env.close()
    env.close()
    assert [session.closed for session in opened] == [True]
    env.reset()
    assert len(opened) == 2


def test_render_shows_the_last_image(monkeypatch):
    env = circle_env(monkeypatch, default_params(exposure="none"))
    env.render_mode = "rgb_array"
    env.reset(options=STRAIGHT)
    env.step(np.zeros(2))
    assert env.render().shape == (84, 84, 3) and (env.render() == 2).all()
