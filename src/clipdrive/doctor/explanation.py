"""Which faults fit a single number from a log, without any code: what arithmetic alone can tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clipdrive.doctor import faults

MOST_TENSORS = 10**9


class ExplainError(ValueError):
    """The number, the limit or the count cannot be what they are said to be."""


@dataclass(frozen=True)
class Verdict:
    """Whether a fault fits the number, and why."""

    fault: str
    fits: bool
    reason: str


def explain(logged: float | str, limit: float, tensors: int, layers: int | None = None) -> list[Verdict]:
    """Judge a norm that a log shows "after clipping" to `limit`, of a group of `tensors` gradient tensors.

    A number given as text is taken as rounded at its last digit. `layers` (default: half the tensors, weight and bias
    each) for limits per layer. Raises ExplainError.
    """
    value, half = _number(logged)
    if not limit > 0.0 or not math.isfinite(limit):
        raise ExplainError(f"limit: got {limit:g}, allowed: a number above 0")
    if not 1 <= tensors <= MOST_TENSORS:
        raise ExplainError(f"tensors: got {tensors}, allowed: 1 to {MOST_TENSORS}")
    layers = (tensors + 1) // 2 if layers is None else layers
    if not 1 <= layers <= tensors:
        raise ExplainError(f"layers: got {layers}, allowed: 1 to {tensors}, the tensors")
    if not math.isfinite(value):
        others = [Verdict(fault, False, "it gives a finite number") for fault in faults.FAULTS]
        first = Verdict(faults.NOT_FINITE, True, "one NaN makes the norm NaN, one infinity makes it infinite")
        return [first, *(verdict for verdict in others if verdict.fault != faults.NOT_FINITE)]
    low = value - half
    above = low > limit * (1.0 + 1e-5)
    ratio = f"{value:g} / {limit:g} = {value / limit:.4g}"
    return [
        _before(value, limit, above),
        _sum(faults.SUM_OF_NORMS, low, limit, above, tensors, ratio, "tensor"),
        _sum(faults.PER_LAYER, low, limit, above, tensors, ratio, "tensor", layers),
        _above(faults.BY_VALUE, above, "entries of at most the limit give any norm up to sqrt(entries) x limit"),
        _above(faults.NOT_CLIPPED, above, "what no clip holds may have any norm"),
        _above(faults.CLIP_AFTER_STEP, above, "the step used any norm; what the late clip leaves is within the limit"),
        _above(faults.BACKWARD_AFTER_CLIP, above, "what the second backward() adds may have any norm"),
        _above(faults.SHARED, above, "the other network's loss changes the shared part behind this clip's back"),
        _exhausted(value, above),
        _scaled(value, half, limit, above),
        Verdict(
            faults.LEFT_OVER,
            not above,
            "a clip holds whatever was left over too, so the number would be within the limit"
            if above
            else "what was left over is clipped with the rest: the norm looks right and the direction is wrong",
        ),
        Verdict(
            faults.DEAD,
            value < 1e-2 * limit,
            "the number is next to nothing" if value < 1e-2 * limit else "a dead gradient has a norm near 0",
        ),
        Verdict(faults.NOT_FINITE, False, "the number is finite, and after a clip one NaN makes every gradient NaN"),
    ]


def text_of(logged: float | str, limit: float, tensors: int, verdicts: list[Verdict]) -> str:
    """The verdicts as a person reads them: what fits first."""
    value, _ = _number(logged)
    head = f"logged {logged} with a limit of {limit:g}, {tensors} tensors: "
    if not value > limit:
        head += "within the limit, as a clip that works gives, and as these faults give too"
    else:
        head += f"{value / limit:.4g} times the limit, which no norm after a clip that works can be"
    lines = [head]
    for fits, title in ((True, "fits"), (False, "does not fit")):
        lines += ["", title]
        lines += [f"  {v.fault}: {v.reason}" for v in verdicts if v.fits == fits]
    lines += ["", "One number cannot tell apart those that fit; `clipdrive.doctor.watch` around the loop does."]
    return "\n".join(lines)


def _number(logged: float | str) -> tuple[float, float]:
    """The value and half a unit of its last digit (nothing, where it did not come as text)."""
    text = str(logged).strip().lower()
    try:
        value = float(text)
    except ValueError as error:
        raise ExplainError(f"logged: got {logged!r}, allowed: a number, nan or inf") from error
    if value < 0.0:
        raise ExplainError(f"logged: got {logged}, allowed: a norm, which is never negative")
    if not isinstance(logged, str) or not math.isfinite(value):
        return value, 0.0
    mantissa, _, exponent = text.partition("e")
    return value, 0.5 * 10.0 ** min(float(exponent or 0) - len(mantissa.partition(".")[2]), 300.0)


def _before(value: float, limit: float, above: bool) -> Verdict:
    if value == 0.0:
        return Verdict(faults.LOGGED_BEFORE, False, "a norm of 0 before the clip is no gradient at all")
    if above:
        reason = "clip_grad_norm_ returns the norm before it clips, any number; the clip may be right"
    else:
        reason = "a norm within the limit is not clipped, so before and after are the same"
    return Verdict(faults.LOGGED_BEFORE, above, reason)


def _sum(
    fault: str, low: float, limit: float, above: bool, tensors: int, ratio: str, part: str, layers: int | None = None
) -> Verdict:
    """Cauchy-Schwarz: n parts whose norms are together within the limit add up to at most sqrt(n) times it."""
    most = math.sqrt(tensors)
    bound = f"sqrt({tensors}) = {most:.4g}"
    if not above:
        return Verdict(fault, True, f"a sum, or a norm of the whole, may also lie within the limit ({ratio})")
    if low > most * limit * (1.0 + 1e-5):
        return Verdict(fault, False, f"{ratio} is more than {bound}, the most that {tensors} {part}s can give")
    if fault == faults.SUM_OF_NORMS:
        why = f"norms whose squares add up to at most {limit:g}^2 add up to at most {bound} times {limit:g}"
        return Verdict(fault, True, f"{ratio} lies between 1 and {bound}: {why}")
    by_layer = math.sqrt(layers)
    tail = ""
    if low > by_layer * limit:
        tail = f"; by layer (weight and bias together) sqrt({layers}) = {by_layer:.4g} would be the most"
    return Verdict(fault, True, f"{ratio} is at most {bound}, what {tensors} tensors at the limit each give{tail}")


def _above(fault: str, above: bool, reason: str) -> Verdict:
    if above:
        return Verdict(fault, True, reason)
    return Verdict(fault, True, f"the number is within the limit by chance; {reason}")


def _exhausted(value: float, above: bool) -> Verdict:
    if value == 0.0:
        return Verdict(faults.EXHAUSTED, True, "a clip that is given nothing returns exactly 0.0")
    reason = "where the log shows what the clip returned, that would be 0.0; a norm measured apart may be any number"
    return Verdict(faults.EXHAUSTED, False, reason)


def _scaled(value: float, half: float, limit: float, above: bool) -> Verdict:
    if above:
        reason = "a clip of scaled gradients leaves limit / scale after unscaling, far below the limit"
        return Verdict(faults.SCALED, False, reason)
    power = round(math.log2(limit) - math.log2(value)) if value > 0.0 else 0
    if power > 0 and abs(limit * 0.5**power - value) <= max(half, 0.007 * value):
        reason = f"limit / logged = {limit / value:.6g}, which may be {2**power}, a power of 2, as loss scales are"
        return Verdict(faults.SCALED, True, reason)
    return Verdict(faults.SCALED, False, "limit / logged is no power of 2, as a loss scale would make it")
