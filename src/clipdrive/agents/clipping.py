"""The only place that calls `backward()` and an optimiser's `step()`: clip per group, measure what the step uses.

One call: zero, backward, measure, clip, then measure again inside the optimiser's step pre-hook, so that nothing
between clip and step can hide; what is not finite or above its limit is refused there, before any weight changes.
All norms of a step come from the device in one transfer. Groups are the optimiser's own named parameter groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clipdrive.agents.norms import GroupNorms, LayerNorms, NormRecord
from clipdrive.agents.structure import GroupError

TOLERANCE = 1e-5  # relative: a norm clipped to its limit may exceed it by rounding


class ClippingError(RuntimeError):
    """A clipped norm exceeds its limit at the step, or a gradient is not finite. No weight has changed."""


@dataclass(frozen=True)
class Rule:
    """How a group is clipped.

    norm: its 2-norm to at most `limit`. value: each entry into -limit..limit. adaptive (AutoClip, Seetharaman et al.
    2020): its 2-norm to at most the `percentile` of its last `history` norms, and to at most `limit`. None: no limit.
    """

    limit: float | None
    kind: str = "norm"
    percentile: float = 90.0
    history: int = 1000


def rules_of(params: Any) -> dict[str, Rule]:
    """The rule of each group that the sections `clip` and `clip_kind` of the params name."""
    clip = params.clip
    return {
        name: Rule(getattr(clip, name), kind, clip.percentile, clip.history_updates)
        for name, kind in vars(params.clip_kind).items()
    }


class ClippedOptimizer:
    """An optimiser whose every step is clipped per group and measured where it counts.

    `limits` maps each group's name to its Rule, or for short to its largest 2-norm (None: no limit). `record` holds
    every norm so far.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, limits: Mapping[str, Rule | float | None]) -> None:
        names = [group["name"] for group in optimizer.param_groups]
        if len(set(names)) != len(names) or set(names) != set(limits):
            raise GroupError(f"limits for {sorted(limits)} do not match the groups {sorted(names)}")
        self.optimizer = optimizer
        self.rules = {name: rule if isinstance(rule, Rule) else Rule(rule) for name, rule in limits.items()}
        self.record = NormRecord({name: rule.limit for name, rule in self.rules.items()})
        self._places = _places(optimizer.param_groups)
        self._before = self._after = None  # _Norms of the step that is being taken
        self._limits: dict[str, float | None] = {}
        self._step: dict[str, GroupNorms] = {}
        optimizer.register_step_pre_hook(self._measure_at_step)

    def step(self, loss: Tensor, measure_update: bool = False) -> dict[str, GroupNorms]:
        """Minimise `loss` (scalar) by one step; returns each group's norms, with `measure_update` each layer's too.

        No parameter of others is given a gradient, whatever the loss went through.
        Raises ClippingError before any weight changes when a gradient is not finite or exceeds its limit.
        """
        groups = self.optimizer.param_groups
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=[p for group in groups for p in group["params"]])
        self._before = _Norms(groups, self.rules)
        for number, group in enumerate(groups):
            self._clip(group, self._before.groups[number])
        weights = [p.detach().clone() for group in groups for p in group["params"]] if measure_update else None
        self.optimizer.step()
        if weights is not None:
            self._add_updates(weights)
        for name, norms in self._step.items():
            self.record.add(name, norms)
        return self._step

    @property
    def layers(self) -> list[str]:
        """The layers of all groups by name, e.g. `critic_cnn.conv1`."""
        return [layer for places in self._places.values() for layer in places]

    def set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def _clip(self, group: dict[str, Any], norm: Tensor) -> None:
        name = group["name"]
        rule = self.rules[name]
        limit = rule.limit
        if rule.kind == "adaptive":
            newest = float(norm)
            if not math.isfinite(newest):
                return  # refused at the step
            own = self.record.percentile(name, newest, rule.percentile, rule.history)
            limit = own if limit is None else min(own, limit)
        self._limits[name] = limit
        if limit is None:
            return
        if rule.kind == "value":
            torch.nn.utils.clip_grad_value_(group["params"], limit)
        else:
            torch.nn.utils.clip_grads_with_norm_(group["params"], limit, norm)

    def _measure_at_step(self, *_: Any) -> None:
        """The step's pre-hook: measure what the step is about to use, and refuse it where it is not sound."""
        before, after = self._before, _Norms(self.optimizer.param_groups, self.rules)
        _to_host(before, after)
        for norms in (before, after):
            for number, group in enumerate(self.optimizer.param_groups):
                if not math.isfinite(norms.groups[number]):
                    where = self._first_not_finite(group, norms)
                    raise ClippingError(f"gradient of {where} is not finite; the step was not taken")
        self._step, self._after = {}, after
        for number, group in enumerate(self.optimizer.param_groups):
            name = group["name"]
            limit = self._limits[name]
            clipped = limit is not None and before.bounded[number] > limit
            norms = GroupNorms(before.groups[number], after.groups[number], clipped, limit)
            self._step[name] = norms
            if limit is not None and after.bounded[number] > limit * (1.0 + TOLERANCE):
                self.record.add_violation(name, norms)
                what = "an entry of size" if self.rules[name].kind == "value" else "a gradient of norm"
                raise ClippingError(
                    f"group {name}: the step would use {what} {after.bounded[number]:.6g}, allowed: {limit:g} "
                    f"(norm before the clip {before.groups[number]:.6g}); the step was not taken"
                )

    @torch.no_grad()
    def _add_updates(self, old: list[Tensor]) -> None:
        """Put |update| / |weights| and the layers' norms into what the pre-hook measured."""
        new = [p.detach() for group in self.optimizer.param_groups for p in group["params"]]
        sizes = [*torch._foreach_norm(torch._foreach_sub(new, old)), *torch._foreach_norm(old)]
        values = torch.stack(sizes).tolist()
        moved, weights = values[: len(old)], values[len(old) :]
        for name, places in self._places.items():
            layers = {
                layer: LayerNorms(
                    _total(self._before.tensors, rows),
                    _total(self._after.tensors, rows),
                    _ratio(_total(moved, rows), _total(weights, rows)),
                )
                for layer, rows in places.items()
            }
            rows = [row for rows in places.values() for row in rows]
            ratio = _ratio(_total(moved, rows), _total(weights, rows))
            self._step[name] = replace(self._step[name], update_ratio=ratio, layers=layers)

    def _first_not_finite(self, group: dict[str, Any], norms: _Norms) -> str:
        rows = [row for rows in self._places[group["name"]].values() for row in rows]
        for layer, row in zip(group["layers"], sorted(rows), strict=True):
            if not math.isfinite(norms.tensors[row]):
                return layer
        return f"group {group['name']} (its norm overflows)"


