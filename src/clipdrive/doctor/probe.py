"""`watch`: a context around anybody's PyTorch training loop, and the probe that gathers and judges what happens in it.

It hangs hooks on tensors and optimisers, and sees calls of torch's clip functions however they were imported; the
loop's numbers are not changed. Costs a few norms a step, each with a transfer from the device: for a look, not for all
of a long run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from clipdrive.doctor import faults
from clipdrive.doctor.evidence import ClipCall, Group, GroupStep
from clipdrive.doctor.faults import Finding
from clipdrive.doctor.groups import WatchError, build_groups, find_homes, in_no_group, named_optimizers, shared_between
from clipdrive.doctor.interception import ClipCalls
from clipdrive.doctor.logged import by_chance, honest, judge_waiting
from clipdrive.doctor.rules import (
    coverage,
    judge_gradient_flow,
    judge_layers,
    judge_step,
    waits_for_what_follows,
)
from clipdrive.doctor.steps import Steps
from clipdrive.doctor.table import table
from clipdrive.doctor.traces import GradientHooks, TanhWatch, Trace, forget_old, norms_of, whole

__all__ = ["Probe", "WatchError", "watch"]


@contextmanager
def watch(
    optimizers: Any,
    groups: Mapping[str, Any] | None = None,
    limits: Mapping[str, float | None] | float | None = None,
    say: Callable[[str], None] | None = lambda text: print(text, file=sys.stderr),
) -> Iterator[Probe]:
    """Watch the training loop inside; the probe names its faults, and `say` gets the verdict at the end.

    `optimizers`: one, several, or a mapping of names. `groups`: names to modules or parameters that are meant to be
    clipped together; without it the optimisers' own parameter groups. `limits`: the largest 2-norm of each group, or
    one for all. Raises WatchError for what it cannot read.
    """
    probe = Probe(optimizers, groups, limits)
    probe.open()
    try:
        yield probe
    finally:
        probe.close()
        if say is not None:
            say(str(probe))


class Probe:
    """What the watch found: `findings`, the set of `faults`, and whether the loop is `sound`."""

    def __init__(self, optimizers: Any, groups: Mapping[str, Any] | None, limits: Any) -> None:
        self.optimizers = named_optimizers(optimizers)
        self.groups = build_groups(self.optimizers, groups, limits)
        self.findings: list[Finding] = []
        self._clock = 0
        self._traces = {id(t.parameter): t for group in self.groups for t in group.traces}
        self._calls: list[list[ClipCall]] = [[] for _ in self.optimizers]  # since each optimiser's last step
        self._reach: dict[int, set[int]] = {}  # backward pass -> optimisers whose parameters it reached
        self._coming: dict[int, list[GroupStep]] = {}
        self._waiting: list[tuple[GroupStep, list[Tensor]]] = []
        self._hooks = GradientHooks(self._accumulation_starts, self._accumulation_ends)
        self._clips = ClipCalls(self._clip_begins, self._clip_ends)
        self._tanh = TanhWatch()
        # what a late clip by hand left is gone once it is cleared
        self._steps = Steps(self.optimizers.values(), self._before_step, self._after_step, self._resolve_waiting)
        self._clipped_elsewhere: set[int] = set()  # parameters of no group that a clip was given
        find_homes(self.optimizers, self.groups)
        for detail in shared_between(self.optimizers, self.groups):
            self._add(faults.SHARED, None, detail, 0)

    @property
    def faults(self) -> set[str]:
        return {finding.fault for finding in self.findings}

    @property
    def sound(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        return table(self.groups, self.findings)

    def logged(self, group: str, value: float) -> None:
        """The number that the loop's own log shows as this group's norm after clipping."""
        found = [g for g in self.groups if g.name == group]
        if not found:
            raise WatchError(f"logged: got the group {group!r}, allowed: {', '.join(g.name for g in self.groups)}")
        last = found[0].last
        if last is None or not honest(float(value), last):
            found[0].logged.append((float(value), last))  # the step that it is of may be the next one

    def open(self) -> None:
        for trace in self._traces.values():
            self._hooks.attach(trace)
        self._steps.open()
        self._clips.open()
        self._tanh.__enter__()

    def close(self) -> None:
        """Take all hooks away, and judge what only the end can tell."""
        self._tanh.__exit__(None, None, None)
        self._clips.close()
        self._hooks.detach()
        self._steps.close()
        for number in list(self._coming):
            self._after_step(number)  # it was announced, and refused
        self._resolve_waiting(set(self._traces))
        for detail in in_no_group(self.optimizers, {*self._traces, *self._clipped_elsewhere}):
            self._add(faults.NOT_CLIPPED, None, detail, 0)
        for group in self.groups:
            self._compare_logged(group, None)
            self.findings = [finding for finding in self.findings if not by_chance(finding, group)]
            self._judge_unstepped(group)
            self._judge_flow(group)
        if faults.DEAD not in self.faults:  # where a whole group is dead, layers of others are its victims
            for group in self.groups:
                for fault, detail in judge_layers(group.traces):
                    self._add(fault, group.name, detail, group.steps)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    def _add(self, fault: str, group: str | None, detail: str, step: int) -> None:
        for finding in self.findings:
            if (finding.fault, finding.group) == (fault, group):
                finding.count += 1
                return
        self.findings.append(Finding(fault, group, detail, step))

    def _accumulation_starts(self, trace: Trace) -> None:
        self._resolve_waiting({id(trace.parameter)})

    def _accumulation_ends(self, trace: Trace) -> None:
        trace.accumulated_at = self._tick()
        self._reach.setdefault(trace.tasks[-1], set()).update(trace.optimizers)
        forget_old(self._reach)

    def _clip_begins(self, parameters: list[Tensor]) -> tuple[list[Tensor], list[float]]:
        mine = [p for p in parameters if id(p) in self._traces]
        self._clipped_elsewhere.update(id(p) for p in parameters)
        return mine, norms_of([p.grad for p in mine])

    def _clip_ends(self, token: Any, kind: str, limit: float, exhausted: bool, order: float) -> None:
        mine, before = token
        if math.isinf(limit) or not (mine or exhausted):
            return  # it only measures, or is for networks that are not watched
        call = ClipCall(kind, limit, order, self._tick(), exhausted)
        if exhausted:
            call.meant = self._groups_of_limit(limit)
            call.late = {g.name for g in self.groups if g.name in call.meant and all(t.used_up() for t in g.traces)}
            self._waiting = [(s, held) for s, held in self._waiting if s.group.name not in call.late]
        call.before = {id(p): norm for p, norm in zip(mine, before, strict=True)}
        call.after = {id(p): norm for p, norm in zip(mine, norms_of([p.grad for p in mine]), strict=True)}
        traces = [self._traces[id(p)] for p in mine]
        late = [t for t in traces if t.used_up()]
        if late and len(late) == len(traces) and whole(before) > 0.0:
            for group in self.groups:
                if group.last is not None and set(group.traces) & set(late):
                    if not group.last.late:
                        self._late_clip(group, group.last.after, limit)
                    group.last.late.append(call)
            return
        for trace in traces:
            trace.clipped_at = call.at
        for number, calls in enumerate(self._calls):
            if exhausted or any(number in t.optimizers for t in traces):
                calls.append(call)

    def _groups_of_limit(self, limit: float) -> set[str]:
        """The groups that have this limit; where none has, those without, or all."""
        exact = {g.name for g in self.groups if g.limit is not None and math.isclose(g.limit, limit, rel_tol=1e-6)}
        return exact or {g.name for g in self.groups if g.limit is None} or {g.name for g in self.groups}

    def _late_clip(self, group: Group, norm: float, limit: float) -> None:
        detail = f"clipped to {limit:g} when the step had used the gradient of norm {norm:.4g} already"
        self._add(faults.CLIP_AFTER_STEP, group.name, detail, group.steps)

    def _before_step(self, number: int) -> None:
        optimizer = list(self.optimizers.values())[number]
        if float(getattr(optimizer, "found_inf", None) or 0.0):
            return  # a GradScaler tells a fused optimiser that this step is none
        scale = getattr(optimizer, "grad_scale", None)  # a GradScaler leaves it to fused optimisers to divide by it
        factor = 1.0 if scale is None else 1.0 / float(scale)
        # a step that calls the one of its base class is announced twice: the last time counts
        self._coming[number] = [
            self._evidence(group, [t for t in group.traces if number in t.optimizers], number, factor)
            for group in self.groups
            if number in group.homes
        ]

    def _evidence(self, group: Group, traces: list[Trace], number: int, factor: float) -> GroupStep:
        traces = [t for t in traces if t.has_gradient()]
        keys = {id(t.parameter) for t in traces}
        raw = [float(t.raw) if t.raw is not None else 0.0 for t in traces]
        there = norms_of([t.parameter.grad for t in traces])
        used = [factor * norm for norm in there]
        calls = [c for c in self._calls[number] if c.exhausted or keys & set(c.after)]
        altered = whole(there) < whole(raw) * (1.0 - 1e-6)
        step = GroupStep(group, group.steps + 1, traces, raw, used, 0.0, calls, altered, self._foreign(traces))
        if step.exceeds():
            step.largest_entry = max(float(t.parameter.grad.detach().abs().max()) for t in traces)
        shares = [s for t in traces[:1] for task in t.tasks for s in self._tanh.passed.get(task, ())]
        step.passed = float(torch.stack(shares).min()) if shares else None
        return step

    def _foreign(self, traces: list[Trace]) -> list[Trace]:
        """The traces whose gradient holds parts of two losses, of which one reached other optimisers as well."""
        found = []
        for trace in traces:
            *earlier, last = trace.tasks or [-1]
            now = self._reach.get(last, set())
            if any(then < now or now < then for then in (self._reach.get(task, now) for task in earlier)):
                found.append(trace)
        return found

    def _judge(self, step: GroupStep) -> None:
        group = step.group
        group.steps += 1
        group.norms.append(step.after)
        for trace, norm in zip(step.traces, step.used, strict=True):
            trace.norms.append(norm)
        if step.passed is not None:
            group.passed.append(step.passed)
        if not step.traces:
            return
        for fault, detail in judge_step(step):
            self._add(fault, group.name, detail, step.number)
        if waits_for_what_follows(step):
            self._waiting.append((step, [t.parameter.grad for t in step.traces]))
        group.largest_before = max(group.largest_before, step.before)
        group.largest_after = max(group.largest_after, step.after)
        group.clipped_steps += step.after < step.before * (1.0 - 1e-6)
        group.last = step
        self._compare_logged(group, step)

    def _after_step(self, number: int) -> None:
        if number not in self._coming:
            return
        for step in self._coming.pop(number):
            self._judge(step)
        self._calls[number] = []
        now = self._tick()
        for trace in self._traces.values():
            if number in trace.optimizers and trace.has_gradient():
                trace.clipped_before_step = trace.clipped_at > trace.accumulated_at
                trace.consumed, trace.stepped_at = True, now
                trace.clipped_at = -1
                trace.altered_then_added = trace.used_twice = False

    def _resolve_waiting(self, keys: set[int]) -> None:
        """Explain steps that used too much, by what happened to their gradients since."""
        waiting, self._waiting = self._waiting, []
        for step, gradients in waiting:
            if not keys & {id(t.parameter) for t in step.traces}:
                self._waiting.append((step, gradients))
            else:
                pairs = zip(step.traces, gradients, strict=True)  # a clip by hand may have put others in their place
                now = whole(norms_of([t.parameter.grad if t.has_gradient() else held for t, held in pairs]))
                if step.late:
                    for fault, detail in coverage(step, step.late):
                        self._add(fault, step.group.name, detail, step.number)
                elif 0.0 < now < step.after * (1.0 - 1e-3) and now <= step.group.limit * (1.001 + step.group.excess):
                    self._late_clip(step.group, step.after, step.group.limit)
                else:
                    detail = f"the step used a norm of {step.after:.4g}, limit {step.group.limit:g}; nothing clipped it"
                    self._add(faults.NOT_CLIPPED, step.group.name, detail, step.number)

    def _compare_logged(self, group: Group, following: GroupStep | None) -> None:
        for fault, detail, number in judge_waiting(group, following):
            self._add(fault, group.name, detail, number)

    def _judge_flow(self, group: Group) -> None:
        if not any(trace.parameter.requires_grad for trace in group.traces):
            return  # frozen
        weights = norms_of([t.parameter for t in group.traces])
        reached = any(t.reached for t in group.traces) or any(group.norms)
        for fault, detail in judge_gradient_flow(group.norms, whole(weights), group.passed, reached):
            self._add(fault, group.name, detail, group.steps)
        if not math.isfinite(whole(weights)) and faults.NOT_FINITE not in self.faults:
            self._add(faults.NOT_FINITE, group.name, "its weights are not finite", group.steps)

    def _judge_unstepped(self, group: Group) -> None:
        """A gradient that was refused before any step, as ours and `error_if_nonfinite` do."""
        for trace in group.traces:
            if trace.raw is not None and not trace.consumed and not bool(torch.isfinite(trace.raw)):
                detail = f"the gradient of {trace.name} is not finite, and no step followed"
                self._add(faults.NOT_FINITE, group.name, detail, group.steps)
                return
