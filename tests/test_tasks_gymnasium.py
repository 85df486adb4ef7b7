"""Gymnasium environments behind the driving task's face: bounds per dimension, seeds, images, refusals."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from clipdrive.params import ParamsError
from clipdrive.tasks.gymnasium_task import GymnasiumTask, TaskError, check_task
from clipdrive.tasks.task import largest_step_reward, task_shape
from small_params import params_with

PENDULUM = {"task": "Pendulum-v1", "cnn": "none", "mirror": False}


class Picture(gymnasium.Env):
    """Shows its step as a brightness; terminates at step 3."""

    observation_space = spaces.Box(0, 255, (96, 96, 3), np.uint8)
    action_space = spaces.Box(np.array([-1.0, 0.0, 2.0], np.float32), np.array([1.0, 1.0, 10.0], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number, self.taken = 0, []
        return self._image(), {}

    def step(self, action):
        self.number += 1
        self.taken.append(action)
        return self._image(), float(self.number), self.number == 3, self.number == 3, {}

    def _image(self):
        return np.full((96, 96, 3), 10 * self.number, np.uint8)


gymnasium.register("clipdrive-test/Picture-v0", entry_point=Picture)
PICTURE = {"task": "clipdrive-test/Picture-v0", "mirror": False}


def test_trap_05_each_dimension_is_carried_to_its_own_bounds():
    env = GymnasiumTask(params_with(**PICTURE), 1, 0)
    env.reset()
    for action, expected in (
        ([-1, -1, -1], [-1, 0, 2]),
        ([1, 1, 1], [1, 1, 10]),
        ([0, 0.5, -0.5], [0, 0.75, 4]),
    ):
        assert env.scaled(np.array(action, np.float32)).tolist() == pytest.approx(expected)
    env.step(np.array([5.0, -5.0, 5.0]))  # outside: clipped first
    assert env.env.unwrapped.taken[-1].tolist() == pytest.approx([1, 0, 10])
    assert env.action_space == spaces.Box(-1.0, 1.0, (3,), np.float32)


@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_images_are_scaled_and_stacked_oldest_first(colour):
    params = params_with(**PICTURE, camera__color=colour)
    env = GymnasiumTask(params, 1, 0)
    colors = 3 if colour == "rgb" else 1
    observation, _ = env.reset()
    assert observation in env.observation_space and observation["frames"].shape == (3 * colors, 84, 84)
    assert set(observation["frames"].ravel()) == {0} and observation["state"].shape == (0,)
    for _ in range(2):
        observation, *_ = env.step(np.zeros(3))
    assert [int(frame[0, 0]) for frame in observation["frames"][::colors]] == [0, 10, 20]
    observation, reward, terminated, truncated, info = env.step(np.zeros(3))
    # an end that is both is an end: nothing bootstraps from it
    assert (reward, terminated, truncated, info["ending"]) == (3.0, True, False, "terminated")
    shape = task_shape(params)
    assert (shape.frame, shape.stack, shape.state_size, shape.action_size) == ((colors, 84, 84), 3, 0, 3)


def test_trap_03_a_time_limit_truncates_and_episodes_depend_on_their_number_alone():
    env = GymnasiumTask(params_with(**PENDULUM), 1, 7)
    starts = [env.reset(options={"episode": episode})[0]["state"] for episode in (0, 1, 2)]
    again = GymnasiumTask(params_with(**PENDULUM), 1, 7)
    assert np.array_equal(again.reset(options={"episode": 2})[0]["state"], starts[2])
    assert not np.array_equal(starts[0], starts[1])
    other_stream = GymnasiumTask(params_with(**PENDULUM), 2, 7).reset(options={"episode": 0})[0]["state"]
    assert not np.array_equal(other_stream, starts[0])
    for step in range(200):
        observation, reward, terminated, truncated, info = env.step(np.array([1.0]))
        assert observation in env.observation_space and not terminated
        assert truncated == (step == 199)
    assert info["ending"] == "time_limit"
    assert env.env.unwrapped.last_u == 2.0  # the torque's own bound


def test_what_cannot_be_learned_is_refused_in_one_sentence():
    for task, sentence in {
        "NoSuchThing-v0": "task: got 'NoSuchThing-v0', allowed: drive, or a Gymnasium environment",
        "CartPole-v1": "task: got 'CartPole-v1' with actions Discrete",
    }.items():
        with pytest.raises(TaskError, match=sentence):
            check_task(params_with(**(PENDULUM | {"task": task})))
    with pytest.raises(TaskError, match="cnn: got 'mnih', allowed: none with task: Pendulum-v1"):
        check_task(params_with(**(PENDULUM | {"cnn": "mnih"})))
    with pytest.raises(TaskError, match="cnn: got 'none', allowed: mnih | nature | perot with"):
        check_task(params_with(**PICTURE, cnn="none"))
    check_task(params_with(**PENDULUM))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cnn": "none"}, "cnn: got 'none', allowed: mnih | nature | perot with observation: camera"),
        ({"observation": "state"}, "cnn: got 'mnih', allowed: none with observation: state"),
        ({"observation": "state", "cnn": "none", "memory": "gru"}, "memory: got 'gru', allowed: none with cnn: none"),
        ({"observation": "state", "cnn": "none", "image_shift_px": 4}, "image_shift_px: got 4, allowed: 0 with cnn"),
        ({"replay": "none", "batch_size": 30, "train__memory_steps": 50}, "batch_size: got 30, allowed: at most half"),
        ({"collect__steps": 100}, "collect.steps: got 100, allowed: none with task: drive"),
        ({"task": "Pendulum-v1", "cnn": "none"}, "mirror: got true with task: Pendulum-v1, allowed: false"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(changes, sentence):
    with pytest.raises(ParamsError, match=f"^{sentence}".replace("|", r"\|")):
        params_with(**changes)


def test_the_largest_reward_is_known_or_nobody_claims_a_bound():
    assert largest_step_reward(params_with(**PENDULUM)) is None
    assert largest_step_reward(params_with(**PENDULUM, reward__largest=16.3)) == 16.3
    assert largest_step_reward(params_with()) == 1.0


@pytest.mark.parametrize("task", ["InvertedPendulum-v5", "HalfCheetah-v5", "CarRacing-v3"])
def test_the_known_tasks_of_the_extras(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo may leave a log
    pytest.importorskip("Box2D" if task == "CarRacing-v3" else "mujoco")
    images = task == "CarRacing-v3"
    params = params_with(task=task, cnn="mnih" if images else "none", mirror=False)
    check_task(params)
    env = GymnasiumTask(params, 1, 0)
    observation, _ = env.reset(options={"episode": 4})
    assert observation in env.observation_space and (observation["frames"].size > 0) == images
    low, high = env.env.action_space.low, env.env.action_space.high
    assert np.allclose(env.scaled(-np.ones(len(low))), low) and np.allclose(env.scaled(np.ones(len(low))), high)
    observation, reward, *_ = env.step(np.zeros(len(low), np.float32))
    assert observation in env.observation_space and np.isfinite(reward)
    env.close()
