"""Stable-Baselines3's TD3 and SAC on the driving environment, until their policy drives.

Their policy for this observation is MultiInputPolicy: a CNN for the frames, the state beside its features.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from benchmarks.judging import Clock, Judge, drives
from clipdrive.agents.networks import CNNS
from clipdrive.driving.environment import DriveEnv
from clipdrive.driving.spawn import TRAIN
from clipdrive.params import Params, params_as_values
from clipdrive.simulator.errors import ServerFault
from clipdrive.simulator.supervisor import until_done

NOISE = 0.1  # TD3's, as published; Stable-Baselines3 asks for one and has no default
RANDOM_STEPS = 2000  # at first, with our settings: about what collect drives
FAR_TOO_MANY = 1 << 40  # the clock ends a run, not its steps


def settings(params: Params, algorithm: str, ours: bool) -> dict[str, Any]:
    """What is not a peer's own default: the memory's size and the noise, or as many of our settings as it takes."""
    own: dict[str, Any] = {"buffer_size": params.train.memory_steps}
    if not ours:
        return own | ({"noise": [NOISE, NOISE]} if algorithm == "td3" else {})
    every = Fraction(params.train.updates_per_step).limit_denominator(100)
    own |= {
        "learning_rate": params.critic_lr,  # at the full rate to the end: a run until a cap has no end to fall to
        "learning_starts": RANDOM_STEPS,
        "batch_size": params.batch_size,
        "tau": params.tau,
        "gamma": params.gamma,
        "train_freq": every.denominator,
        "gradient_steps": every.numerator,
        "features": {"cnn": params.cnn, "units": params.feature_units, "layer_norm": params.layer_norm},
        "net_arch": [params.hidden_units],
    }
    if algorithm == "td3":
        own |= {
            "policy_delay": params.policy_delay,
            "target_policy_noise": params.policy_noise,
            "target_noise_clip": params.noise_clip,
            "noise": [params.exploration_noise, params.exploration_noise_end],
        }
    return own


def train_peer(
    params: Params, algorithm: str, given: dict[str, Any], cap_s: float, threads: int, probe_every_s: float
) -> dict[str, Any]:
    """Train until a probe's driver is confirmed by whole laps, or for `cap_s`; evaluations are not on the clock."""
    torch.set_num_threads(threads)
    clock = Clock(threads)
    env = _Patient(DriveEnv(params, tracks="training", stream=TRAIN))
    with contextlib.closing(env), contextlib.closing(Judge(params)) as judge:
        model = _model(params, algorithm, given, env)
        watch = _Watch(judge, clock, cap_s, probe_every_s)
        model.learn(FAR_TOO_MANY, callback=watch, log_interval=None)
        return watch.found() | {"updates": model._n_updates}


class _Watch(BaseCallback):
    """Judges the policy every so often, and ends the training when it drives or the time is up."""

    def __init__(self, judge: Judge, clock: Clock, cap_s: float, every_s: float) -> None:
        super().__init__()
        self._judge, self._clock, self._cap_s, self._every_s = judge, clock, cap_s, every_s
        self._next_s = every_s
        self._rows: list[dict[str, Any]] = []

    def found(self) -> dict[str, Any]:
        last = self._rows[-1]
        return {"reached": last["reached"], "time_s": last["time_s"], "env_steps": last["env_steps"]} | {
            "laps": next((row["laps"] for row in reversed(self._rows) if "laps" in row), None),
            "probes": self._rows,
        }

    def _on_step(self) -> bool:
        seconds = self._clock.seconds
        if seconds < self._next_s and seconds < self._cap_s:
            return True
        with self._clock.stopped():
            self._rows.append({"time_s": round(seconds, 1), "env_steps": self.num_timesteps} | self._judged())
        self._next_s = seconds + self._every_s
        return not self._rows[-1]["reached"] and seconds < self._cap_s

    def _judged(self) -> dict[str, Any]:
        actor = _Actor(self.model)
        row: dict[str, Any] = {"probe": round(self._judge.probe(actor), 4), "reached": False}
        if drives(row["probe"]):
            row["laps"] = self._judge.whole_laps(actor)
            row["reached"] = drives(row["laps"]["route_completion_mean"])
        return row


class _Actor:
    def __init__(self, model: TD3 | SAC) -> None:
        self._model = model

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return self._model.predict(observation, deterministic=True)[0]


class _Patient(gymnasium.Wrapper):
    """A failing server truncates the episode, as it does in the train stage."""

    def reset(self, **given: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self._last = until_done(lambda: self.env.reset(**given))
        return self._last

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except ServerFault:
            return self._last[0], 0.0, False, True, self._last[1]
        self._last = observation, info
        return observation, reward, terminated, truncated, info


class FallingNoise(ActionNoise):
    """Gaussian, with a deviation that falls linearly from `begin` to `end` over `steps` and stays there.

    It is asked for noise in the `random_steps` before, too, which do not count.
    """

    def __init__(self, begin: float, end: float, steps: int, random_steps: int) -> None:
        super().__init__()
        self._begin, self._end, self._steps = begin, end, max(steps, 1)
        self._driven = -random_steps

    @property
    def deviation(self) -> float:
        share = min(max(self._driven / self._steps, 0.0), 1.0)
        return self._begin + (self._end - self._begin) * share

    def __call__(self) -> np.ndarray:
        noise = np.random.normal(0.0, self.deviation, 2).astype(np.float32)
        self._driven += 1
        return noise


class Features(BaseFeaturesExtractor):
    """Our sizes in their network: frames through a CNN of `CNNS` and a dense layer, the state beside (B, units + S)."""

    def __init__(self, space: gymnasium.spaces.Dict, cnn: str, units: int, layer_norm: bool) -> None:
        super().__init__(space, units + space["state"].shape[0])
        channels, height, width = space["frames"].shape
        layers: list[nn.Module] = []
        for layer in CNNS[cnn]:
            layers += [nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if layer.pooled else []
            channels, height, width = layer.channels, layer.size_after(height), layer.size_after(width)
        norm = [nn.LayerNorm(units)] if layer_norm else []
        self.seen = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(channels * height * width, units), *norm, nn.ReLU()
        )

    def forward(self, observation: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([self.seen(observation["frames"]), observation["state"]], dim=1)


def _model(params: Params, algorithm: str, given: dict[str, Any], env: gymnasium.Env) -> TD3 | SAC:
    kind = {"td3": TD3, "sac": SAC}[algorithm]
    given = dict(given)
    keywords: dict[str, Any] = {"seed": params.seed, "device": "cpu"}
    if "noise" in given:
        random_steps = given.get("learning_starts", 100)
        keywords["action_noise"] = FallingNoise(*given.pop("noise"), params.train.env_steps, random_steps)
    if "features" in given:
        keywords["policy_kwargs"] = {
            "features_extractor_class": Features,
            "features_extractor_kwargs": given.pop("features"),
            "net_arch": given.pop("net_arch"),
        }
    return kind("MultiInputPolicy", env, **given, **keywords)


def environment_values(params: Params) -> dict[str, Any]:
    """The params on which a peer's run depends beside its settings."""
    values = params_as_values(params)
    names = ("seed", "simulator", "observation", "tracks", "camera", "vehicle", "reward", "ending", "spawn")
    return {name: values[name] for name in names}
