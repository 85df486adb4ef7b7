"""TD3 (Fujimoto, van Hoof, Meger 2018) on camera frames or state vectors, in the paper's order and words.

MPG, DDPG and TD3+BC are the same agent but for the switches of `targets.ALGORITHMS`. Beside the papers, each by param:
layer norm, a penalty on saturated actions, an actor on the critic's features.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clipdrive.agents.augment import mirrored, random_shift
from clipdrive.agents.clipping import ClippedOptimizer, Rule, rules_of
from clipdrive.agents.networks import Actor, Critic, NetworkSpec, load_weights
from clipdrive.agents.norms import GroupNorms
from clipdrive.agents.structure import GroupError, certified_structure, named_groups
from clipdrive.agents.targets import ALGORITHMS, MpgGap, bootstrapped, imitation_weight, smoothed_action


@dataclass(frozen=True)
class Batch:
    """Transitions on the agent's device: frames uint8 (B, C, H, W), states (B, S), actions (B, A), the rest (B,).

    `steps` are the rewards summed in an n-step return, `weights` the importance weights: 1 where absent.
    """

    frames: Tensor
    states: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    next_frames: Tensor
    next_states: Tensor
    steps: Tensor | None = None
    weights: Tensor | None = None


@dataclass(frozen=True)
class Update:
    """What one update did: scalars by name, the norms of each group that was stepped, and the TD errors (B,).

    The scalars are what every update is watched by (`q1_mean`, `q_abs_max`, the actor's `saturated_share`); all of
    them where they were asked for.
    """

    scalars: dict[str, Tensor]
    norms: dict[str, GroupNorms]
    td_errors: Tensor | None = None  # the larger |Q - y| of the critics, for a batch with importance weights


class TD3:
    """Twin delayed deep deterministic policy gradient, and its relatives by `params.algorithm`.

    `params` is the Params object (gamma, tau, rates, noise, clip ...); `generator` draws the target noise and the
    image shifts on `device`.
    """

    def __init__(self, spec: NetworkSpec, params: Any, device: torch.device, generator: torch.Generator) -> None:
        self.spec = spec
        self.params = params
        self.device = device
        self.generator = generator
        self.algorithm = ALGORITHMS[params.algorithm]
        self.policy_delay = params.policy_delay if self.algorithm.delayed else 1
        self.gap = MpgGap(params.mpg_delta) if self.algorithm.remembers_gap else None
        self.updates = 0
        self.targets_stepped = 0  # tensors that anything but the target update moved
        self.actor = Actor(spec).to(device)
        self.critic = Critic(spec).to(device)
        self.actor_target = _frozen_copy(self.actor)
        self.critic_target = _frozen_copy(self.critic)
        actor_groups = named_groups(
            actor_cnn=self.actor.encoder, actor_memory=self.actor.memory, actor_head=self.actor.head
        )
        heads = {"q1": self.critic.q1} | ({} if self.critic.q2 is None else {"q2": self.critic.q2})
        critic_groups = named_groups(
            critic_cnn=self.critic.encoder, critic_memory=self.critic.memory, critic_head=heads
        )
        pairs = ((self.actor_target, self.actor), (self.critic_target, self.critic))
        self._followers = [(_weights(slow), _weights(online)) for slow, online in pairs]
        rules = rules_of(params)
        self.actor_optimizer = _clipped_adam(actor_groups, params.actor_lr, rules)
        self.critic_optimizer = _clipped_adam(critic_groups, params.critic_lr, rules)
        self.structure()

    @property
    def optimizers(self) -> tuple[ClippedOptimizer, ClippedOptimizer]:
        return self.actor_optimizer, self.critic_optimizer

    def structure(self) -> dict[str, int]:
        """What is certified of the structure (see `certified_structure`); raises GroupError where it is not sound."""
        trained = {"actor": self.actor, "critic": self.critic}
        targets = {"actor_target": self.actor_target, "critic_target": self.critic_target}
        counts = certified_structure(trained, targets, [clipped.optimizer for clipped in self.optimizers])
        return counts | {"targets_stepped": self.targets_stepped}

    @torch.no_grad()
    def q_values(self, frames: Tensor, states: Tensor, actions: Tensor) -> Tensor:
        """Q1 (B,) of actions (B, A) in frames (B, C, H, W) and states (B, S)."""
        return self.critic.first(self.critic.features(frames), states, actions)

    @torch.no_grad()
    def act(self, frames: Tensor, state: Tensor) -> Tensor:
        """Actions without noise in [-1, 1] (B, A) for frames (B, C, H, W) and states (B, S)."""
        return torch.tanh(self.actor(self._actor_features(frames), state))

    def set_learning_rates(self, factor: float) -> None:
        """Set both rates to `factor` times their param."""
        self.actor_optimizer.set_lr(self.params.actor_lr * factor)
        self.critic_optimizer.set_lr(self.params.critic_lr * factor)

    def update(self, batch: Batch, measure_update: bool = False) -> Update:
        """One update of the critics and, every `policy_delay` updates, of the actor and the targets.

        With `measure_update` all scalars are made, and the norms of each layer; and the targets are certified to lie
        still until they follow. Raises ClippingError, before any weight of that step changes, and GroupError where a
        step moved a target.
        """
        params = self.params
        targets = [weight.clone() for slow, _ in self._followers for weight in slow] if measure_update else None
        if params.mirror:
            batch = mirrored(batch, params.route_command)
        frames = self._augmented(batch.frames)
        target = self._target(batch)

        features = self.critic.features(frames)
        q1, q2 = self.critic(features, batch.states, batch.actions)
        critic_loss = sum(_squared_error(q, target, batch.weights) for q in (q1, q2)[: self.algorithm.critics])
        norms = self.critic_optimizer.step(critic_loss, measure_update)
        self.updates += 1
        scalars = _watched_scalars(q1, q2)
        if measure_update:
            scalars |= _critic_scalars(critic_loss, q1, q2, target)
            if self.gap is not None:
                scalars["mpg_delta"] = self.gap.last.mean()

        if self.updates % self.policy_delay == 0:
            if self.actor.encoder is None:  # the features from before the critic's step serve both, as in DrQ-v2
                actor_features = features = features.detach()
            else:
                actor_features = self.actor.features(frames)
                with torch.no_grad():  # the actor reaches Q by its action alone
                    features = self.critic.features(frames)
            pre_tanh = self.actor(actor_features, batch.states)
            action = torch.tanh(pre_tanh)
            q = self.critic.first(features, batch.states, action)
            actor_loss = -q.mean()
            if self.algorithm.imitates:
                actor_loss = imitation_weight(params.bc_weight, q) * actor_loss + F.mse_loss(action, batch.actions)
            if params.saturation_penalty > 0.0:
                excess = (pre_tanh.abs() - 1.0).clamp(min=0.0)
                actor_loss = actor_loss + params.saturation_penalty * excess.square().sum(dim=1).mean()
            norms |= self.actor_optimizer.step(actor_loss, measure_update)
            size = action.detach().abs()
            scalars["saturated_share"] = (size > 0.99).float().mean()
            if measure_update:
                scalars |= {"actor_loss": actor_loss.detach(), "action_abs_mean": size.mean()}
        if targets is not None:
            self._require_still(targets)
        if self.updates % self.policy_delay == 0:
            for slow, online in self._followers:
                torch._foreach_lerp_(slow, online, params.tau)  # theta' <- tau theta + (1 - tau) theta'
        errors = None
        if batch.weights is not None:
            errors = torch.maximum((q1 - target).abs(), (q2 - target).abs()).detach()
        return Update(scalars, norms, errors)

    def _require_still(self, before: list[Tensor]) -> None:
        """Raise GroupError where the targets are not what they were `before` the optimisers' steps."""
        now = [weight for slow, _ in self._followers for weight in slow]
        moved = torch.stack(torch._foreach_norm(torch._foreach_sub(now, before))).tolist()
        self.targets_stepped = sum(size != 0.0 for size in moved)
        if self.targets_stepped:
            raise GroupError(f"{self.targets_stepped} tensors of the targets were stepped; targets only follow")

    @torch.no_grad()
    def _target(self, batch: Batch) -> Tensor:
        next_frames = self._augmented(batch.next_frames)
        features = self.critic_target.features(next_frames)
        own = self.actor_target.encoder is not None
        actor_features = self.actor_target.features(next_frames) if own else features
        action = torch.tanh(self.actor_target(actor_features, batch.next_states))
        if self.algorithm.smoothed:
            noise = torch.randn(action.shape, generator=self.generator, device=self.device)
            action = smoothed_action(action, noise * self.params.policy_noise, self.params.noise_clip)
        q1, q2 = self.critic_target(features, batch.next_states, action)
        gap_last = None if self.gap is None else self.gap.exchange(q1, q2)
        gamma = self.params.gamma if batch.steps is None else self.params.gamma**batch.steps
        return bootstrapped(batch.rewards, batch.terminated, gamma, self.algorithm.value(q1, q2, gap_last))

    def _actor_features(self, frames: Tensor) -> Tensor:
        return (self.critic if self.actor.encoder is None else self.actor).features(frames)

    def _augmented(self, frames: Tensor) -> Tensor:
        """As float32, made once for all networks that see them."""
        if self.params.image_shift_px > 0:
            frames = random_shift(frames, self.params.image_shift_px, self.generator)
        return frames.float()

    def state(self) -> dict[str, Any]:
        """Everything that training needs to go on bit by bit, as tensors and plain values."""
        return {
            "updates": self.updates,
            "mpg_gap": None if self.gap is None else self.gap.last,
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "actor_target": self.actor_target.state_dict(),
            "critic_target": self.critic_target.state_dict(),
            "optimizers": [clipped.optimizer.state_dict() for clipped in self.optimizers],
            "records": [clipped.record.state() for clipped in self.optimizers],
            "generator": self.generator.get_state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave; raises NetworkError when it is of another network."""
        load_weights(self.actor, self.critic, state)
        self.actor_target.load_state_dict(state["actor_target"])
        self.critic_target.load_state_dict(state["critic_target"])
        for clipped, values, record in zip(self.optimizers, state["optimizers"], state["records"], strict=True):
            clipped.optimizer.load_state_dict(values)
            clipped.record.load_state(record)
        self.generator.set_state(state["generator"].cpu())
        self.updates = state["updates"]
        if self.gap is not None:
            self.gap.last = state["mpg_gap"]

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The online networks' weights: what is delivered."""
        return {"actor": self.actor.state_dict(), "critic": self.critic.state_dict()}


def _clipped_adam(groups: list[dict[str, Any]], lr: float, rules: Mapping[str, Rule]) -> ClippedOptimizer:
    limits = {group["name"]: rules[group["name"]] for group in groups}
    return ClippedOptimizer(torch.optim.Adam(groups, lr=lr, fused=True), limits)


def _squared_error(q: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the batch of (Q - y)^2, each by its importance weight."""
    return F.mse_loss(q, target) if weights is None else (weights * (q - target).square()).mean()


def _frozen_copy(module: torch.nn.Module) -> Any:
    return copy.deepcopy(module).requires_grad_(False)


def _weights(module: torch.nn.Module) -> list[Tensor]:
    """The weights without autograd, in the parameters' own memory."""
    return [parameter.detach() for parameter in module.parameters()]


@torch.no_grad()
def _watched_scalars(q1: Tensor, q2: Tensor) -> dict[str, Tensor]:
    return {"q1_mean": q1.mean(), "q_abs_max": torch.stack((q1, q2)).abs().max()}


@torch.no_grad()
def _critic_scalars(loss: Tensor, q1: Tensor, q2: Tensor, target: Tensor) -> dict[str, Tensor]:
    error = (q1 - target).abs()
    return {
        "critic_loss": loss.detach(),
        "q1_min": q1.min(),
        "q1_max": q1.max(),
        "q2_mean": q2.mean(),
        "q2_min": q2.min(),
        "q2_max": q2.max(),
        "q_gap_mean": (q1 - q2).abs().mean(),
        "target_mean": target.mean(),
        "target_min": target.min(),
        "target_max": target.max(),
        "td_error_mean": error.mean(),
        "td_error_p99": torch.quantile(error, 0.99),
    }
