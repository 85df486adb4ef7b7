"""An agent's structure, certified: every parameter in one group of one optimiser, nothing shared, targets alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn


class GroupError(ValueError):
    """A parameter lies in no group or in two, is shared or a target's, or a limit names no group."""


def named_groups(
    **groups: nn.Module | Iterable[nn.Module] | Mapping[str, nn.Module] | None,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, one per name; a name whose modules are None is left out.

    Each group names its parameters (`layers`): `critic_head.q1.hidden.weight` where its modules come with names.
    """
    result = []
    for name, modules in groups.items():
        if modules is None:
            continue
        if isinstance(modules, nn.Module):
            parts = {name: modules}
        elif isinstance(modules, Mapping):
            parts = {f"{name}.{part}": module for part, module in modules.items()}
        else:
            parts = {f"{name}.{number}": module for number, module in enumerate(modules, 1)}
        named = [(f"{part}.{layer}", p) for part, module in parts.items() for layer, p in module.named_parameters()]
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


def certified_structure(
    trained: Mapping[str, nn.Module], targets: Mapping[str, nn.Module], optimizers: Iterable[torch.optim.Optimizer]
) -> dict[str, int]:
    """Count what is certified of the structure; raises GroupError where it is not sound.

    `trained` are the networks that optimisers step (actor, critic), which share no module; `targets` those that only
    the target update moves. Returns `parameters` (tensors trained), `parameters_in_one_group` and `shared`.
    """
    optimizers = list(optimizers)
    require_cover(trained.values(), optimizers)
    owners: dict[int, str] = {}
    for name, module in trained.items():
        for path, part in module.named_modules(prefix=name):
            first = owners.setdefault(id(part), path)
            if first.split(".")[0] != name:
                raise GroupError(f"{first} and {path} are one module: {name} shares it")
    held = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    held_storage = {p.data_ptr() for p in held if p.numel()}
    for name, module in targets.items():
        for path, parameter in module.named_parameters(prefix=name):
            if parameter.numel() and parameter.data_ptr() in held_storage:
                raise GroupError(f"{path} is a target's and lies in an optimiser, which would step it")
            if parameter.requires_grad:
                raise GroupError(f"{path} is a target's and takes gradients; targets only follow")
    return {
        "parameters": len(held),
        "parameters_in_one_group": len({id(p) for p in held}),
        "shared": 0,
    }
