"""The rules: from the evidence of one step to the faults that explain it. Each yields (fault, detail)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from clipdrive.doctor import faults
from clipdrive.doctor.evidence import EXCESS, ClipCall, GroupStep
from clipdrive.doctor.traces import whole

Found = Iterator[tuple[str, str]]
AT_LIMIT = 1e-3  # relative: this near its limit a tensor was clipped to it
DEAD_SHARE = 0.05  # of the gradient that a saturated tanh still lets through
DEAD_NORM = 1e-8  # of the gradient, relative to the weights' norm


def judge_step(step: GroupStep) -> Found:
    """All faults that the way to this step shows, but those that only what follows it can show."""
    ill = list(_not_finite(step))
    if ill:
        yield from ill
        return
    yield from _exhausted(step)
    explained = [*_backward_after_clip(step), *_coverage(step)]
    yield from explained
    yield from _scaled(step)
    yield from _left_over(step)
    if step.exceeds() and not explained and (step.touching or step.altered):
        yield from _wrong_limit(step)


def waits_for_what_follows(step: GroupStep) -> bool:
    """The step used too much and nothing touched the gradient before it: a late clip, or none, must explain it."""
    exhausted = any(call.exhausted for call in step.calls)
    return step.exceeds() and not step.touching and not step.altered and not exhausted


def _not_finite(step: GroupStep) -> Found:
    for norms, when in ((step.raw, "after backward()"), (step.used, "in the step")):
        for trace, norm in zip(step.traces, norms, strict=True):
            if not math.isfinite(norm):
                yield faults.NOT_FINITE, f"the gradient of {trace.name} is not finite {when}"
                return


def _exhausted(step: GroupStep) -> Found:
    mine = [call for call in step.calls if call.exhausted and _may_mean(call, step)]
    if mine:
        yield faults.EXHAUSTED, (
            f"a clip to {mine[0].limit:g} was given nothing and returned 0.0; the step used a norm of {step.after:.4g}"
        )


def _may_mean(call: ClipCall, step: GroupStep) -> bool:
    """Whether a clip that was given nothing was meant for this group: another clip has not covered it."""
    covered = {key for other in step.touching for key in other.after}
    return step.group.name in call.meant and not all(id(trace.parameter) in covered for trace in step.traces)


def _backward_after_clip(step: GroupStep) -> Found:
    late = [t for t in step.traces if 0 <= t.clipped_at < t.accumulated_at or t.altered_then_added]
    if late:
        yield faults.BACKWARD_AFTER_CLIP, (
            f"{_names(late)} got another gradient after the clip; the step used a norm of {step.after:.4g}"
            + _instead(step)
        )


def _coverage(step: GroupStep) -> Found:
    """Did the clips hold the norm of all that is stepped, and the norm?"""
    limit = step.group.limit
    if limit is None:
        return
    keys = [id(trace.parameter) for trace in step.traces]
    calls = step.touching
    by_value = [call for call in calls if call.kind == "value" or call.order != 2.0]
    calls = [call for call in calls if call not in by_value]
    if by_value and not calls and (step.exceeds() or math.isclose(by_value[0].limit, limit, rel_tol=1e-6)):
        yield faults.BY_VALUE, f"each entry was held to {by_value[0].limit:g}; the norm was {step.after:.4g}"
        return
    if not calls:
        if step.exceeds() and step.altered:
            yield from _by_hand(step, limit)
        return
    covered = {key for call in calls for key in call.after}
    missed = [trace for trace, key in zip(step.traces, keys, strict=True) if key not in covered]
    if missed:
        yield faults.NOT_CLIPPED, f"{_names(missed)}: stepped, and in no clip" + _instead(step)
    elif not any(all(key in call.after for key in keys) for call in calls):
        held = [call for call in calls if math.isclose(call.limit, limit, rel_tol=1e-6)]
        if len(held) > 1:
            parts = len(held)
            yield faults.PER_LAYER, (
                f"{parts} clips held a part each to {limit:g}, the norm of the whole was {step.after:.4g}; "
                f"it may be up to sqrt({parts}) x {limit:g} = {math.sqrt(parts) * limit:.4g}"
            )


def _by_hand(step: GroupStep, limit: float) -> Found:
    """The clip is the script's own: what it held to the limit shows in the norms that it left."""
    for parts, what in ((step.used, "tensors"), (_layer_norms(step), "layers")):
        held = [norm for norm in parts if abs(norm / limit - 1.0) < AT_LIMIT]
        if held and max(parts) <= limit * (1.0 + AT_LIMIT):
            yield faults.PER_LAYER, (
                f"{len(held)} of {len(parts)} {what} stand at {limit:g} each, the whole at {step.after:.4g}"
            )
            return
    if abs(step.largest_entry / limit - 1.0) < AT_LIMIT:
        yield faults.BY_VALUE, f"the largest entry stands at {limit:g}, the norm was {step.after:.4g}"


