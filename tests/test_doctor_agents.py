"""The doctor on our agent and on Stable-Baselines3's TD3: each fault planted and named, no alarm in 1,000 updates."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import clipdrive
from clipdrive.agents.clipping import ClippedOptimizer
from clipdrive.agents.td3 import TD3
from clipdrive.doctor import FAULTS
from clipdrive.doctor.checkup import check_agent, check_params
from small_params import params_with
from test_agents_td3 import agent, batch
from test_doctor_watch import one_thread  # noqa: F401 - fixture
from test_training_train import OFFLINE, episodes, own_state_folder  # noqa: F401 - fixtures

CLIP = {"clip__critic_cnn": 0.05, "clip__critic_head": 0.05, "clip__actor_head": 0.001}


def own(monkeypatch: pytest.MonkeyPatch, fault: str | None) -> TD3:
    """Our agent with a fault planted in its one place that clips."""
    td3 = agent(**CLIP)
    real_clip, real_step = ClippedOptimizer._clip, ClippedOptimizer.step

    def clip(self, group, norm):
        self._limits[group["name"]] = limit = self.rules[group["name"]].limit
        parameters = group["params"]
        if fault == "stepped but not clipped":
            clip_grad_norm_(parameters[2:], limit)
        elif fault == "exhausted generator":
            used_up = iter(parameters)
            list(used_up)
            clip_grad_norm_(used_up, limit)
        elif fault == "limit per layer":
            for parameter in parameters:
                clip_grad_norm_(parameter, limit)
        elif fault == "limit on values":
            clip_grad_value_(parameters, limit)
        elif fault == "clip on scaled gradients":
            for parameter in parameters:
                parameter.grad.mul_(256.0)
            clip_grad_norm_(parameters, limit)
            for parameter in parameters:
                parameter.grad.div_(256.0)
        elif fault == "backward after clip":
            real_clip(self, group, norm)
            sum(10.0 * p.square().sum() for p in parameters).backward()
        elif fault != "clip after step":
            real_clip(self, group, norm)

    def step(self, loss, measure_update=False):
        norms = real_step(self, loss, measure_update)
        if fault == "norm logged before clipping":
            return {name: n.__class__(n.before, n.before, n.clipped) for name, n in norms.items()}
        if fault == "sum of per-tensor norms":
            sums = {g["name"]: sum(float(p.grad.norm()) for p in g["params"]) for g in self.optimizer.param_groups}
            return {name: n.__class__(n.before, sums[name], n.clipped) for name, n in norms.items()}
        return norms

    monkeypatch.setattr(ClippedOptimizer, "_clip", clip)
    monkeypatch.setattr(ClippedOptimizer, "step", step)
    if fault == "clip after step":
        for clipped in td3.optimizers:
            clipped.rules = {name: rule.__class__(None) for name, rule in clipped.rules.items()}
            late = lambda optimizer, *_: clip_grad_norm_(optimizer.param_groups[0]["params"], 0.001)  # noqa: E731
            clipped.optimizer.register_step_post_hook(late)
    if fault == "shared CNN":
        cnn = td3.critic_optimizer.optimizer.param_groups[0]
        group = {"name": "actor_cnn", "params": cnn["params"], "layers": cnn["layers"]}
        td3.actor_optimizer.optimizer.add_param_group(group)
    if fault == "gradients left over from another loss":
        for clipped in td3.optimizers:
            clipped.optimizer.zero_grad = lambda **_: None
    if fault == "dead gradient":
        nn.init.constant_(td3.actor.head.out.bias, 12.0)
    return td3


def own_batches(fault: str | None, count: int = 7):
    for number in range(count):
        made = batch(seed=number)
        if fault == "non-finite" and number == 3:
            made.rewards[0] = float("inf")
        yield made


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_our_agent_is_named(monkeypatch, fault):
    checkup = check_agent(own(monkeypatch, fault), own_batches(fault))
    assert fault in checkup.probe.faults, str(checkup)
    assert not checkup.sound and "not sound" in str(checkup)


def test_our_agent_is_sound_over_a_thousand_updates():
    checkup = check_agent(agent(**CLIP), (batch(seed=number % 50) for number in range(1000)))
    assert checkup.sound, str(checkup)
    assert [(g.name, g.steps) for g in checkup.probe.groups] == [
        ("actor_head", 500), ("critic_cnn", 1000), ("critic_head", 1000)
    ]  # fmt: skip


OTHERS = (
    {"encoder": "separate"},
    {"memory": "gru"},
    {"algorithm": "ddpg"},
    {"clip_kind__critic_cnn": "value"},
    {"clip_kind__critic_cnn": "adaptive"},
)


@pytest.mark.parametrize("changes", OTHERS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_our_other_agents_are_sound(changes):
    checkup = check_agent(agent(**CLIP, **changes), own_batches(None, 30))
    assert checkup.sound, str(checkup)


def test_the_agent_of_the_params_is_checked_on_the_episodes(episodes):  # noqa: F811
    checkup = check_params(params_with(**OFFLINE), episodes, updates=6)
    assert checkup.sound and checkup.structure["shared"] == 0
    assert str(checkup).startswith("structure: 26 tensors are trained, each in one group of one optimiser")
    assert [(g.name, g.limit, g.steps) for g in checkup.probe.groups] == [
        ("actor_head", 1.0, 3), ("critic_cnn", 10.0, 6), ("critic_head", 10.0, 6)
    ]  # fmt: skip


ACTOR_LIMIT, CRITIC_LIMIT = 0.01, 0.5


def sb3(fault: str | None):
    """Stable-Baselines3's TD3 on Pendulum with a clip patched into its optimisers' steps, and a fault into that."""
    model = stable_baselines3.TD3(
        "MlpPolicy", "Pendulum-v1", seed=0, batch_size=16, learning_starts=20, policy_kwargs={"net_arch": [16, 16]},
        device="cpu",
    )  # fmt: skip
    logs = []
    patch(model.actor, ACTOR_LIMIT, None, lambda _: None)
    patch(model.critic, CRITIC_LIMIT, fault, logs.append)
    if fault == "shared CNN":
        model.actor.optimizer.add_param_group({"params": [next(model.critic.parameters())]})
    if fault == "gradients left over from another loss":
        model.critic.optimizer.zero_grad = lambda *_, **__: None
    if fault == "dead gradient":
        nn.init.constant_(model.actor.mu[-2].bias, 15.0)
    if fault == "non-finite":
        add = model.replay_buffer.add
        model.replay_buffer.add = lambda o, n, a, r, *rest: add(o, n, a, r * float("inf"), *rest)
    return model, logs


def patch(network, limit, fault, log):
    optimizer, parameters = network.optimizer, list(network.parameters())
    plain, used_up = optimizer.step, network.parameters()
    list(used_up)

    def step():
        before = None
        if fault == "exhausted generator":
            clip_grad_norm_(used_up, limit)
        elif fault == "stepped but not clipped":
            clip_grad_norm_(parameters[:2], limit)
        elif fault == "limit per layer":
            for parameter in parameters:
                clip_grad_norm_([parameter], limit)
        elif fault == "limit on values":
            clip_grad_value_(parameters, limit)
        elif fault == "clip on scaled gradients":
            torch._foreach_mul_([p.grad for p in parameters], 512.0)
            clip_grad_norm_(parameters, limit)
            torch._foreach_div_([p.grad for p in parameters], 512.0)
        elif fault != "clip after step":
            before = clip_grad_norm_(parameters, limit)
        if fault == "backward after clip":
            sum(p.square().sum() for p in parameters).backward()
        if fault == "sum of per-tensor norms":
            log(sum(float(p.grad.norm()) for p in parameters))
        plain()
        if fault == "norm logged before clipping":
            log(float(before))
        if fault == "clip after step":
            clip_grad_norm_(parameters, limit)

    optimizer.step = step


def watched(model, logs, updates):
    groups = {"actor": list(model.actor.parameters()), "critic": list(model.critic.parameters())}
    optimizers = {"actor": model.actor.optimizer, "critic": model.critic.optimizer}
    limits = {"actor": ACTOR_LIMIT, "critic": CRITIC_LIMIT}
    model.learn(20 + 1)  # makes its logger and fills the memory
    with clipdrive.doctor.watch(optimizers, groups, limits, say=None) as probe:
        for _ in range(updates // 10):
            logs.clear()
            model.train(10, batch_size=16)
            for value in logs[-1:]:
                probe.logged("critic", value)
    return probe


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_stable_baselines_is_named_and_no_other(fault):
    assert watched(*sb3(fault), updates=30).faults == {fault}


def test_stable_baselines_is_sound_over_a_thousand_updates():
    probe = watched(*sb3(None), updates=1000)
    assert probe.sound, str(probe)
    assert [group.steps for group in probe.groups] == [500, 1000]


class QNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(self, x, a):
        x = F.relu(self.fc1(torch.cat([x, a], 1)))
        return self.fc3(F.relu(self.fc2(x)))


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc_mu = nn.Linear(3, 32), nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(self, x):
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        return torch.tanh(self.fc_mu(x)) * 2.0


def test_a_single_file_script_is_sound_over_a_thousand_updates():
    torch.manual_seed(0)
    env = gymnasium.make("Pendulum-v1")
    actor, qf1, qf2 = Policy(), QNetwork(), QNetwork()
    target_actor, qf1_target, qf2_target = Policy(), QNetwork(), QNetwork()
    for target, online in ((target_actor, actor), (qf1_target, qf1), (qf2_target, qf2)):
        target.load_state_dict(online.state_dict())
    q_optimizer = torch.optim.Adam(list(qf1.parameters()) + list(qf2.parameters()), lr=3e-4)
    actor_optimizer = torch.optim.Adam(list(actor.parameters()), lr=3e-4)
    rows, rng = [], np.random.default_rng(0)
    obs, _ = env.reset(seed=0)
    with clipdrive.doctor.watch([actor_optimizer, q_optimizer], limits=1.0, say=None) as probe:
        for step in range(1064):
            with torch.no_grad():
                action = actor(torch.tensor(obs[None])) + 0.2 * torch.randn(1, 1)
            action = action.clamp(-2.0, 2.0)[0].numpy()
            next_obs, reward, terminated, truncated, _ = env.step(action)
            rows.append((obs, action, np.float32(reward), next_obs))
            obs = env.reset()[0] if terminated or truncated else next_obs
            if step < 64:
                continue
            picked = [rows[i] for i in rng.integers(0, len(rows), 64)]
            o, a, r, n = (torch.tensor(np.stack(part)) for part in zip(*picked, strict=True))
            with torch.no_grad():
                noise = (torch.randn_like(a) * 0.2).clamp(-0.5, 0.5) * 2.0
                next_a = (target_actor(n) + noise).clamp(-2.0, 2.0)
                y = r + 0.99 * torch.min(qf1_target(n, next_a), qf2_target(n, next_a)).view(-1)
            qf_loss = F.mse_loss(qf1(o, a).view(-1), y) + F.mse_loss(qf2(o, a).view(-1), y)
            q_optimizer.zero_grad()
            qf_loss.backward()
            clip_grad_norm_(list(qf1.parameters()) + list(qf2.parameters()), 1.0)
            q_optimizer.step()
            if step % 2 == 0:
                actor_loss = -qf1(o, actor(o)).mean()
                actor_optimizer.zero_grad()
                actor_loss.backward()
                clip_grad_norm_(actor.parameters(), 1.0)
                actor_optimizer.step()
                for target, online in ((target_actor, actor), (qf1_target, qf1), (qf2_target, qf2)):
                    for t, p in zip(target.parameters(), online.parameters(), strict=True):
                        t.data.copy_(0.005 * p.data + 0.995 * t.data)
    assert probe.sound, str(probe)
    assert [group.steps for group in probe.groups] == [500, 1000]
