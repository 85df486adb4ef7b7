"""The doctor around other people's loops: each fault planted and named, and nothing named where nothing is wrong."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from benchmarks import riddle
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import clipdrive
from clipdrive.doctor import FAULTS, WatchError

LIMIT = 0.05


@pytest.fixture(autouse=True)
def one_thread():
    """These networks are tiny: a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_and_no_other(fault):
    assert riddle.run({fault}, updates=7).faults == {fault}


def test_nothing_is_named_where_nothing_is_planted():
    assert riddle.run(set(), updates=7).sound


LOGS = ("norm logged before clipping", "sum of per-tensor norms")
PAIRS = [
    *itertools.product(LOGS, ("stepped but not clipped", "dead gradient", "shared CNN", "backward after clip")),
    ("exhausted generator", "gradients left over from another loss"),
    ("exhausted generator", "dead gradient"),
    ("clip after step", "shared CNN"),
    ("clip after step", "gradients left over from another loss"),
    ("backward after clip", "limit per layer"),
    ("backward after clip", "stepped but not clipped"),
    ("clip on scaled gradients", "limit per layer"),
    ("clip on scaled gradients", "norm logged before clipping"),
    ("limit per layer", "gradients left over from another loss"),
    ("non-finite", "norm logged before clipping"),
    ("dead gradient", "limit on values"),
]


@pytest.mark.parametrize("faults", PAIRS, ids=" + ".join)
def test_two_faults_at_once_are_both_named(faults):
    assert riddle.run(set(faults), updates=7).faults >= set(faults)


class Loop:
    """A regression of one network, step by step, for what the riddle's loop has not."""

    def __init__(self, scale: float = 100.0):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.scale = scale

    def loss(self) -> torch.Tensor:
        return self.scale * F.mse_loss(self.net(torch.randn(16, 3)), torch.ones(16, 1))

    def watch(self, say=None, **kwargs):
        return clipdrive.doctor.watch(self.optimizer, {"net": self.net}, {"net": LIMIT}, say=say, **kwargs)


def by_hand(parameters, limit):
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad.mul_(min(1.0, limit / float(norm)))
    return norm


def test_a_clip_by_hand_is_sound_and_its_returned_norm_is_not_what_the_step_used():
    loop = Loop()
    with loop.watch() as probe:
        for _ in range(5):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            by_hand(list(loop.net.parameters()), LIMIT)
            loop.optimizer.step()
    assert probe.sound
    with loop.watch() as probe:
        for _ in range(5):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            norm = by_hand(list(loop.net.parameters()), LIMIT)
            loop.optimizer.step()
            probe.logged("net", float(norm))
    assert probe.faults == {"norm logged before clipping"}


def test_a_late_clip_by_hand_is_named():
    loop = Loop()
    with loop.watch() as probe:
        for _ in range(4):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            loop.optimizer.step()
            by_hand(list(loop.net.parameters()), LIMIT)
    assert probe.faults == {"clip after step"}


def test_no_clip_at_all_is_named():
    loop = Loop()
    with loop.watch() as probe:
        for _ in range(4):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            loop.optimizer.step()
    assert probe.faults == {"stepped but not clipped"}


@pytest.mark.parametrize("what", ["tensors", "layers", "values"])
def test_a_limit_per_tensor_layer_or_entry_by_hand_is_named(what):
    loop = Loop(1e4)
    with loop.watch() as probe:
        for _ in range(4):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            for layer in (loop.net[0], loop.net[2]):
                for part in [list(layer.parameters())] if what == "layers" else [[p] for p in layer.parameters()]:
                    if what == "values":
                        part[0].grad.clamp_(-LIMIT, LIMIT)
                    else:
                        by_hand(part, LIMIT)
            loop.optimizer.step()
    assert probe.faults == {"limit on values" if what == "values" else "limit per layer"}


@pytest.mark.parametrize("clip_all", [True, False])
def test_what_no_group_holds_is_named_unless_a_clip_holds_it(clip_all):
    loop = Loop()
    with clipdrive.doctor.watch(loop.optimizer, {"last": loop.net[2]}, {"last": LIMIT}, say=None) as probe:
        for _ in range(4):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            clip_grad_norm_((loop.net if clip_all else loop.net[2]).parameters(), LIMIT)
            loop.optimizer.step()
    assert probe.faults == (set() if clip_all else {"stepped but not clipped"})


@pytest.mark.parametrize("set_to_none", [True, False])
def test_clip_before_backward_is_a_backward_after_the_clip(set_to_none):
    loop = Loop()
    with loop.watch() as probe:
        for _ in range(4):
            loop.optimizer.zero_grad(set_to_none=set_to_none)
            clip_grad_norm_(loop.net.parameters(), LIMIT)
            loop.loss().backward()
            loop.optimizer.step()
    assert probe.faults == {"backward after clip"}


