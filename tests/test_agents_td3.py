"""TD3 against hand arithmetic, and its structure: delay, targets, encoders, what the actor's step leaves alone."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from clipdrive.agents.augment import mirrored, random_shift
from clipdrive.agents.networks import Actor, Critic, NetworkError, NetworkSpec
from clipdrive.agents.targets import bootstrapped, smoothed_action, twin_minimum
from clipdrive.agents.td3 import TD3, Batch
from small_params import params_with

SMALL = {"camera__height_px": 36, "camera__width_px": 36, "feature_units": 16, "hidden_units": 16}


def agent(seed: int = 0, **changes) -> TD3:
    params = params_with(**(SMALL | changes))
    torch.manual_seed(seed)
    spec = NetworkSpec.of(params, state_size=3, action_size=2)
    return TD3(spec, params, torch.device("cpu"), torch.Generator().manual_seed(seed))


def batch(size: int = 8, seed: int = 0, terminated: float = 0.0) -> Batch:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (2, size, 3, 36, 36), dtype=np.uint8)
    states = rng.normal(size=(2, size, 3)).astype(np.float32)
    return Batch(
        frames=torch.from_numpy(frames[0]),
        states=torch.from_numpy(states[0]),
        actions=torch.from_numpy(rng.uniform(-1, 1, (size, 2)).astype(np.float32)),
        rewards=torch.from_numpy(rng.normal(size=size).astype(np.float32)),
        terminated=torch.full((size,), terminated),
        next_frames=torch.from_numpy(frames[1]),
        next_states=torch.from_numpy(states[1]),
    )


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_target_by_hand():
    value = twin_minimum(torch.tensor([5.0, 7.0]), torch.tensor([4.0, 9.0]))
    target = bootstrapped(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]), 0.9, value)
    assert target.tolist() == pytest.approx([1.0 + 0.9 * 4.0, 2.0])


def test_smoothing_by_hand():
    action = torch.tensor([[0.9, -0.9], [0.0, 0.1]])
    noise = torch.tensor([[0.8, -0.2], [-0.8, 0.3]])
    expected = [[1.0, -1.0], [-0.5, 0.4]]  # noise cut at 0.5, then the action at 1
    assert smoothed_action(action, noise, 0.5).flatten().tolist() == pytest.approx(np.ravel(expected).tolist())


def test_trap_02_the_target_of_a_terminated_step_is_its_reward():
    td3, data = agent(), batch(terminated=1.0)
    assert torch.equal(td3._target(data), data.rewards)
    assert not torch.equal(td3._target(batch()), data.rewards)


def test_the_whole_target_with_fixed_weights_and_noise():
    td3, data = agent(policy_noise=0.3, noise_clip=0.4), batch()
    noise_source = torch.Generator().manual_seed(0)
    noise = torch.randn((8, 2), generator=noise_source) * 0.3
    with torch.no_grad():
        features = td3.critic_target.encoder(data.next_frames)
        clean = torch.tanh(td3.actor_target(features, data.next_states))
        action = torch.clamp(clean + torch.clamp(noise, -0.4, 0.4), -1, 1)
        inputs = torch.cat([features, data.next_states, action], 1)
        q1, q2 = td3.critic_target.q1(inputs)[:, 0], td3.critic_target.q2(inputs)[:, 0]
        expected = data.rewards + 0.99 * torch.min(q1, q2)
    assert torch.allclose(td3._target(data), expected, rtol=1e-6, atol=1e-6)


def test_trap_04_each_row_has_its_own_target_noise():
    td3 = agent(policy_noise=0.2, noise_clip=0.5)
    row = batch(1)
    given = {name: tensor for name, tensor in vars(row).items() if tensor is not None}
    repeated = Batch(**{name: tensor.expand(16, *tensor.shape[1:]) for name, tensor in given.items()})
    targets = td3._target(repeated)
    assert len(set(targets.tolist())) == 16


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_trap_11_actor_and_targets_move_only_every_policy_delay_updates(delay):
    td3 = agent(policy_delay=delay)
    for update in range(1, 7):
        modules = (td3.actor, td3.actor_target, td3.critic_target)
        before, critic = [weights(m) for m in modules], weights(td3.critic)
        td3.update(batch(seed=update))
        assert not same(critic, weights(td3.critic))
        for old, module in zip(before, modules, strict=True):
            assert same(old, weights(module)) == (update % delay != 0)


def test_targets_follow_by_tau():
    td3 = agent(policy_delay=1, tau=0.25)
    old = weights(td3.critic_target)
    td3.update(batch())
    for target, before, online in zip(weights(td3.critic_target), old, weights(td3.critic), strict=True):
        assert torch.allclose(target, 0.75 * before + 0.25 * online, atol=1e-7)


@pytest.mark.parametrize("algorithm", ["td3", "ddpg"])
def test_importance_weights_weigh_the_squared_errors_and_the_larger_error_is_the_priority(algorithm, monkeypatch):
    td3, given, target = agent(algorithm=algorithm, mirror=False), batch(), torch.linspace(-2.0, 2.0, 8)
    monkeypatch.setattr(td3, "_target", lambda _: target)
    weights = torch.tensor([1.0, 0.5, 0.25, 0.0, 1.0, 0.1, 0.2, 0.3])
    with torch.no_grad():
        q1, q2 = td3.critic(td3.critic.features(given.frames), given.states, given.actions)
    errors = [(q - target).numpy().astype(float) for q in ((q1,) if algorithm == "ddpg" else (q1, q2))]
    update = td3.update(replace(given, weights=weights), measure_update=True)
    by_hand = sum(float((weights.numpy() * error**2).sum()) / 8 for error in errors)
    assert float(update.scalars["critic_loss"]) == pytest.approx(by_hand, rel=1e-5)
    assert update.td_errors.numpy() == pytest.approx(np.max(np.abs(errors), axis=0), rel=1e-4)


def test_the_actor_step_leaves_no_gradient_on_the_critic_and_no_weight_moved():
    td3 = agent(policy_delay=1)
    critic_after_its_step = {}
    real = td3.actor_optimizer.step

    def actor_step(loss, measure_update):
        critic_after_its_step["weights"] = weights(td3.critic)
        critic_after_its_step["gradients"] = [p.grad.clone() for p in td3.critic.parameters()]
        return real(loss, measure_update)

    td3.actor_optimizer.step = actor_step
    td3.update(batch())
    assert same(critic_after_its_step["weights"], weights(td3.critic))
    assert same(critic_after_its_step["gradients"], [p.grad for p in td3.critic.parameters()])


def test_encoder_separate_gives_the_actor_a_cnn_of_its_own():
    shared, separate = agent(), agent(encoder="separate")
    assert shared.actor.encoder is None
    assert [g["name"] for g in shared.actor_optimizer.optimizer.param_groups] == ["actor_head"]
    assert [g["name"] for g in separate.actor_optimizer.optimizer.param_groups] == ["actor_cnn", "actor_head"]
    held = {id(p) for p in separate.actor.parameters()} & {id(p) for p in separate.critic.parameters()}
    assert not held
    before = weights(separate.actor.encoder)
    separate.update(batch(seed=1))
    separate.update(batch(seed=2))
    assert not same(before, weights(separate.actor.encoder))


def test_encoder_critic_is_not_moved_by_the_actor():
    td3 = agent(policy_delay=1, critic_lr=1e-12)
    before = weights(td3.critic.encoder)
    td3.update(batch())
    moved = max(float((a - b).abs().max()) for a, b in zip(before, weights(td3.critic.encoder), strict=True))
    assert moved < 1e-9


def test_the_saturation_penalty_is_what_it_says():
    losses = []
    for weight in (0.0, 0.5):
        td3 = agent(policy_delay=1, saturation_penalty=weight)
        td3.actor.head.out.bias.data.copy_(torch.tensor([3.0, -0.5]))
        td3.actor.head.out.weight.data.zero_()
        losses.append(float(td3.update(batch(), measure_update=True).scalars["actor_loss"]))
    assert losses[1] - losses[0] == pytest.approx(0.5 * (3.0 - 1.0) ** 2, rel=1e-4)


ADAPTIVE = {"clip_kind__critic_cnn": "adaptive", "clip__critic_cnn": "none", "clip__percentile": 50.0}


@pytest.mark.parametrize(
    "changes", [{}, {"algorithm": "mpg"}, {"algorithm": "mpg", "mpg_delta": "sample"}, ADAPTIVE], ids=str
)
def test_state_round_trip_goes_on_with_the_same_bits(changes):
    first, second = agent(seed=0, **changes), agent(seed=5, **changes)
    for i in range(3):
        first.update(batch(seed=i))
    second.load_state(copy.deepcopy(first.state()))
    for i in range(3, 6):
        first.update(batch(seed=i))
        second.update(batch(seed=i))
    for name in ("actor", "critic", "actor_target", "critic_target"):
        assert same(weights(getattr(first, name)), weights(getattr(second, name)))
    assert first.critic_optimizer.record.summary() == second.critic_optimizer.record.summary()


def test_trap_16_the_state_loads_with_weights_only(tmp_path):
    td3 = agent()
    td3.update(batch())
    torch.save(td3.state(), tmp_path / "state.pt")
    agent(seed=1).load_state(torch.load(tmp_path / "state.pt", weights_only=True))


def test_weights_of_another_network_are_refused_in_one_sentence():
    with pytest.raises(NetworkError, match="another network"):
        agent(feature_units=32).load_state(agent().state())


def test_shapes_and_first_actions_are_small():
    spec = NetworkSpec.of(params_with(**SMALL), 3, 2)
    frames, state = batch().frames, batch().states
    actor, critic = Actor(spec), Critic(spec)
    features = critic.encoder(frames)
    assert features.shape == (8, 16) and bool((features >= 0).all())
    pre_tanh = actor(features, state)
    assert pre_tanh.shape == (8, 2) and float(pre_tanh.abs().max()) < 0.5
    q1, q2 = critic(features, state, torch.tanh(pre_tanh))
    assert q1.shape == q2.shape == (8,)
    assert torch.equal(q1, critic.first(features, state, torch.tanh(pre_tanh)))


def test_the_folded_scaling_equals_scaling_the_pixels():
    spec = NetworkSpec.of(params_with(**SMALL), 3, 2)
    encoder = Critic(spec).encoder
    frames = batch().frames
    x = frames.float() / 255.0 - 0.5
    x = torch.relu(encoder.conv2(torch.relu(encoder.conv1(x))))
    expected = torch.relu(encoder.norm(encoder.dense(x.flatten(1))))
    assert torch.allclose(encoder(frames), expected, atol=1e-5)


def test_random_shift_is_a_shift_within_the_bound():
    frames = torch.arange(10 * 10, dtype=torch.uint8).reshape(1, 1, 10, 10).expand(64, 1, 10, 10)
    shifted = random_shift(frames, 2, torch.Generator().manual_seed(0))
    assert shifted.shape == frames.shape and shifted.dtype == torch.uint8
    offsets = set()
    for image in shifted[:, 0]:
        centre = int(image[5, 5])
        offsets.add((centre // 10 - 5, centre % 10 - 5))
        dy, dx = centre // 10 - 5, centre % 10 - 5
        assert torch.equal(image[3:7, 3:7], frames[0, 0, 3 + dy : 7 + dy, 3 + dx : 7 + dx])
    assert len(offsets) > 10 and max(max(map(abs, o)) for o in offsets) == 2


def test_a_mirrored_sample_is_flipped_with_its_steering_and_the_other_half_is_left_alone():
    plain = batch(size=5)
    seen = mirrored(plain)
    for name in ("frames", "next_frames"):
        assert np.array_equal(getattr(seen, name)[:2].numpy(), getattr(plain, name)[:2].numpy()[..., ::-1])
        assert torch.equal(getattr(seen, name)[2:], getattr(plain, name)[2:])
    assert seen.actions[:2].tolist() == [[-steer, throttle] for steer, throttle in plain.actions[:2].tolist()]
    for name in ("states", "next_states"):
        speed, steer, throttle = getattr(seen, name)[0].tolist()
        assert [speed, -steer, throttle] == getattr(plain, name)[0].tolist()
    assert torch.equal(seen.rewards, plain.rewards) and torch.equal(seen.actions[2:], plain.actions[2:])
    assert torch.equal(mirrored(seen).frames, plain.frames) and torch.equal(mirrored(seen).states, plain.states)


def test_the_mirror_is_used_by_param():
    targets = [agent(mirror=wanted).update(batch()).scalars["q1_mean"] for wanted in (False, True)]
    assert targets[0] != targets[1]
