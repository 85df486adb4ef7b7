"""Feature shapes as published, the memory over stacked frames, and what each setting builds."""

from __future__ import annotations

import pytest
import torch

from clipdrive.agents.networks import Actor, Critic, Encoder, NetworkError, NetworkSpec, smallest_frame_px
from clipdrive.agents.td3 import TD3
from small_params import params_with
from test_agents_td3 import SMALL, batch, same, weights


def spec_of(**changes) -> NetworkSpec:
    return NetworkSpec.of(params_with(**changes), 3, 2)


@pytest.mark.parametrize(
    ("cnn", "shape"),
    [("mnih", (32, 9, 9)), ("nature", (64, 7, 7)), ("perot", (64, 7, 7))],
)
def test_feature_shapes_of_84x84_as_published(cnn, shape):
    encoder = Encoder(spec_of(cnn=cnn))
    assert encoder.convolved(torch.zeros(1, 3, 84, 84, dtype=torch.uint8)).shape == (1, *shape)
    kernels = {"mnih": [(16, 8, 4), (32, 4, 2)], "nature": [(32, 8, 4), (64, 4, 2), (64, 3, 1)]}
    kernels["perot"] = [(32, 8, 1), (64, 4, 1), (64, 3, 1)]
    convolutions = [module for module in encoder.modules() if isinstance(module, torch.nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions] == kernels[cnn]


def test_perot_halves_by_max_pooling():
    encoder = Encoder(spec_of(cnn="perot"))
    frames = torch.randint(0, 256, (2, 3, 84, 84), dtype=torch.uint8)
    x = frames.float() / 255.0 - 0.5
    for convolution in (encoder.conv1, encoder.conv2, encoder.conv3):
        x = torch.nn.MaxPool2d(2)(torch.relu(convolution(x)))
    assert torch.allclose(encoder.convolved(frames), x, atol=1e-5)


@pytest.mark.parametrize("cnn", ["mnih", "nature", "perot"])
def test_frames_that_are_too_small_are_refused_with_the_least_size(cnn):
    least = smallest_frame_px(cnn)
    small = {"camera__width_px": 84, "cnn": cnn}
    if least > 36:  # what params.yaml allows at least
        with pytest.raises(NetworkError, match=f"allowed with cnn: {cnn}: {least} or more"):
            Encoder(spec_of(camera__height_px=least - 1, **small))
    Encoder(spec_of(camera__height_px=max(least, 36), **small))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_the_memory_sees_the_frames_one_by_one_oldest_first(kind, colour):
    spec = spec_of(**SMALL, memory=kind, camera__color=colour)
    critic, colors = Critic(spec), 3 if colour == "rgb" else 1
    frames = torch.randint(0, 256, (4, 3 * colors, 36, 36), dtype=torch.uint8)
    each = [critic.encoder(frames[:, colors * i : colors * (i + 1)]) for i in range(3)]
    expected = critic.memory.cell(torch.stack(each, dim=1))[0][:, -1]
    features = critic.features(frames)
    assert features.shape == (4, 48) and torch.allclose(features, expected, atol=1e-6)
    assert not torch.allclose(features, critic.features(frames.flip(1)), atol=1e-4)


@pytest.mark.parametrize("encoder", ["critic", "separate"])
@pytest.mark.parametrize("cnn", ["mnih", "perot"])
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_every_group_has_its_parameters_and_moves(encoder, cnn, memory):
    params = params_with(**(SMALL | {"camera__height_px": 48}), encoder=encoder, cnn=cnn, memory=memory, policy_delay=1)
    agent = TD3(NetworkSpec.of(params, 3, 2), params, torch.device("cpu"), torch.Generator())
    groups = [group["name"] for clipped in agent.optimizers for group in clipped.optimizer.param_groups]
    own = ["cnn", "memory"] if memory == "gru" else ["cnn"]
    actor = [f"actor_{name}" for name in own] if encoder == "separate" else []
    assert groups == [*actor, "actor_head", *(f"critic_{name}" for name in own), "critic_head"]
    data = batch(4)
    frames = torch.randint(0, 256, (2, 4, 3, 48, 36), dtype=torch.uint8)
    before = weights(agent.actor) + weights(agent.critic)
    agent.update(type(data)(**(vars(data) | {"frames": frames[0], "next_frames": frames[1]})))
    after = weights(agent.actor) + weights(agent.critic)
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_without_a_cnn_each_head_has_two_layers_and_nothing_is_shared():
    spec = NetworkSpec.of(params_with(cnn="none", observation="state", feature_units=40, hidden_units=30), 5, 2)
    actor, critic = Actor(spec), Critic(spec)
    assert actor.encoder is critic.encoder is None
    assert [tuple(p.shape) for p in actor.parameters() if p.ndim == 2] == [(40, 5), (30, 40), (2, 30)]
    assert [tuple(p.shape) for p in critic.q2.parameters() if p.ndim == 2] == [(40, 7), (30, 40), (1, 30)]
    frames = torch.zeros(6, 3, 0, 0, dtype=torch.uint8)
    assert critic.features(frames).shape == (6, 0)
    assert actor(critic.features(frames), torch.zeros(6, 5)).shape == (6, 2)


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_the_actors_last_layer_begins_at_its_scale_of_pytorchs_own_start(scale):
    torch.manual_seed(0)
    plain = Actor(spec_of(actor_init_scale=1.0)).head.out
    torch.manual_seed(0)
    scaled = Actor(spec_of(actor_init_scale=scale)).head.out
    assert torch.equal(scaled.weight, plain.weight * scale)
    assert torch.equal(scaled.bias, plain.bias * scale) and bool(plain.bias.abs().min() > 0)


def test_ddpg_has_one_critic_and_steps_actor_and_targets_in_every_update():
    params = params_with(**SMALL, algorithm="ddpg", policy_delay=3)
    agent = TD3(NetworkSpec.of(params, 3, 2), params, torch.device("cpu"), torch.Generator())
    assert agent.critic.q2 is None
    before, state = weights(agent.actor), agent.generator.get_state()
    agent.update(batch())
    assert not same(before, weights(agent.actor))
    assert torch.equal(state, agent.generator.get_state())  # no target noise was drawn