def _layer_norms(step: GroupStep) -> list[float]:
    """Norms of weight and bias together: a vector belongs to the matrix before it."""
    layers: list[list[float]] = []
    for trace, norm in zip(step.traces, step.used, strict=True):
        if layers and trace.parameter.dim() < 2:
            layers[-1].append(norm)
        else:
            layers.append([norm])
    return [whole(layer) for layer in layers]


def _scaled(step: GroupStep) -> Found:
    ratios = []
    for trace, used in zip(step.traces, step.used, strict=True):
        calls = [call for call in step.touching if id(trace.parameter) in call.after]
        if not calls or trace.accumulated_at > calls[-1].at:
            return
        left = calls[-1].after[id(trace.parameter)]
        if left > 1e-12:
            ratios.append(used / left)
    if not ratios or max(ratios) == 0.0:
        return
    alike = max(ratios) - min(ratios) < 1e-3 * max(ratios)
    if alike and abs(ratios[0] - 1.0) > 1e-3:
        yield faults.SCALED, (
            f"after the clip every gradient was multiplied by {ratios[0]:.4g} (1 / {1.0 / ratios[0]:.6g}): the clip "
            f"saw a norm of {whole([v for call in step.touching for v in call.before.values()]):.4g}, the step used "
            f"{step.after:.4g}"
        )


def _left_over(step: GroupStep) -> Found:
    twice = [trace for trace in step.traces if trace.used_twice]
    if twice:
        yield faults.LEFT_OVER, (
            f"{_names(twice)}: a step had used the gradient already, nobody cleared it, and backward() added to it"
        )
    elif step.foreign:
        yield faults.LEFT_OVER, (
            f"{_names(step.foreign)}: the gradient holds the part of a loss that reached other networks as well, and "
            "was not cleared before this loss's backward()"
        )


def _wrong_limit(step: GroupStep) -> Found:
    limits = sorted({call.limit for call in step.touching})
    if limits and limits[-1] > step.group.limit * (1.0 + EXCESS):
        yield faults.NOT_CLIPPED, (
            f"clipped to {limits[-1]:g} and not to {step.group.limit:g}; the step used a norm of {step.after:.4g}"
        )
    else:
        yield faults.NOT_CLIPPED, (
            f"the step used a norm of {step.after:.4g}, allowed: {step.group.limit:g}; something changed the gradient, "
            "and it was not a clip to the limit"
        )


def judge_gradient_flow(norms: Sequence[float], weights: float, passed: Sequence[float], reached: bool) -> Found:
    """Whether a group's gradient was alive over the later half of its steps."""
    if len(norms) < 3:
        return
    if not reached:
        yield faults.DEAD, "no backward pass ever reached it, and its optimiser stepped it all the same"
        return
    late = sorted(norms[len(norms) // 2 :])
    median = late[len(late) // 2]
    shares = sorted(passed[len(passed) // 2 :])
    if shares and shares[len(shares) // 2] < DEAD_SHARE:
        yield faults.DEAD, (
            f"a tanh before it is saturated and lets {shares[len(shares) // 2]:.2%} of the gradient through; "
            f"its norm is {median:.3g}"
        )
    elif median < DEAD_NORM * max(weights, 1e-30):
        yield faults.DEAD, f"vanishing: its norm is {median:.3g}, of weights of norm {weights:.3g}"


def _names(traces: Sequence) -> str:
    names = [trace.name for trace in traces]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _instead(step: GroupStep) -> str:
    if step.group.limit is None:
        return ""
    return f"; norm in the step {step.after:.4g}, limit {step.group.limit:g}"
