"""TD3 updates on state vectors as two well-known single-file programs loop them, written anew from their descriptions.

`author_loop`: the way of the TD3 authors' program (Fujimoto et al. 2018): one module with both critics, Adam and the
targets' parameters taken one by one. `cleanrl_loop`: CleanRL's way (Huang et al. 2022): a module per critic, one Adam
over both, each target network in a loop of its own. Both sample from a ring of numpy arrays.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAMMA, TAU, NOISE, NOISE_CLIP, DELAY, RATE = 0.99, 0.005, 0.2, 0.5, 2, 1e-3


def author_loop(observations: int, actions: int, hidden: int, stored: int) -> Callable[[int], None]:
    """An update as `update(batch_size)`, on a ring of `stored` random transitions."""
    ring = _Ring(observations, actions, stored)
    actor, critic = _Policy(observations, actions, hidden), _Twins(observations + actions, hidden)
    actor_target, critic_target = copy.deepcopy(actor), copy.deepcopy(critic)
    actor_adam, critic_adam = (torch.optim.Adam(net.parameters(), lr=RATE) for net in (actor, critic))
    done = 0

    def update(batch_size: int) -> None:
        nonlocal done
        done += 1
        state, action, next_state, reward, terminated = ring.sample(batch_size)
        with torch.no_grad():
            noise = (torch.randn_like(action) * NOISE).clamp(-NOISE_CLIP, NOISE_CLIP)
            next_action = (actor_target(next_state) + noise).clamp(-1.0, 1.0)
            q1, q2 = critic_target(next_state, next_action)
            target = reward + (1.0 - terminated) * GAMMA * torch.min(q1, q2)
        q1, q2 = critic(state, action)
        loss = F.mse_loss(q1, target) + F.mse_loss(q2, target)
        critic_adam.zero_grad()
        loss.backward()
        critic_adam.step()
        if done % DELAY == 0:
            actor_loss = -critic.first(state, actor(state)).mean()
            actor_adam.zero_grad()
            actor_loss.backward()
            actor_adam.step()
            _follow(critic_target, critic)
            _follow(actor_target, actor)

    return update


def cleanrl_loop(observations: int, actions: int, hidden: int, stored: int) -> Callable[[int], None]:
    """An update as `update(batch_size)`, on a ring of `stored` random transitions."""
    ring = _Ring(observations, actions, stored)
    actor = _Policy(observations, actions, hidden)
    critics = [_Critic(observations + actions, hidden) for _ in range(2)]
    actor_target, critic_targets = copy.deepcopy(actor), copy.deepcopy(critics)
    critic_adam = torch.optim.Adam([p for net in critics for p in net.parameters()], lr=RATE)
    actor_adam = torch.optim.Adam(actor.parameters(), lr=RATE)
    done = 0

    def update(batch_size: int) -> None:
        nonlocal done
        done += 1
        state, action, next_state, reward, terminated = ring.sample(batch_size)
        with torch.no_grad():
            noise = (torch.randn_like(action) * NOISE).clamp(-NOISE_CLIP, NOISE_CLIP) * actor_target.scale
            next_action = (actor_target(next_state) + noise).clamp(-1.0, 1.0)
            values = [net(next_state, next_action) for net in critic_targets]
            target = reward.flatten() + (1.0 - terminated.flatten()) * GAMMA * torch.min(*values).view(-1)
        losses = [F.mse_loss(net(state, action).view(-1), target) for net in critics]
        critic_adam.zero_grad()
        sum(losses).backward()
        critic_adam.step()
        if done % DELAY == 0:
            actor_loss = -critics[0](state, actor(state)).mean()
            actor_adam.zero_grad()
            actor_loss.backward()
            actor_adam.step()
            for target_net, net in zip([actor_target, *critic_targets], [actor, *critics], strict=True):
                _follow(target_net, net)

    return update


class _Ring:
    def __init__(self, observations: int, actions: int, stored: int) -> None:
        self.rng = rng = np.random.default_rng(0)
        self.arrays = [
            rng.normal(size=(stored, observations)),
            rng.uniform(-1.0, 1.0, (stored, actions)),
            rng.normal(size=(stored, observations)),
            rng.normal(size=(stored, 1)),
            np.zeros((stored, 1)),
        ]
        self.arrays = [array.astype(np.float32) for array in self.arrays]

    def sample(self, size: int) -> list[Tensor]:
        rows = self.rng.integers(0, len(self.arrays[0]), size)
        return [torch.tensor(array[rows]) for array in self.arrays]


def _layers(inputs: int, hidden: int, outputs: int) -> list[nn.Linear]:
    return [nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)]


def _through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    x = F.relu(layers[0](x))
    return layers[2](F.relu(layers[1](x)))


class _Policy(nn.Module):
    def __init__(self, observations: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_layers(observations, hidden, actions))
        self.register_buffer("scale", torch.ones(actions))

    def forward(self, state: Tensor) -> Tensor:
        return torch.tanh(_through(self.layers, state)) * self.scale


class _Critic(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_layers(inputs, hidden, 1))

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        return _through(self.layers, torch.cat([state, action], 1))


class _Twins(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.q1, self.q2 = (nn.ModuleList(_layers(inputs, hidden, 1)) for _ in range(2))

    def forward(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([state, action], 1)
        return _through(self.q1, x), _through(self.q2, x)

    def first(self, state: Tensor, action: Tensor) -> Tensor:
        return _through(self.q1, torch.cat([state, action], 1))


def _follow(target: nn.Module, online: nn.Module) -> None:
    for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
        slow.data.copy_(TAU * fast.data + (1.0 - TAU) * slow.data)
