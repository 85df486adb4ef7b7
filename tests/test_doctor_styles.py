"""The doctor on loops of unusual styles: closures, clips by hand, half precision, and logs that equal nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import clipdrive
from test_doctor_watch import LIMIT, Loop, by_hand, one_thread  # noqa: F401 - fixture


def parameters(loop: Loop) -> list[nn.Parameter]:
    return list(loop.net.parameters())


def run(turn, loop: Loop | None = None, updates: int = 6) -> clipdrive.doctor.Probe:
    """`turn(loop, probe)` makes of a fresh gradient a step."""
    loop = loop or Loop()
    with loop.watch() as probe:
        for _ in range(updates):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            turn(loop, probe)
    return probe


def step_with(clip):
    def turn(loop: Loop, probe: object) -> None:
        clip(parameters(loop), LIMIT)
        loop.optimizer.step()

    return turn


def through_data(tensors, limit):
    factor = min(1.0, limit / float(torch.stack([p.grad.norm() for p in tensors]).norm()))
    for p in tensors:
        p.grad.data.mul_(factor)


def in_its_place(tensors, limit):
    factor = min(1.0, limit / float(torch.stack([p.grad.norm() for p in tensors]).norm()))
    for p in tensors:
        p.grad = p.grad * factor


def each(clip):
    return lambda tensors, limit: [clip([p], limit) for p in tensors]


@pytest.mark.parametrize(
    ("clip", "named"),
    [
        (through_data, set()),
        (each(through_data), {"limit per layer"}),
        (lambda tensors, limit: [p.grad.data.clamp_(-limit, limit) for p in tensors], {"limit on values"}),
        (lambda tensors, limit: clip_grad_norm_(tensors, limit, norm_type=1), set()),
    ],
    ids=["whole", "per tensor", "per entry", "1-norm"],
)
def test_a_clip_that_torch_does_not_count_as_a_change_is_seen(clip, named):
    assert run(step_with(clip), Loop(1e4)).faults == named


@pytest.mark.parametrize("clip", [by_hand, through_data])
def test_a_backward_after_a_clip_by_hand_is_named_and_nothing_else(clip):
    def turn(loop: Loop, probe: object) -> None:
        clip(parameters(loop), LIMIT)
        loop.loss().backward()
        loop.optimizer.step()

    assert run(turn).faults == {"backward after clip"}


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("clip", [through_data, in_its_place])
def test_a_late_clip_by_hand_is_named_though_it_is_cleared_afterwards(clip, set_to_none):
    def turn(loop: Loop, probe: object) -> None:
        loop.optimizer.step()
        clip(parameters(loop), LIMIT)
        loop.optimizer.zero_grad(set_to_none=set_to_none)

    probe = run(turn, loop := Loop())
    assert probe.faults == {"clip after step"}
    assert "zero_grad" not in vars(loop.optimizer)


LATE = {
    "stepped but not clipped": lambda tensors: clip_grad_norm_(tensors[2:], LIMIT),
    "limit per layer": lambda tensors: [clip_grad_norm_([p], LIMIT) for p in tensors],
    "limit on values": lambda tensors: clip_grad_value_(tensors, LIMIT),
    "exhausted generator": lambda tensors: clip_grad_norm_(iter(()), LIMIT),
}


@pytest.mark.filterwarnings("ignore:`parameters` is an empty generator")
@pytest.mark.parametrize("fault", LATE)
def test_what_else_is_wrong_with_a_late_clip_is_named_as_well(fault):
    def turn(loop: Loop, probe: object) -> None:
        loop.optimizer.step()
        LATE[fault](parameters(loop))

    probe = run(turn)
    assert probe.faults == {"clip after step", fault}
    assert max(finding.count for finding in probe.findings) <= 6  # once a step, not once a call


@pytest.mark.filterwarnings("ignore:`parameters` is an empty generator")
@pytest.mark.parametrize("partner", ["exhausted generator", "stepped but not clipped", "backward after clip"])
def test_a_clip_of_scaled_gradients_is_named_beside_another_fault(partner):
    def turn(loop: Loop, probe: object) -> None:
        tensors = parameters(loop)
        skipped = {"exhausted generator": 4, "stepped but not clipped": 2}.get(partner, 0)
        clip_grad_norm_(iter(tensors[skipped:]), LIMIT)
        if partner == "backward after clip":
            loop.loss().backward()
        torch._foreach_div_([p.grad for p in tensors], 256.0)
        loop.optimizer.step()

    assert run(turn, Loop(256.0 * 100.0)).faults == {"clip on scaled gradients", partner}


@pytest.mark.filterwarnings("ignore:`parameters` is an empty generator")
def test_a_backward_after_an_exhausted_clip_is_named_as_well():
    def turn(loop: Loop, probe: object) -> None:
        clip_grad_norm_(iter(()), LIMIT)
        loop.loss().backward()
        loop.optimizer.step()

    assert run(turn).faults == {"exhausted generator", "backward after clip"}


def test_a_clip_of_each_micro_batch_is_sound():
    def turn(loop: Loop, probe: object) -> None:
        for _ in range(3):
            clip_grad_norm_(parameters(loop), LIMIT)
            loop.loss().backward()
        clip_grad_norm_(parameters(loop), LIMIT)
        loop.optimizer.step()

    assert run(turn).sound


def test_a_look_at_another_gradient_between_clip_and_step_is_sound():
    def turn(loop: Loop, probe: object) -> None:
        clip_grad_norm_(parameters(loop), LIMIT)
        torch.autograd.grad(loop.loss(), parameters(loop))
        loop.optimizer.step()

    assert run(turn).sound


@pytest.mark.parametrize("fault", [None, "norm logged before clipping", "clip after step"])
def test_gradients_that_no_backward_accumulates_are_judged(fault):
    loop = Loop()
    with loop.watch() as probe:
        for _ in range(6):
            gradients = torch.autograd.grad(loop.loss(), parameters(loop))
            for p, gradient in zip(loop.net.parameters(), gradients, strict=True):
                p.grad = gradient
            before = None if fault == "clip after step" else clip_grad_norm_(parameters(loop), LIMIT)
            loop.optimizer.step()
            if fault == "clip after step":
                clip_grad_norm_(parameters(loop), LIMIT)
            elif fault:
                probe.logged("net", before)
    assert probe.faults == ({fault} if fault else set()), str(probe)


CLOSURES = {
    "": lambda tensors: clip_grad_norm_(tensors, LIMIT),
    "limit per layer": lambda tensors: [clip_grad_norm_([p], LIMIT) for p in tensors],
    "limit on values": lambda tensors: clip_grad_value_(tensors, LIMIT),
    "exhausted generator": lambda tensors: clip_grad_norm_(iter(()), LIMIT),
    "stepped but not clipped": lambda tensors: None,
}


@pytest.mark.filterwarnings("ignore:`parameters` is an empty generator")
@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("fault", CLOSURES)
def test_a_step_that_calls_a_closure_is_judged_by_what_the_closure_leaves(fault, by_name):
    loop = Loop(1e4)
    loop.optimizer = torch.optim.LBFGS(loop.net.parameters(), 1e-4, max_iter=2)

    def closure():
        loop.optimizer.zero_grad()
        loss = loop.loss()
        loss.backward()
        CLOSURES[fault](parameters(loop))
        return loss

    with loop.watch() as probe:
        for _ in range(4):
            loop.optimizer.step(closure=closure) if by_name else loop.optimizer.step(closure)
    assert probe.faults == ({fault} if fault else set()), str(probe)
    assert probe.groups[0].steps == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_rounding_of_half_precision_is_no_fault(dtype):
    torch.manual_seed(0)
    net = nn.Linear(64, 64).to(dtype)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    with clipdrive.doctor.watch(optimizer, {"net": net}, 0.5, say=None) as probe:
        for _ in range(40):
            optimizer.zero_grad()
            (30.0 * net(torch.randn(16, 64, dtype=dtype)).square().mean()).backward()
            clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
    assert probe.sound, str(probe)


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_that_a_scaler_skips_is_no_fault(fused):
    loop = Loop()
    loop.optimizer = torch.optim.Adam(loop.net.parameters(), fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with loop.watch() as probe:
        for update in range(6):
            loop.optimizer.zero_grad()
            scaler.scale(loop.loss() * (float("inf") if update == 2 else 1.0)).backward()
            scaler.unscale_(loop.optimizer)
            clip_grad_norm_(loop.net.parameters(), LIMIT)
            scaler.step(loop.optimizer)
            scaler.update()
    assert probe.sound, str(probe)


def test_a_frozen_group_is_no_dead_one():
    loop = Loop()
    loop.net[0].requires_grad_(False)
    groups = {"first": loop.net[0], "last": loop.net[2]}
    with clipdrive.doctor.watch(loop.optimizer, groups, LIMIT, say=None) as probe:
        for _ in range(4):
            loop.optimizer.zero_grad()
            loop.loss().backward()
            clip_grad_norm_(loop.net.parameters(), LIMIT)
            loop.optimizer.step()
    assert probe.sound, str(probe)


def test_sparse_gradients_are_measured():
    table, head = nn.Embedding(9, 4, sparse=True), nn.Linear(4, 1)
    optimizers = [torch.optim.SparseAdam(table.parameters()), torch.optim.Adam(head.parameters())]
    with clipdrive.doctor.watch(optimizers, {"table": table, "head": head}, {"head": LIMIT}, say=None) as probe:
        for _ in range(4):
            for optimizer in optimizers:
                optimizer.zero_grad()
            head(table(torch.tensor([1, 2, 2]))).square().sum().backward()
            clip_grad_norm_(head.parameters(), LIMIT)
            for optimizer in optimizers:
                optimizer.step()
    assert probe.sound and probe.groups[0].largest_after > 0.0, str(probe)


def test_a_dead_layer_of_a_group_that_lives_is_named():
    loop = Loop()
    nn.init.constant_(loop.net[0].bias, -1e3)  # every ReLU is dead, the last bias learns
    probe = run(step_with(clip_grad_norm_), loop)
    assert probe.faults == {"dead gradient"}
    assert "vanishing in net.0.weight, net.2.weight" in probe.findings[0].detail


def test_weights_that_are_not_finite_are_named_though_no_step_is_taken():
    loop = Loop()
    nn.init.constant_(loop.net[0].weight, float("nan"))
    with loop.watch() as probe:
        pass
    assert probe.faults == {"non-finite"}


@pytest.mark.parametrize("over", [1, 5])
def test_rounded_honest_logs_equal_a_wrong_norm_only_by_chance(over):
    """Norms on both sides of the limit, logged before the step, or as a mean over some steps."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), 1e-4)
    norms = []
    with clipdrive.doctor.watch(optimizer, {"net": net}, 0.5, say=None) as probe:
        for _ in range(400):
            optimizer.zero_grad()
            (0.25 * F.mse_loss(net(torch.randn(8, 3)), torch.randn(8, 1))).backward()
            clip_grad_norm_(net.parameters(), 0.5)
            norms.append(float(clip_grad_norm_(net.parameters(), float("inf"))))
            if len(norms) == over:
                probe.logged("net", round(sum(norms) / over, 2))
                norms.clear()
            optimizer.step()
    assert probe.sound, str(probe)
    assert (len(probe.groups[0].unexplained) > 40) == (over > 1)  # of 400 and of 80


