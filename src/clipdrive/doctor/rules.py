"""The rules: from the evidence of one step to the faults that explain it. Each yields (fault, detail)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from clipdrive.doctor import faults
from clipdrive.doctor.evidence import ClipCall, GroupStep
from clipdrive.doctor.traces import Trace, names_of, norms_of, whole

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
    explained = [*_exhausted(step), *_backward_after_clip(step), *coverage(step, step.touching), *_scaled(step)]
    yield from explained
    yield from _left_over(step)
    if step.exceeds() and not explained and (step.touching or step.altered):
        yield from _wrong_limit(step)


def waits_for_what_follows(step: GroupStep) -> bool:
    """The step used too much and nothing touched the gradient before it: a late clip, or none, must explain it."""
    exhausted = any(call.exhausted for call in step.calls)
    added = any(trace.altered_then_added for trace in step.traces)  # a clip by hand was seen
    return step.exceeds() and not (step.touching or step.altered or exhausted or added)


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
        if step.group.name in mine[-1].late:
            yield faults.CLIP_AFTER_STEP, "the clip that was given nothing came when the step had been taken already"
        elif any(trace.accumulated_at > mine[-1].at for trace in step.traces):
            yield faults.BACKWARD_AFTER_CLIP, "another backward() came after the clip that was given nothing"


def _may_mean(call: ClipCall, step: GroupStep) -> bool:
    """Whether a clip that was given nothing was meant for this group: another clip has not covered it."""
    covered = {key for other in step.touching for key in other.after}
    return step.group.name in call.meant and not all(id(trace.parameter) in covered for trace in step.traces)


def _backward_after_clip(step: GroupStep) -> Found:
    again = step.altered and not step.exceeds()  # clipped by hand once more
    late = [
        trace
        for trace in step.traces
        if trace.clipped_at < trace.accumulated_at and (trace.clipped_at >= 0 or trace.altered_then_added and not again)
    ]
    if late:
        yield faults.BACKWARD_AFTER_CLIP, f"{names_of(late)} got another gradient after the clip" + _instead(step)


def coverage(step: GroupStep, calls: list[ClipCall]) -> Found:
    """Did the clips hold the norm of all that is stepped, and the norm?"""
    limit = step.group.limit
    if limit is None:
        return
    keys = [id(trace.parameter) for trace in step.traces]
    left = whole(list({key: norm for call in calls for key, norm in call.after.items()}.values()))
    by_value = [call for call in calls if call.kind == "value" or call.order > 2.0]
    calls = [call for call in calls if call not in by_value]
    if by_value and not calls and (step.exceeds() or math.isclose(by_value[0].limit, limit, rel_tol=1e-6)):
        yield faults.BY_VALUE, f"each entry was held to {by_value[0].limit:g}; the norm was {left:.4g}"
        return
    if not calls:
        if step.exceeds() and step.altered:
            yield from _by_hand(step, limit)
        return
    covered = {key for call in calls for key in call.after}
    missed = [trace for trace, key in zip(step.traces, keys, strict=True) if key not in covered]
    if missed:
        yield faults.NOT_CLIPPED, f"{names_of(missed)}: stepped, and in no clip" + _instead(step)
    elif not any(all(key in call.after for key in keys) for call in calls):
        held = [call for call in calls if math.isclose(call.limit, limit, rel_tol=1e-6)]
        if len(held) > 1:
            parts = len(held)
            yield faults.PER_LAYER, (
                f"{parts} clips held a part each to {limit:g}, the norm of the whole was {left:.4g}; "
                f"it may be up to sqrt({parts}) x {limit:g} = {math.sqrt(parts) * limit:.4g}"
            )


def _by_hand(step: GroupStep, limit: float) -> Found:
    """The clip is the script's own: what it held to the limit shows in the norms that it left."""
    for parts, what in ((step.used, "tensors"), (step.by_layer(step.used), "layers")):
        held = [norm for norm in parts if abs(norm / limit - 1.0) < AT_LIMIT]
        if held and max(parts) <= limit * (1.0 + AT_LIMIT):
            yield faults.PER_LAYER, (
                f"{len(held)} of {len(parts)} {what} stand at {limit:g} each, the whole at {step.after:.4g}"
            )
            return
    if abs(step.largest_entry / limit - 1.0) < AT_LIMIT:
        yield faults.BY_VALUE, f"the largest entry stands at {limit:g}, the norm was {step.after:.4g}"


def _scaled(step: GroupStep) -> Found:
    if not step.touching and not any(_may_mean(call, step) for call in step.calls):
        return
    ratios = []
    for trace, raw, used in zip(step.traces, step.raw, step.used, strict=True):
        key = id(trace.parameter)
        clipped = [call.after[key] for call in step.touching if key in call.after and call.at > trace.accumulated_at]
        left = clipped[-1] if clipped else raw
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
            f"{names_of(twice)}: a step had used the gradient already, nobody cleared it, and backward() added to it"
        )
    elif step.foreign:
        yield faults.LEFT_OVER, (
            f"{names_of(step.foreign)}: the gradient holds the part of a loss that reached other networks as well, and "
            "was not cleared before this loss's backward()"
        )


def _wrong_limit(step: GroupStep) -> Found:
    limits = sorted({call.limit for call in step.touching})
    if limits and limits[-1] > step.group.limit * (1.0 + step.group.excess):
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


def judge_layers(traces: Sequence[Trace]) -> Found:
    """Weights that no gradient reached at any step of the later half, in a group that lives."""
    dead = []
    for trace, weight in zip(traces, norms_of([trace.parameter for trace in traces]), strict=True):
        late = trace.norms[len(trace.norms) // 2 :]
        if trace.parameter.dim() > 1 and len(trace.norms) > 2 and max(late) < DEAD_NORM * weight:
            dead.append(trace)
    if dead:
        yield faults.DEAD, f"vanishing in {names_of(dead)}: at most {max(dead[0].norms[len(dead[0].norms) // 2 :]):.3g}"


def _instead(step: GroupStep) -> str:
    limit = "" if step.group.limit is None else f", limit {step.group.limit:g}"
    return f"; norm in the step {step.after:.4g}{limit}"