class _Norms:
    """Norms of all gradients at one moment: of each tensor, of each group, and what the group's limit bounds.

    On the device as tensors, on the host as numbers. A parameter without a gradient counts as 0.
    """

    @torch.no_grad()
    def __init__(self, groups: Sequence[dict[str, Any]], rules: Mapping[str, Rule]) -> None:
        parameters = [p for group in groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        measured = iter(torch._foreach_norm(gradients) if gradients else ())
        zero = torch.zeros((), device=parameters[0].device)
        self.tensors: Any = [zero if p.grad is None else next(measured) for p in parameters]
        self.groups: Any = []
        self.bounded: Any = []
        rows = iter(self.tensors)
        for group in groups:
            norm = torch.linalg.vector_norm(torch.stack([next(rows) for _ in group["params"]]))
            self.groups.append(norm)
            by_value = rules[group["name"]].kind == "value"
            self.bounded.append(_largest_entry(group, zero) if by_value else norm)


def _to_host(*norms: _Norms) -> None:
    """Turn all tensors into numbers in one transfer."""
    parts = [(n, name) for n in norms for name in ("tensors", "groups", "bounded")]
    values = torch.stack([value for n, name in parts for value in getattr(n, name)]).tolist()
    for n, name in parts:
        length = len(getattr(n, name))
        setattr(n, name, values[:length])
        values = values[length:]


def _largest_entry(group: dict[str, Any], zero: Tensor) -> Tensor:
    gradients = [p.grad for p in group["params"] if p.grad is not None]
    return torch.stack([zero, *torch._foreach_norm(gradients, math.inf)]).max()


def _places(groups: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """For each group its layers (weights and bias together), and where their tensors stand among the optimiser's."""
    result: dict[str, dict[str, list[int]]] = {}
    place = 0
    for group in groups:
        layers = result.setdefault(group["name"], {})
        for name in group["layers"]:
            layers.setdefault(name.rpartition(".")[0], []).append(place)
            place += 1
    return result


def _total(norms: Sequence[float], rows: Sequence[int]) -> float:
    return math.hypot(*(norms[row] for row in rows))


def _ratio(moved: float, weights: float) -> float:
    return moved / weights if weights > 0.0 else 0.0

