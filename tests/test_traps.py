"""Traps that cross several modules: a crash's discount on its whole way, bounds per dimension, and dead settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.td3 import TD3, Batch
from clipdrive.experience.episodes import read_episode, record_episode, write_episode
from clipdrive.experience.memory import ReplayMemory
from clipdrive.training.train import train
from fake_world import circle_env, default_params
from small_params import params_with
from test_training_train import OFFLINE, episodes, own_state_folder  # noqa: F401 - fixtures


class Straight:
    def act(self, observation, info):
        return np.array([0.0, 0.5], np.float32)


def test_trap_01_a_crash_discounts_by_exactly_zero_from_the_environment_to_the_target(monkeypatch, tmp_path):
    params = default_params(camera={"width_px": 36, "height_px": 36})
    env = circle_env(monkeypatch, params, collide_at=6)
    observation, info = env.reset(options={"s_m": 0.0, "speed_mps": 5.0})
    episode, last = record_episode(env, Straight(), observation, info, params.camera.stack)
    assert last["ending"] == "collision" and episode.terminated.tolist() == [False, False, True]
    write_episode(tmp_path / "e.npz", episode)
    memory = ReplayMemory(50, (1, 36, 36), 3, 2, params.camera.stack)
    memory.add_episode(read_episode(tmp_path / "e.npz"))
    sample = memory.sample(32, np.random.default_rng(0))
    crashed = sample.terminated == 1.0
    assert 0 < crashed.sum() < 32 and set(sample.terminated.tolist()) == {0.0, 1.0}
    agent = TD3(NetworkSpec.of(params, 3, 2), params, torch.device("cpu"), torch.Generator().manual_seed(0))
    target = agent._target(Batch(**{name: torch.from_numpy(value) for name, value in vars(sample).items()}))
    assert np.array_equal(target.numpy()[crashed], np.full(crashed.sum(), params.reward.crash, np.float32))
    assert not np.isclose(target.numpy()[~crashed], sample.rewards[~crashed]).any()


def test_trap_05_each_dimension_of_the_action_has_bounds_and_meaning_of_its_own(monkeypatch):
    env = circle_env(monkeypatch)
    sent, real = [], env._session.step
    monkeypatch.setattr(env._session, "step", lambda *args: sent.append(args[:3]) or real(*args))
    env.reset(options={"s_m": 0.0, "speed_mps": 5.0})
    for action in ([-1.0, 0.25], [0.5, -1.0], [7.0, -7.0]):
        env.step(np.array(action, np.float32))
    # (throttle, steer, brake): steer keeps its sign, the second number is throttle above 0 and brake below
    assert sent == [(0.25, -1.0, 0.0), (0.0, 0.5, 1.0), (0.0, 1.0, 1.0)]


BASE = OFFLINE | {
    "train__updates_before_driving": 12,
    "train__log_every_updates": 2,
    "train__checkpoint_every_steps": 1000,
    "clip__critic_head": 0.5,
    "saturation_penalty": 0.3,
}
LEARNING = {
    "seed": 1,
    "gamma": 0.9,
    "tau": 0.5,
    "actor_lr": 1e-4,
    "critic_lr": 1e-4,
    "lr_constant_share": 0.1,
    "lr_end": 0.5,
    "batch_size": 9,
    "algorithm": "ddpg",
    "mpg_delta": "sample",
    "bc_weight": 0.5,
    "n_step": 2,
    "replay": "prioritised",
    "priority_alpha": 0.1,
    "priority_beta": 1.0,
    "priority_epsilon": 1.0,
    "cnn": "nature",
    "memory": "gru",
    "memory_units": 17,
    "policy_noise": 0.1,
    "noise_clip": 0.05,
    "policy_delay": 3,
    "encoder": "separate",
    "layer_norm": False,
    "feature_units": 17,
    "hidden_units": 17,
    "actor_init_scale": 1.0,
    "saturation_penalty": 30.0,
    "image_shift_px": 2,
    "mirror": False,
    "camera__stack": 2,
    "clip__critic_cnn": 0.1,
    "clip__critic_head": 0.1,
    "clip__actor_head": 0.01,
    "clip__actor_memory": 0.0001,
    "clip__critic_memory": 0.001,
    "clip_kind__actor_memory": "value",
    "clip_kind__critic_memory": "value",
    "clip__percentile": 10.0,
    "clip__history_updates": 1,
    "clip_kind__actor_head": "adaptive",
    "clip_kind__critic_cnn": "value",
    "clip_kind__critic_head": "value",
    "train__updates_before_driving": 13,
    "train__memory_steps": 40,
    "train__log_every_updates": 3,
}
UNDER = {  # settings that only another setting brings to life
    "mpg_delta": {"algorithm": "mpg"},
    "bc_weight": {"algorithm": "td3_bc"},
    **dict.fromkeys(("priority_alpha", "priority_beta", "priority_epsilon"), {"replay": "prioritised"}),
    "memory_units": {"memory": "gru"},
    "clip__actor_memory": {"memory": "gru", "encoder": "separate"},
    "clip__critic_memory": {"memory": "gru"},
    "clip_kind__actor_memory": {"memory": "gru", "encoder": "separate", "clip__actor_memory": 0.0001},
    "clip_kind__critic_memory": {"memory": "gru", "clip__critic_memory": 0.001},
    "saturation_penalty": {"actor_init_scale": 1.0, "actor_lr": 0.5},
    "clip__actor_cnn": {"encoder": "separate"},
    "clip_kind__actor_cnn": {"encoder": "separate", "clip__actor_cnn": 0.001},
    "clip_kind__actor_head": {"clip__percentile": 10.0},
    "clip_kind__critic_cnn": {"clip__critic_cnn": 0.01},
    "clip__percentile": {"clip_kind__critic_head": "adaptive", "clip__critic_head": "none"},
    "clip__history_updates": {"clip_kind__critic_head": "adaptive", "clip__critic_head": "none"},
}


def outcome(folder: Path, data: Path, **changes) -> tuple[bytes, bytes]:
    train(params_with(**(BASE | changes)), data, folder / "agent", folder / "run")
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    for group in metrics["gradient"].values():
        group.pop("limit", None)  # that the limit itself is in the metrics proves nothing
    return (folder / "agent" / "agent.pt").read_bytes(), (folder / "run" / "updates.csv").read_bytes()


@pytest.mark.parametrize("name", [*LEARNING, "clip__actor_cnn", "clip_kind__actor_cnn"])
def test_trap_12_no_setting_of_the_learning_is_dead(tmp_path, episodes, name):  # noqa: F811
    value = LEARNING.get(name, "value" if name.startswith("clip_kind") else 0.001)
    under = UNDER.get(name, {})
    before = outcome(tmp_path / "before", episodes, **under)
    assert before != outcome(tmp_path / "after", episodes, **(under | {name: value}))
