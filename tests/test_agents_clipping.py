"""Clipping: what the step uses is measured, bounded and certified."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from clipdrive.agents.clipping import ClippedOptimizer, ClippingError, Rule
from clipdrive.agents.structure import GroupError, certified_structure, named_groups, require_cover


def linear(value: float = 1.0) -> nn.Linear:
    layer = nn.Linear(2, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def sgd(limit: float | None, *layers: nn.Linear) -> ClippedOptimizer:
    groups = named_groups(**{f"g{i}": layer for i, layer in enumerate(layers)})
    optimizer = torch.optim.SGD(groups, lr=1.0)
    return ClippedOptimizer(optimizer, {f"g{i}": limit for i in range(len(layers))})


def test_clipped_step_moves_by_the_limit_along_the_gradient():
    layer = linear()
    clipped = sgd(0.5, layer)
    norms = clipped.step(layer(torch.tensor([[3.0, 4.0]])).sum())["g0"]  # gradient (3, 4), norm 5
    assert norms.before == pytest.approx(5.0)
    assert norms.after == pytest.approx(0.5, rel=1e-5)
    assert norms.clipped
    assert layer.weight.tolist()[0] == pytest.approx([1 - 0.3, 1 - 0.4], rel=1e-5)


def test_no_limit_and_a_limit_above_the_norm_leave_the_gradient():
    for limit in (None, 6.0):
        layer = linear()
        norms = sgd(limit, layer).step(layer(torch.tensor([[3.0, 4.0]])).sum())["g0"]
        assert norms.after == pytest.approx(5.0) and not norms.clipped
        assert layer.weight.tolist()[0] == pytest.approx([-2.0, -3.0])


def test_groups_are_clipped_each_by_its_own_norm():
    first, second = linear(), linear()
    clipped = sgd(1.0, first, second)
    x = torch.tensor([[3.0, 4.0]])
    norms = clipped.step((first(x) * 10 + second(x) * 0.1).sum())
    assert norms["g0"].before == pytest.approx(50.0) and norms["g0"].after == pytest.approx(1.0, rel=1e-5)
    assert norms["g1"].before == pytest.approx(0.5) and norms["g1"].after == pytest.approx(0.5)


def test_update_ratio_is_the_update_over_the_weights():
    layer = linear()
    norms = sgd(None, layer).step(layer(torch.tensor([[3.0, 4.0]])).sum(), measure_update=True)["g0"]
    assert norms.update_ratio == pytest.approx(5.0 / math.sqrt(2.0))


def test_trap_06_every_step_is_clipped_not_only_the_first_as_with_an_exhausted_generator():
    layer = linear()
    clipped = sgd(1.0, layer)
    for _ in range(2):
        norms = clipped.step(layer(torch.tensor([[3.0, 4.0]])).sum())["g0"]
        assert norms.before > 0.0
        assert 0.0 < norms.after <= 1.0 * (1 + 1e-5)


def test_trap_07_a_parameter_outside_every_group_or_in_two_is_an_error():
    first, second = linear(), linear()
    optimizer = torch.optim.SGD(named_groups(g0=first), lr=1.0)
    with pytest.raises(GroupError, match="no group"):
        require_cover([first, second], [optimizer])
    both = torch.optim.SGD(named_groups(g0=first), lr=1.0)
    with pytest.raises(GroupError, match="two groups"):
        require_cover([first], [optimizer, both])
    require_cover([first], [optimizer])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_trap_08_a_gradient_that_is_not_finite_stops_before_the_step(poison):
    layer = linear()
    clipped = sgd(1.0, layer)
    with pytest.raises(ClippingError, match="g0.weight is not finite"):
        clipped.step(layer(torch.tensor([[poison, 4.0]])).sum())
    assert layer.weight.tolist()[0] == [1.0, 1.0]
    assert len(clipped.record.before["g0"]) == 0


def test_trap_15_the_tolerance_for_rounding_is_tight():
    layer = linear()
    clipped = sgd(1.0, layer)
    handle = clipped.optimizer.register_step_pre_hook(lambda *_: None)
    torch.manual_seed(0)
    for _ in range(200):
        norms = clipped.step(layer(torch.randn(1, 2) * 100).sum())["g0"]
        assert norms.after <= 1.0 * (1 + 1e-5)
    handle.remove()
    assert clipped.record.violations == 0


def test_a_gradient_altered_after_the_clip_is_a_violation_and_no_step(monkeypatch):
    layer = linear()
    clipped = sgd(1.0, layer)
    real = torch.nn.utils.clip_grads_with_norm_

    def clip_then_spoil(parameters, *args, **kwargs):
        parameters = list(parameters)
        real(parameters, *args, **kwargs)
        parameters[0].grad.mul_(3.0)

    monkeypatch.setattr(torch.nn.utils, "clip_grads_with_norm_", clip_then_spoil)
    with pytest.raises(ClippingError, match="group g0: the step would use a gradient of norm 3"):
        clipped.step(layer(torch.tensor([[3.0, 4.0]])).sum())
    assert layer.weight.tolist()[0] == [1.0, 1.0]
    assert clipped.record.violations == 1


def test_limits_must_name_the_groups():
    with pytest.raises(GroupError, match="do not match"):
        ClippedOptimizer(torch.optim.SGD(named_groups(g0=linear()), lr=1.0), {"other": 1.0})


def test_the_record_holds_share_mean_and_largest_norms():
    layer = linear()
    clipped = sgd(2.0, layer)
    for scale in (1.0, 2.0, 3.0, 4.0):
        clipped.step(layer(torch.tensor([[scale, 0.0]])).sum())
    row = clipped.record.summary()["g0"]
    assert row["updates"] == 4 and row["clipped_share"] == 0.5 and row["limit"] == 2.0
    assert row["before_mean"] == pytest.approx(2.5) and row["before_max"] == pytest.approx(4.0)
    assert row["after_max"] == pytest.approx(2.0, rel=1e-5)


def test_only_clipping_calls_backward_and_step():
    import ast
    from pathlib import Path

    import clipdrive

    callers = {}
    for path in Path(clipdrive.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "backward":
                    callers.setdefault("backward", set()).add(path.name)
                owner = ast.unparse(node.func.value)
                if node.func.attr == "step" and owner.endswith("optimizer") and "_optimizer" not in owner:
                    callers.setdefault("step", set()).add(path.name)
    assert callers == {"backward": {"clipping.py"}, "step": {"clipping.py"}}


def test_by_value_bounds_each_entry():
    layer = linear()
    clipped = sgd(Rule(3.5, "value"), layer)
    norms = clipped.step(layer(torch.tensor([[3.0, 4.0]])).sum())["g0"]
    assert norms.clipped and norms.before == pytest.approx(5.0)
    assert norms.after == pytest.approx(math.hypot(3.0, 3.5))
    assert layer.weight.tolist()[0] == pytest.approx([-2.0, -2.5])
    assert not clipped.step(layer(torch.tensor([[3.0, 3.4]])).sum())["g0"].clipped


def test_adaptive_clips_at_the_percentile_of_its_own_last_norms():
    layer = linear()
    clipped = sgd(Rule(None, "adaptive", percentile=50.0, history=3), layer)
    steps = [clipped.step(layer(torch.tensor([[scale, 0.0]])).sum())["g0"] for scale in (4.0, 1.0, 9.0, 2.0)]
    # medians of (4), (4, 1), (4, 1, 9), (1, 9, 2)
    assert [norms.limit for norms in steps] == pytest.approx([4.0, 2.5, 4.0, 2.0])
    assert [norms.after for norms in steps] == pytest.approx([4.0, 1.0, 4.0, 2.0], rel=1e-5)
    assert [norms.clipped for norms in steps] == [False, False, True, False]
    again = sgd(Rule(None, "adaptive", percentile=50.0, history=3), layer)
    again.record.load_state(clipped.record.state())
    assert again.step(layer(torch.tensor([[9.0, 0.0]])).sum())["g0"].limit == pytest.approx(9.0)  # of (9, 2, 9)


def test_adaptive_never_passes_the_limit_of_the_params():
    layer = linear()
    clipped = sgd(Rule(2.0, "adaptive", percentile=50.0, history=3), layer)
    norms = clipped.step(layer(torch.tensor([[4.0, 0.0]])).sum())["g0"]
    assert norms.limit == 2.0 and norms.after == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("rule", [Rule(1.0), Rule(1.0, "value"), Rule(1.0, "adaptive")])
def test_the_layer_that_is_not_finite_is_named_whatever_the_clip_made_of_the_others(rule):
    net = nn.Sequential(linear(), nn.Linear(1, 1))
    clipped = ClippedOptimizer(torch.optim.SGD(named_groups(g0=net), lr=1.0), {"g0": rule})
    net[1].weight.register_hook(lambda gradient: gradient * float("nan"))
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(ClippingError, match="gradient of g0.1.weight is not finite"):
        clipped.step(net(torch.tensor([[3.0, 4.0]])).sum())
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_layers_hold_weight_and_bias_together():
    layer = nn.Linear(2, 1)
    nn.init.constant_(layer.weight, 1.0)
    nn.init.constant_(layer.bias, 1.0)
    clipped = ClippedOptimizer(torch.optim.SGD(named_groups(a={"x": layer}), lr=0.1), {"a": 1.0})
    row = clipped.step(layer(torch.tensor([[2.0, 2.0]])).sum(), measure_update=True)["a"].layers["a.x"]
    assert row.before == pytest.approx(3.0)  # (2, 2) and 1
    assert row.after == pytest.approx(1.0, rel=1e-5)
    assert row.update_ratio == pytest.approx(0.1 / math.sqrt(3.0), rel=1e-5)


def test_the_certificate_holds_norms_after_too():
    layer = linear()
    clipped = sgd(2.0, layer)
    for scale in (1.0, 4.0):
        clipped.step(layer(torch.tensor([[scale, 0.0]])).sum())
    row = clipped.record.summary()["g0"]
    assert row["after_mean"] == pytest.approx(1.5, rel=1e-5) and row["after_p99"] == pytest.approx(1.99, rel=1e-5)


class TestStructure:
    def test_counts(self):
        actor, critic = linear(), linear()
        optimizer = torch.optim.SGD(named_groups(actor=actor, critic=critic), lr=1.0)
        target = linear().requires_grad_(False)
        counts = certified_structure({"actor": actor, "critic": critic}, {"target": target}, [optimizer])
        assert counts == {"parameters": 2, "parameters_in_one_group": 2, "shared": 0}

    def test_a_module_that_both_hold_is_refused(self):
        cnn = linear()
        actor, critic = nn.ModuleDict({"cnn": cnn, "a": linear()}), nn.ModuleDict({"eye": cnn, "c": linear()})
        optimizer = torch.optim.SGD(named_groups(g=[actor, critic["c"]]), lr=1.0)
        with pytest.raises(GroupError, match="actor.cnn and critic.eye are one module"):
            certified_structure({"actor": actor, "critic": critic}, {}, [optimizer])

    def test_a_target_that_shares_weights_with_what_is_stepped_is_refused(self):
        actor, target = linear(), linear().requires_grad_(False)
        target.weight.data = actor.weight.data
        with pytest.raises(GroupError, match="target.weight is a target's and lies in an optimiser"):
            certified_structure({"actor": actor}, {"target": target}, [torch.optim.SGD(named_groups(g=actor), lr=1.0)])

    def test_a_target_that_takes_gradients_is_refused(self):
        actor = linear()
        with pytest.raises(GroupError, match="targets only follow"):
            certified_structure({"actor": actor}, {"target": linear()}, [torch.optim.SGD(named_groups(g=actor), lr=1)])
