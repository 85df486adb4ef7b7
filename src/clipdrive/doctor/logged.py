"""What a logged number is: which of the norms on the way to a step it equals."""

from __future__ import annotations

import math
from collections.abc import Iterator

from clipdrive.doctor import faults
from clipdrive.doctor.evidence import Group, GroupStep
from clipdrive.doctor.faults import Finding
from clipdrive.doctor.traces import whole


def rounding_of(value: float) -> float:
    """Half a unit of the last digit that the number is written with: 24.69 -> 0.005."""
    text = repr(float(value))
    mantissa, _, exponent = text.partition("e")
    decimals = len(mantissa.partition(".")[2]) if not mantissa.endswith(".0") else 0
    return 0.5 * 10.0 ** (int(exponent or 0) - decimals)


def same(value: float, norm: float, most: float = 3e-3) -> bool:
    """Whether a number from a log is this norm, in the digits that it is written with (three at least, by `most`)."""
    tolerance = min(rounding_of(value), most * abs(norm))
    return abs(value - norm) <= max(tolerance, 2e-5 * abs(norm))


def honest(value: float, step: GroupStep) -> bool:
    return same(value, step.after, 0.05)  # two digits will do for what is right


def judge_waiting(group: Group, following: GroupStep | None) -> Iterator[tuple[str, str, int]]:
    """Fault, detail and step of the numbers that the step before them does not explain, by it and the one after."""
    waiting, group.logged = group.logged, []
    for value, before in waiting:
        steps = [step for step in (before, following) if step is not None]
        if not math.isfinite(value) or any(honest(value, step) for step in steps):
            continue
        found = [(*fault, step.number) for step in steps for fault in judge_logged(value, step)]
        if found:
            yield found[0]
        else:
            group.unexplained.append(value)


def by_chance(finding: Finding, group: Group) -> bool:
    """Among many rounded numbers that equal no norm of their step, a few equal a wrong one by chance."""
    of_log = finding.fault in (faults.LOGGED_BEFORE, faults.SUM_OF_NORMS)
    return of_log and finding.group == group.name and finding.count < len(group.unexplained)


def judge_logged(value: float, step: GroupStep) -> Iterator[tuple[str, str]]:
    """The faults of the log, where the number equals another norm than the step's; nothing where it equals none."""
    if value == 0.0 and step.exceeds():
        yield faults.EXHAUSTED, f"logged 0.0, what a clip of nothing returns; the step used {step.after:.6g}"
        return
    tensors = {"in the step": step.used, "after backward()": step.raw}
    for call in step.touching:
        tensors["before the clip"] = list(call.before.values())
        tensors["behind the clip"] = list(call.after.values())
    for when in ("after backward()", "before the clip"):
        norms = tensors.get(when)
        if norms is not None and same(value, whole(norms)):
            yield faults.LOGGED_BEFORE, (
                f"logged {value:.6g} is the norm {when}; the step used {step.after:.6g}" + _limit(step)
            )
            return
    parts = [("tensors", when, norms) for when, norms in tensors.items()]
    parts += [("layers", when, step.by_layer(tensors[when])) for when in ("in the step", "after backward()")]
    for what, when, norms in parts:
        if len(norms) > 1 and same(value, sum(norms)):
            yield faults.SUM_OF_NORMS, (
                f"logged {value:.6g} is the sum of the norms of {len(norms)} {what} {when}; the norm of the whole in "
                f"the step is {step.after:.6g}" + _limit(step)
            )
            return


def _limit(step: GroupStep) -> str:
    return "" if step.group.limit is None else f", limit {step.group.limit:g}"