def test_what_is_shared_is_said_once_with_its_tensors():
    loop = Loop()
    both = [loop.optimizer, torch.optim.Adam(loop.net.parameters())]
    with clipdrive.doctor.watch({"actor": both[0], "critic": both[1]}, {"net": loop.net}, say=None) as probe:
        pass
    assert [str(finding) for finding in probe.findings] == [
        "shared CNN: net.0.weight, net.0.bias, net.2.weight and 1 more: held by actor and critic"
    ]


def test_the_sum_of_the_norms_of_layers_is_named():
    def turn(loop: Loop, probe: clipdrive.doctor.Probe) -> None:
        clip_grad_norm_(parameters(loop), LIMIT)
        layers = (loop.net[0], loop.net[2])
        probe.logged("net", sum(float(torch.stack([p.grad.norm() for p in m.parameters()]).norm()) for m in layers))
        loop.optimizer.step()

    probe = run(turn)
    assert probe.faults == {"sum of per-tensor norms"} and "norms of 2 layers in the step" in str(probe)


def test_a_faulty_log_is_named_though_the_loop_ends_without_a_finite_norm():
    def turn(loop: Loop, probe: clipdrive.doctor.Probe) -> None:
        loop.scale = float("inf") if len(probe.groups[0].norms) == 2 else loop.scale
        probe.logged("net", clip_grad_norm_(parameters(loop), LIMIT))
        loop.optimizer.step()

    assert run(turn, updates=9).faults == {"norm logged before clipping", "non-finite"}
