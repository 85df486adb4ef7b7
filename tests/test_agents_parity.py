"""Whole updates beside two independent hands: plain equations with Adam written out, and Stable-Baselines3.

The same weights, batches and noise go in; after several updates every weight of the six networks is the same.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.td3 import TD3, Batch
from small_params import params_with

STATE, ACTION, BATCH, UPDATES = 5, 2, 32, 6
RELATIVE = 1e-5
SETTINGS = {
    "observation": "state",
    "cnn": "none",
    "mirror": False,
    "layer_norm": False,
    "actor_init_scale": 1.0,
    "saturation_penalty": 0.0,
    "feature_units": 24,
    "hidden_units": 16,
    "batch_size": BATCH,
    "gamma": 0.97,
    "tau": 0.02,
    "actor_lr": 2e-3,
    "critic_lr": 1e-3,
    "policy_noise": 0.4,
    "noise_clip": 0.5,
    "policy_delay": 2,
    **{f"clip__{group}": "none" for group in ("actor_cnn", "actor_head", "critic_cnn", "critic_head")},
}
SIDE_PX, STRIDES = 36, (4, 2)
IMAGES = {
    "observation": "camera",
    "cnn": "mnih",
    "encoder": "separate",
    "camera__height_px": SIDE_PX,
    "camera__width_px": SIDE_PX,
}


def agent(**changes) -> TD3:
    params = params_with(**(SETTINGS | changes))
    torch.manual_seed(3)
    return TD3(NetworkSpec.of(params, STATE, ACTION), params, torch.device("cpu"), torch.Generator())


def batches(updates: int = UPDATES, side_px: int = 0) -> list[Batch]:
    rng, made = np.random.default_rng(0), []
    for _ in range(updates):
        states = rng.normal(size=(2, BATCH, STATE)).astype(np.float32)
        frames = torch.from_numpy(rng.integers(0, 256, (2, BATCH, 3, side_px, side_px), np.uint8))
        made.append(
            Batch(
                frames=frames[0],
                states=torch.from_numpy(states[0]),
                actions=torch.from_numpy(rng.uniform(-1, 1, (BATCH, ACTION)).astype(np.float32)),
                rewards=torch.from_numpy(rng.normal(size=BATCH).astype(np.float32)),
                terminated=torch.from_numpy((rng.random(BATCH) < 0.3).astype(np.float32)),
                next_frames=frames[1],
                next_states=torch.from_numpy(states[1]),
            )
        )
    return made


def head_weights(head: torch.nn.Module) -> list[torch.Tensor]:
    return _layer_weights([layer for layer in (head.first, head.hidden, head.out) if layer is not None])


def cnn_weights(encoder: torch.nn.Module) -> list[torch.Tensor]:
    return _layer_weights([encoder.conv1, encoder.conv2, encoder.dense])


def _layer_weights(layers: list[torch.nn.Module]) -> list[torch.Tensor]:
    return [tensor.detach().clone() for layer in layers for tensor in (layer.weight, layer.bias)]


def all_weights(td3: TD3) -> dict[str, list[torch.Tensor]]:
    found = {}
    for name, actor, critic in (("", td3.actor, td3.critic), ("_target", td3.actor_target, td3.critic_target)):
        found[f"actor{name}"], found[f"q1{name}"] = head_weights(actor.head), head_weights(critic.q1)
        if critic.q2 is not None:
            found[f"q2{name}"] = head_weights(critic.q2)
        if actor.encoder is not None:
            found[f"actor_cnn{name}"] = cnn_weights(actor.encoder)
            found[f"critic_cnn{name}"] = cnn_weights(critic.encoder)
    return found


def assert_same(ours: dict[str, list[torch.Tensor]], theirs: dict[str, list[torch.Tensor]]) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        for number, (a, b) in enumerate(zip(ours[name], theirs[name], strict=True)):
            assert float((a - b).norm()) <= RELATIVE * float(b.norm()), (name, number)


def mlp(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    for layer in range(0, len(weights), 2):
        x = x @ weights[layer].T + weights[layer + 1]
        x = torch.clamp(x, min=0) if layer < len(weights) - 2 else x
    return x


def cnn(weights: list[torch.Tensor], frames: torch.Tensor) -> torch.Tensor:
    x = frames.float() / 255 - 0.5
    for weight, bias, stride in zip(weights[0:4:2], weights[1:4:2], STRIDES, strict=True):
        x = torch.clamp(torch.conv2d(x, weight, bias, stride), min=0)
    return torch.clamp(x.flatten(1) @ weights[4].T + weights[5], min=0)


class Plain:
    """The papers' equations on lists of tensors, with Adam as in Kingma and Ba, algorithm 1."""

    def __init__(self, weights: dict[str, list[torch.Tensor]], algorithm: str, delta: str) -> None:
        self.w = {name: [tensor.clone().requires_grad_() for tensor in tensors] for name, tensors in weights.items()}
        self.algorithm, self.delta, self.delta_last = algorithm, delta, None
        self.moments: dict[str, list] = {}
        self.updates = 0

    def q(self, name: str, target: str, frames: torch.Tensor, state: torch.Tensor, action: torch.Tensor):
        seen = self.seen(f"critic_cnn{target}", frames)
        return mlp(self.w[name + target], torch.cat([*seen, state, action], 1))[:, 0]

    def pi(self, target: str, frames: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        seen = self.seen(f"actor_cnn{target}", frames)
        return torch.tanh(mlp(self.w[f"actor{target}"], torch.cat([*seen, state], 1)))

    def seen(self, name: str, frames: torch.Tensor) -> list[torch.Tensor]:
        return [cnn(self.w[name], frames)] if name in self.w else []

    def target(self, data: Batch, noise: torch.Tensor) -> torch.Tensor:
        p = SETTINGS
        seen = data.next_frames, data.next_states
        action = self.pi("_target", *seen)
        if self.algorithm != "ddpg":
            eps = torch.clamp(p["policy_noise"] * noise, -p["noise_clip"], p["noise_clip"])
            action = torch.clamp(action + eps, -1, 1)
        values = [self.q(name, "_target", *seen, action) for name in self.critics]
        if self.algorithm == "mpg":
            gap = torch.abs(values[0] - values[1])
            own = gap.mean() if self.delta == "batch" else gap
            last = own if self.delta_last is None else self.delta_last
            value, self.delta_last = torch.stack(values).max(0).values - (last + gap) / 2, own
        else:
            value = torch.stack(values).min(0).values
        not_over = 1 - data.terminated
        return (data.rewards + p["gamma"] * not_over * value).detach()

    @property
    def critics(self) -> list[str]:
        return ["q1"] if self.algorithm == "ddpg" else ["q1", "q2"]

    def own(self, *names: str) -> list[str]:
        return [name for name in names if name in self.w]

    def update(self, data: Batch, noise: torch.Tensor) -> None:
        y, seen = self.target(data, noise), (data.frames, data.states)
        loss = sum(((y - self.q(name, "", *seen, data.actions)) ** 2).mean() for name in self.critics)
        self.descend(loss, self.own("critic_cnn", *self.critics), SETTINGS["critic_lr"])
        self.updates += 1
        delay = 1 if self.algorithm == "ddpg" else SETTINGS["policy_delay"]
        if self.updates % delay:
            return
        action = self.pi("", *seen)
        value = self.q("q1", "", *seen, action)
        loss = -value.mean()
        if self.algorithm == "td3_bc":
            loss = 2.5 / value.abs().mean().detach() * loss + ((action - data.actions) ** 2).mean()
        self.descend(loss, self.own("actor_cnn", "actor"), SETTINGS["actor_lr"])
        for name in self.own("actor_cnn", "actor", "critic_cnn", *self.critics):
            for target, online in zip(self.w[f"{name}_target"], self.w[name], strict=True):
                target.data = SETTINGS["tau"] * online.data + (1 - SETTINGS["tau"]) * target.data

    def descend(self, loss: torch.Tensor, names: list[str], lr: float) -> None:
        for name in names:
            gradients = torch.autograd.grad(loss, self.w[name], retain_graph=True)
            moments = self.moments.setdefault(name, [0, [0.0] * len(gradients), [0.0] * len(gradients)])
            moments[0] += 1
            t, m, v = moments
            for i, g in enumerate(gradients):
                m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
                step = (m[i] / (1 - 0.9**t)) / (torch.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
                self.w[name][i].data = self.w[name][i].data - lr * step


@pytest.mark.parametrize(
    ("algorithm", "delta"),
    [("td3", "batch"), ("ddpg", "batch"), ("td3_bc", "batch"), ("mpg", "batch"), ("mpg", "sample")],
)
def test_updates_equal_the_papers_equations(algorithm, delta):
    td3 = agent(algorithm=algorithm, mpg_delta=delta)
    plain = Plain(all_weights(td3), algorithm, delta)
    first = all_weights(td3)
    td3.generator.manual_seed(9)
    noise = torch.Generator().manual_seed(9)
    for data in batches():
        td3.update(data)
        plain.update(data, torch.randn((BATCH, ACTION), generator=noise))
        assert_same(all_weights(td3), {name: [t.detach() for t in tensors] for name, tensors in plain.w.items()})
    with pytest.raises(AssertionError):  # it is no equality of what never moved
        assert_same(all_weights(td3), first)


def test_updates_on_images_equal_the_papers_equations():
    """With `encoder: separate`: the actor's loss is of the critic as its own step has left it, its CNN too."""
    td3 = agent(**IMAGES)
    plain = Plain(all_weights(td3), "td3", "batch")
    td3.generator.manual_seed(9)
    noise = torch.Generator().manual_seed(9)
    for data in batches(side_px=SIDE_PX):
        td3.update(data)
        plain.update(data, torch.randn((BATCH, ACTION), generator=noise))
        found = {name: [t.detach() for t in tensors] for name, tensors in plain.w.items()}
        assert_same(all_weights(td3), found)


class Still(gymnasium.Env):
    observation_space = spaces.Box(-1, 1, (STATE,), np.float32)
    action_space = spaces.Box(-1, 1, (ACTION,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(STATE, np.float32), {}

    def step(self, action):
        return np.zeros(STATE, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize("algorithm", ["td3", "ddpg"])
def test_updates_equal_those_of_stable_baselines3(algorithm):
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.type_aliases import ReplayBufferSamples

    td3 = agent(algorithm=algorithm, actor_lr=1e-3)
    own = {
        "policy_delay": SETTINGS["policy_delay"],
        "target_policy_noise": SETTINGS["policy_noise"],
        "target_noise_clip": SETTINGS["noise_clip"],
    }
    kind = stable_baselines3.TD3 if algorithm == "td3" else stable_baselines3.DDPG
    theirs = kind(
        "MlpPolicy",
        Still(),
        learning_rate=1e-3,
        buffer_size=100,
        batch_size=BATCH,
        gamma=SETTINGS["gamma"],
        tau=SETTINGS["tau"],
        policy_kwargs={"net_arch": [SETTINGS["feature_units"], SETTINGS["hidden_units"]]},
        device="cpu",
        **(own if algorithm == "td3" else {}),
    )
    theirs.set_logger(Logger(None, []))
    critics = ["q1", "q2"][: len(theirs.critic.q_networks)]

    def networks() -> dict[str, torch.nn.Module]:
        found = {}
        for name, actor, critic in (
            ("", theirs.actor, theirs.critic),
            ("_target", theirs.actor_target, theirs.critic_target),
        ):
            found[f"actor{name}"] = actor.mu
            found |= {f"{q}{name}": network for q, network in zip(critics, critic.q_networks, strict=True)}
        return found

    for name, weights in all_weights(td3).items():
        for parameter, weight in zip(networks()[name].parameters(), weights, strict=True):
            parameter.data.copy_(weight)

    td3.generator.manual_seed(4)
    torch.manual_seed(4)  # Stable-Baselines3 draws its target noise from the global generator
    for data in batches():
        td3.update(data)
        samples = ReplayBufferSamples(
            data.states, data.actions, data.next_states, data.terminated[:, None], data.rewards[:, None]
        )
        theirs.replay_buffer.sample = lambda *_, samples=samples, **__: samples
        theirs.train(gradient_steps=1, batch_size=BATCH)
        their_weights = {name: [p.detach() for p in network.parameters()] for name, network in networks().items()}
        assert_same(all_weights(td3), their_weights)
