"""Reads what a caller gives to `watch`: optimisers, groups and limits, in any of the usual shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clipdrive.doctor.evidence import Group
from clipdrive.doctor.traces import Trace, names_of


class WatchError(ValueError):
    """What `watch` was given cannot be watched."""


def named_optimizers(given: Any) -> dict[str, torch.optim.Optimizer]:
    """One optimiser, several, or a mapping of names to them."""
    if isinstance(given, torch.optim.Optimizer):
        given = [given]
    if not isinstance(given, Mapping):
        given = list(given)
        given = {"optimizer" if len(given) == 1 else f"optimizer{i}": o for i, o in enumerate(given, 1)}
    wrong = [type(o).__name__ for o in given.values() if not isinstance(o, torch.optim.Optimizer)]
    if wrong or not given:
        raise WatchError(f"optimizers: got {wrong[0] if wrong else 'none'}, allowed: optimisers of torch.optim")
    return dict(given)


def named_parameters(name: str, given: Any) -> list[tuple[str, Tensor]]:
    """A module, modules, parameters, or (name, parameter) pairs, as pairs of full name and parameter."""
    if isinstance(given, nn.Module):
        return [(f"{name}.{part}", p) for part, p in given.named_parameters()]
    if isinstance(given, Tensor):
        return [(name, given)]
    if isinstance(given, Mapping):
        return [pair for part, item in given.items() for pair in named_parameters(f"{name}.{part}", item)]
    result: list[tuple[str, Tensor]] = []
    for number, item in enumerate(given):
        if isinstance(item, tuple) and len(item) == 2:
            result.append((f"{name}.{item[0]}", item[1]))
        elif isinstance(item, nn.Module):
            result += named_parameters(f"{name}.{number}", item)
        elif isinstance(item, Tensor):
            result.append((f"{name}[{number}] of shape {'x'.join(map(str, item.shape)) or 'scalar'}", item))
        else:
            raise WatchError(f"groups: {name} holds a {type(item).__name__}, allowed: modules and parameters")
    return result


def groups_of(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, list[tuple[str, Tensor]]]:
    """The optimisers' own parameter groups, by their names where they have any."""
    result = {}
    for name, optimizer in optimizers.items():
        for number, group in enumerate(optimizer.param_groups):
            own = group.get("name") or (name if len(optimizer.param_groups) == 1 else f"{name}.{number}")
            layers = group.get("layers")
            plain = [(layer, p) for layer, p in zip(layers, group["params"], strict=True)] if layers else None
            result[own] = plain or named_parameters(own, group["params"])
    return result


def build_groups(
    optimizers: Mapping[str, torch.optim.Optimizer], groups: Mapping[str, Any] | None, limits: Any
) -> list[Group]:
    """The groups with their traces (one a parameter, shared where two groups share it) and limits."""
    named = (
        groups_of(optimizers)
        if groups is None
        else {name: named_parameters(name, given) for name, given in groups.items()}
    )
    empty = [name for name, pairs in named.items() if not pairs]
    if empty:
        raise WatchError(f"groups: {empty[0]} holds no parameter (a generator that was used up?)")
    if limits is None or isinstance(limits, (int, float)):
        limits = dict.fromkeys(named, limits)
    unknown = [name for name in limits if name not in named]
    if unknown:
        raise WatchError(f"limits: got one for {unknown[0]}, allowed: {', '.join(named)}")
    traces: dict[int, Trace] = {}
    result = []
    for name, pairs in named.items():
        own = [traces.setdefault(id(p), Trace(full, p)) for full, p in pairs]
        limit = limits.get(name)
        group = Group(name, list(dict.fromkeys(own)), None if limit is None else float(limit))
        group.excess = max(group.excess, *(2.0 * torch.finfo(trace.parameter.dtype).eps for trace in own))
        result.append(group)
    return result


def members(optimizers: Iterable[torch.optim.Optimizer]) -> dict[int, list[int]]:
    """For each parameter's id the numbers of the optimisers that hold it, once for each time they do."""
    result: dict[int, list[int]] = {}
    for number, optimizer in enumerate(optimizers):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                result.setdefault(id(parameter), []).append(number)
    return result


def find_homes(optimizers: Mapping[str, torch.optim.Optimizer], groups: list[Group]) -> None:
    """Note in traces and groups the numbers of the optimisers that step them."""
    holders = members(optimizers.values())
    for group in groups:
        for trace in group.traces:
            trace.optimizers = sorted(set(holders.get(id(trace.parameter), [])))
        alone = {t.optimizers[0] for t in group.traces if len(t.optimizers) == 1}
        group.homes = alone or {number for t in group.traces for number in t.optimizers}


def shared_between(optimizers: Mapping[str, torch.optim.Optimizer], groups: list[Group]) -> Iterator[str]:
    """What two groups or two optimisers hold, in words."""
    holders = members(optimizers.values())
    held_by: dict[int, list[str]] = {}
    for group in groups:
        for trace in group.traces:
            held_by.setdefault(id(trace.parameter), []).append(group.name)
    names = list(optimizers)
    shared: dict[str, list[Trace]] = {}
    for key, trace in {id(t.parameter): t for group in groups for t in group.traces}.items():
        where = held_by[key] if len(held_by[key]) > 1 else [names[i] for i in holders.get(key, [])]
        if len(where) > 1:
            shared.setdefault(" and ".join(where), []).append(trace)
    for where, traces in shared.items():
        yield f"{names_of(traces)}: held by {where}"


def in_no_group(optimizers: Mapping[str, torch.optim.Optimizer], known: set[int]) -> Iterator[str]:
    """Of the parameters that are stepped and whose ids are not `known`, one and their number, in words."""
    missed = [
        f"{name}'s parameter of shape {'x'.join(map(str, p.shape)) or 'scalar'}"
        for name, optimizer in optimizers.items()
        for group in optimizer.param_groups
        for p in group["params"]
        if id(p) not in known
    ]
    if missed:
        more = f" and {len(missed) - 1} more" if len(missed) > 1 else ""
        yield f"{missed[0]}{more}: stepped, and in no group"