@pytest.mark.parametrize("unscale", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_mixed_precision_is_sound_with_unscale_and_named_without(unscale, fused):
    loop = Loop()
    loop.optimizer = torch.optim.Adam(loop.net.parameters(), lr=1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with loop.watch() as probe:
        for _ in range(4):
            loop.optimizer.zero_grad()
            scaler.scale(loop.loss()).backward()
            if unscale:
                scaler.unscale_(loop.optimizer)
            clip_grad_norm_(loop.net.parameters(), LIMIT)
            scaler.step(loop.optimizer)
            scaler.update()
    assert probe.faults == (set() if unscale else {"clip on scaled gradients"})


class ClippingAdam(torch.optim.Adam):
    """Clips in its own step, as agents of other libraries are given a clip."""

    def step(self, closure=None):
        clip_grad_norm_(self.param_groups[0]["params"], LIMIT)
        return super().step(closure)


def test_a_clip_inside_the_step_of_an_own_optimizer_is_sound():
    loop = Loop()
    loop.optimizer = ClippingAdam(loop.net.parameters(), lr=1e-3)
    with loop.watch() as probe:
        for _ in range(4):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            loop.optimizer.step()
    assert probe.sound, str(probe)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_accumulation_over_micro_batches_and_a_look_at_the_norm_are_sound(set_to_none):
    loop = Loop()
    with loop.watch() as probe:
        for _ in range(4):
            loop.optimizer.zero_grad(set_to_none=set_to_none)
            for _ in range(3):
                loop.loss().backward()
            clip_grad_norm_(loop.net.parameters(), LIMIT)
            loop.optimizer.step()
            probe.logged("net", float(clip_grad_norm_(loop.net.parameters(), float("inf"))))
    assert probe.sound, str(probe)


def test_a_rounded_log_is_compared_in_its_own_digits():
    loop = Loop()
    with loop.watch() as probe:
        for _ in range(4):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            norm = clip_grad_norm_(loop.net.parameters(), LIMIT)
            loop.optimizer.step()
            probe.logged("net", round(float(norm), 2))
    assert probe.faults == {"norm logged before clipping"}


def test_a_vanishing_gradient_without_a_tanh_is_named():
    loop = Loop()
    nn.init.constant_(loop.net[0].bias, -1e3)  # every ReLU is dead
    groups = {"first": loop.net[0], "last": loop.net[2]}
    with clipdrive.doctor.watch(loop.optimizer, groups, say=None) as probe:
        for _ in range(4):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            loop.optimizer.step()
    assert [(f.fault, f.group) for f in probe.findings] == [("dead gradient", "first")]


def test_gradients_that_another_networks_loss_left_are_named_though_they_were_never_stepped():
    actor, critic = nn.Linear(3, 2), nn.Linear(5, 1)
    optimizers = {name: torch.optim.SGD(m.parameters(), 1e-3) for name, m in (("actor", actor), ("critic", critic))}
    with clipdrive.doctor.watch(optimizers, say=None) as probe:
        for _ in range(3):
            x = torch.randn(4, 3)
            for optimizer in optimizers.values():
                optimizer.zero_grad()
            critic(torch.cat([x, actor(x)], 1)).mean().backward()
            optimizers["actor"].step()
            critic(torch.cat([x, actor(x).detach()], 1)).square().mean().backward()
            optimizers["critic"].step()
    assert [(f.fault, f.group) for f in probe.findings] == [("gradients left over from another loss", "critic")]


def test_the_watch_leaves_nothing_behind_and_the_numbers_alone():
    def weights(watched: bool) -> list[torch.Tensor]:
        loop = Loop()
        context = loop.watch() if watched else torch.enable_grad()
        with context:
            for _ in range(5):
                loop.optimizer.zero_grad()
                loop.loss().backward()
                clip_grad_norm_(loop.net.parameters(), LIMIT)
                loop.optimizer.step()
        assert not loop.optimizer._optimizer_step_pre_hooks and not loop.optimizer._optimizer_step_post_hooks
        assert all(not p._post_accumulate_grad_hooks and not p._backward_hooks for p in loop.net.parameters())
        return [p.detach() for p in loop.net.parameters()]

    held = [cell.cell_contents for f in (clip_grad_norm_, clip_grad_value_) for cell in f.__closure__]
    assert all(torch.equal(a, b) for a, b in zip(weights(True), weights(False), strict=True))
    assert held == [cell.cell_contents for f in (clip_grad_norm_, clip_grad_value_) for cell in f.__closure__]


def test_the_verdict_is_said_at_the_end_also_of_a_loop_that_fails():
    said = []
    loop = Loop()
    with pytest.raises(KeyError), loop.watch(say=said.append) as probe:
        loop.optimizer.zero_grad()
        (loop.loss() * float("nan")).backward()
        raise KeyError
    assert probe.faults == {"non-finite"}
    assert "FAULT non-finite [net]: the gradient of net.0.weight is not finite" in said[0]
    assert said[0].endswith("not sound: non-finite")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([],), "optimizers: got none"),
        ((["x"],), "optimizers: got str"),
        ((None, {"net": (p for p in ())}), "net holds no parameter"),
        ((None, None, {"nets": 1.0}), "limits: got one for nets, allowed: optimizer"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_one_sentence(arguments, sentence):
    optimizers, *rest = arguments
    watched = clipdrive.doctor.watch(Loop().optimizer if optimizers is None else optimizers, *rest)
    with pytest.raises(WatchError, match=sentence), watched:
        pass


def test_a_log_of_an_unknown_group_is_refused():
    with Loop().watch() as probe, pytest.raises(WatchError, match="got the group 'nets', allowed: net"):
        probe.logged("nets", 1.0)


def test_a_clip_imported_by_name_is_seen_where_torch_has_no_closure_to_exchange(monkeypatch):
    import sys
    import types

    from clipdrive.doctor.interception import ClipCalls

    calls = []
    plain = lambda parameters, max_norm: len(list(parameters))  # noqa: E731
    script = types.ModuleType("a_script_that_imported_it")
    script.clip = plain
    monkeypatch.setitem(sys.modules, script.__name__, script)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", plain)
    watched = ClipCalls(lambda p: len(p), lambda *args: calls.append(args))
    watched.open()
    assert script.clip(iter([1, 2]), max_norm=3.0) == 2
    watched.close()
    assert script.clip is plain and calls == [(2, "norm", 3.0, False, 2.0)]
