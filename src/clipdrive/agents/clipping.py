"""The only place that calls `backward()` and an optimiser's `step()`: clip per group, measure what the step uses.

One call: zero, backward, measure per group, refuse what is not finite, clip, then measure again inside the optimiser's
step pre-hook, so that nothing between clip and step can hide. Groups are the optimiser's own named parameter groups.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 1e-5  # relative: a norm clipped to its limit may exceed it by rounding


class ClippingError(RuntimeError):
    """A clipped norm exceeds its limit at the step, or a gradient is not finite. No weight has changed."""


class GroupError(ValueError):
    """A parameter lies in no group or in two, or a limit names no group."""


@dataclass(frozen=True)
class GroupNorms:
    """One group in one step: 2-norm of its gradient before the clip and in the step's pre-hook.

    `update_ratio` is |update| / |weights| over the group, where it was asked for.
    """

    before: float
    after: float
    clipped: bool
    update_ratio: float | None = None


def named_groups(**groups: nn.Module | Iterable[nn.Module] | None) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, one per name; a name whose modules are None is left out."""
    result = []
    for name, modules in groups.items():
        if modules is None:
            continue
        modules = [modules] if isinstance(modules, nn.Module) else list(modules)
        named = [(f"{name}.{layer}", p) for module in modules for layer, p in module.named_parameters()]
        result.append({"name": name, "params": [p for _, p in named], "layers": [layer for layer, _ in named]})
    return result


def require_cover(modules: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Raise GroupError unless every parameter of `modules` is held by exactly one group of one optimiser."""
    held: dict[int, str] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for layer, parameter in zip(group["layers"], group["params"], strict=True):
                if id(parameter) in held:
                    raise GroupError(f"a parameter is in two groups: {held[id(parameter)]} and {layer}")
                held[id(parameter)] = layer
    wanted = {id(p): name for module in modules for name, p in module.named_parameters()}
    for key, name in wanted.items():
        if key not in held:
            raise GroupError(f"parameter {name} is in no group, so nothing would step or clip it")
    if len(wanted) != len(held):
        raise GroupError(f"{len(held) - len(wanted)} parameters are stepped that belong to no trained module")


class ClippedOptimizer:
    """An optimiser whose every step is clipped per group and measured where it counts.

    `limits` maps each group's name to its largest 2-norm, or None for no limit. `record` holds every norm so far.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, limits: Mapping[str, float | None]) -> None:
        names = [group["name"] for group in optimizer.param_groups]
        if len(set(names)) != len(names) or set(names) != set(limits):
            raise GroupError(f"limits for {sorted(limits)} do not match the groups {sorted(names)}")
        self.optimizer = optimizer
        self.limits = dict(limits)
        self.record = NormRecord(self.limits)
        self._before: dict[str, Tensor] = {}
        self._norms: dict[str, float] = {}
        optimizer.register_step_pre_hook(self._measure_at_step)

    def step(self, loss: Tensor, measure_update: bool = False) -> dict[str, GroupNorms]:
        """Minimise `loss` (scalar) by one step; returns each group's norms.

        Raises ClippingError before any weight changes when a gradient is not finite or exceeds its limit.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        before = {group["name"]: self._norm(group) for group in self.optimizer.param_groups}
        for group in self.optimizer.param_groups:
            limit = self.limits[group["name"]]
            if limit is not None:
                torch.nn.utils.clip_grads_with_norm_(group["params"], limit, before[group["name"]])
        self._before = before
        weights = self._weights() if measure_update else {}
        self.optimizer.step()
        result = {}
        for group in self.optimizer.param_groups:
            name, limit = group["name"], self.limits[group["name"]]
            clipped = limit is not None and float(before[name]) > limit
            ratio = _update_ratio(weights[name], group["params"]) if measure_update else None
            result[name] = GroupNorms(float(before[name]), self._norms[name], clipped, ratio)
            self.record.add(name, result[name])
        return result

    def _weights(self) -> dict[str, list[Tensor]]:
        return {
            group["name"]: [p.detach().clone() for p in group["params"]] for group in self.optimizer.param_groups
        }

    def set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def _norm(self, group: dict[str, Any]) -> Tensor:
        gradients = [p.grad for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
        if not bool(torch.isfinite(norm)):
            raise ClippingError(f"gradient of {_first_not_finite(group)} is not finite; the step was not taken")
        return norm

    def _measure_at_step(self, *_: Any) -> None:
        self._norms = {}
        for group in self.optimizer.param_groups:
            name, limit = group["name"], self.limits[group["name"]]
            norm = float(self._norm(group))
            self._norms[name] = norm
            if limit is not None and norm > limit * (1.0 + TOLERANCE):
                self.record.violations += 1
                raise ClippingError(
                    f"group {name}: the step would use a gradient of norm {norm:.6g}, allowed: {limit:g} "
                    f"(norm before the clip {float(self._before[name]):.6g}); the step was not taken"
                )


@torch.no_grad()
def _update_ratio(old: list[Tensor], new: list[Tensor]) -> float:
    moved = torch.nn.utils.get_total_norm(torch._foreach_sub(list(new), old))
    return float(moved / torch.nn.utils.get_total_norm(old))


def _first_not_finite(group: dict[str, Any]) -> str:
    for layer, parameter in zip(group["layers"], group["params"], strict=True):
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return layer
    return f"group {group['name']} (its norm overflows)"


class NormRecord:
    """Every norm of every group of a run, from which the certificate is made."""

    def __init__(self, limits: Mapping[str, float | None]) -> None:
        self.limits = dict(limits)
        self.violations = 0
        self.before = {name: array("d") for name in limits}
        self.after_max = dict.fromkeys(limits, 0.0)
        self.clipped = dict.fromkeys(limits, 0)

    def add(self, name: str, norms: GroupNorms) -> None:
        self.before[name].append(norms.before)
        self.after_max[name] = max(self.after_max[name], norms.after)
        self.clipped[name] += norms.clipped

    def summary(self) -> dict[str, dict[str, float]]:
        """Per group: limit (absent without one), updates, clipped share, norms before (mean, p99, max), max after."""
        result = {}
        for name, values in self.before.items():
            norms = np.frombuffer(values) if values else np.zeros(1)
            row = {
                "updates": len(values),
                "clipped_share": self.clipped[name] / max(len(values), 1),
                "before_mean": float(norms.mean()),
                "before_p99": float(np.percentile(norms, 99)),
                "before_max": float(norms.max()),
                "after_max": self.after_max[name],
            }
            if self.limits[name] is not None:
                row["limit"] = self.limits[name]
            result[name] = row
        return result

    def state(self) -> dict[str, Any]:
        return {
            "violations": self.violations,
            "before": {name: torch.tensor(values, dtype=torch.float64) for name, values in self.before.items()},
            "after_max": dict(self.after_max),
            "clipped": dict(self.clipped),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.violations = state["violations"]
        self.before = {name: array("d", values.tolist()) for name, values in state["before"].items()}
        self.after_max = dict(state["after_max"])
        self.clipped = dict(state["clipped"])
