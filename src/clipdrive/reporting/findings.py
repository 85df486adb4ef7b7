"""What the numbers say, in sentences: did it drive, and is anything wrong with how it learned?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clipdrive.params import DRIVE, Params
from clipdrive.reporting.gate import Metrics

SATURATED_SHARE = 0.5  # from here on the actor's gradient comes from the few samples that are left
VANISHED_NORM = 1e-3  # mean gradient norm of a dead actor (healthy: 0.2 and more)
GAIN_OVER_UNTRAINED = 0.05  # of route completion


@dataclass(frozen=True)
class Finding:
    """One sentence about the run; `level` is good, note or bad."""

    level: str
    text: str


def findings(params: Params, metrics: Metrics) -> list[Finding]:
    """All findings, what is wrong first. `metrics` are the stages' metrics, flat (see gate.flat)."""
    found: list[Finding] = []
    for look in (_numbers, _driving, _certificate, _q_bound, _actor, _clipping, _tracks, _faults):
        found += look(params, metrics)
    order = ("bad", "note", "good")
    return sorted(found, key=lambda finding: order.index(finding.level))


def clean_interval(share: float, laps: int) -> tuple[float, float]:
    """Wilson's 95% interval for a share seen over `laps` independent laps."""
    z = 1.96
    middle = (share + z * z / (2 * laps)) / (1 + z * z / laps)
    half = z / (1 + z * z / laps) * math.sqrt(share * (1 - share) / laps + z * z / (4 * laps * laps))
    return max(0.0, middle - half), min(1.0, middle + half)


def _numbers(params: Params, metrics: Metrics) -> list[Finding]:
    ill = [f"{stage}: {name}" for stage, values in metrics.items() for name, v in values.items() if _is_ill(v)]
    return [Finding("bad", f"Not a finite number: {', '.join(ill)}.")] if ill else []


def _driving(params: Params, metrics: Metrics) -> list[Finding]:
    if params.task != DRIVE:
        return _returns(metrics)
    value = _reader(metrics["evaluate"])
    agent, untrained = value("agent.route_completion_mean"), value("untrained.route_completion_mean")
    follower = value("follower.route_completion_mean")
    found = []
    if not math.isfinite(agent + untrained + follower):
        return [Finding("bad", "The evaluation lacks a route completion of the agent or of a baseline.")]
    if agent <= untrained + GAIN_OVER_UNTRAINED:
        text = f"No learning: the agent completes {agent:.3f} of its routes, an untrained one {untrained:.3f}."
        found.append(Finding("bad", text))
    else:
        laps, share = params.evaluate.starts, value("agent.clean_share")
        low, high = clean_interval(share, laps)
        text = (
            f"The agent completes {agent:.3f} of its routes on unseen tracks (untrained {untrained:.3f}, "
            f"follower {follower:.3f}); {share:.0%} of {laps} laps are clean "
            f"(95% interval {low:.0%} to {high:.0%})."
        )
        passed = agent >= params.gate.route_completion_min and share >= params.gate.clean_share_min
        found.append(Finding("good" if passed else "bad", text if passed else f"{text} The gate asks for more."))
    if follower < 0.95:
        text = f"The follower itself completes only {follower:.3f}: look at the tracks and the vehicle first."
        found.append(Finding("bad", text))
    ratio = metrics["evaluate"].get("speed_ratio_to_follower")
    if _is_number(ratio) and ratio < 0.5:
        found.append(Finding("note", f"The agent is slow: {ratio:.2f} of the follower's mean speed."))
    return found


def _returns(metrics: Metrics) -> list[Finding]:
    value = _reader(metrics["evaluate"])
    agent, untrained, spread = (value(n) for n in ("agent.return_mean", "untrained.return_mean", "untrained.return_sd"))
    if not math.isfinite(agent + untrained + spread):
        return [Finding("bad", "The evaluation lacks a return of the agent or of the untrained one.")]
    if agent <= untrained + spread:
        return [Finding("bad", f"No learning: the agent's return is {agent:.4g}, an untrained one's {untrained:.4g}.")]
    return [Finding("good", f"The agent's return is {agent:.4g} (untrained {untrained:.4g}).")]


def _certificate(params: Params, metrics: Metrics) -> list[Finding]:
    train = metrics["train"]
    violations, updates = train.get("certificate.violations"), train.get("certificate.updates")
    if not (_is_number(violations) and _is_number(updates)):
        return [Finding("bad", "There is no certificate: nobody measured what the optimisers' steps used.")]
    if violations > 0:
        text = f"{violations} of {updates} updates used a gradient above its limit: clipping is broken."
        return [Finding("bad", text)]
    return [Finding("good", f"In none of {updates} updates did a step use a gradient above its group's limit.")]


def _q_bound(params: Params, metrics: Metrics) -> list[Finding]:
    value = _reader(metrics["train"])
    largest, bound, passed = value("q.abs_max"), value("q.bound"), value("q.bound_passed_updates")
    if largest > bound:
        text = (
            f"|Q| reached {largest:.4g} and passed the bound R_max / (1 - gamma) = {bound:.4g} in {passed:.0f} "
            "updates: no policy can earn that much, so the critic has diverged, whatever its gradient norms say."
        )
        return [Finding("bad", text)]
    if not largest <= bound:
        return []  # told by _numbers
    return [Finding("good", f"|Q| stayed at or below {largest:.4g}, within the bound of {bound:.4g}.")]


def _actor(params: Params, metrics: Metrics) -> list[Finding]:
    train, found = metrics["train"], []
    share = train.get("actor.saturated_share_last")
    if _is_number(share) and share > SATURATED_SHARE:
        text = (
            f"The actor is saturated: {share:.0%} of its last actions are at their limits, where tanh passes "
            "almost no gradient. No clip would tell."
        )
        found.append(Finding("bad", text))
    dead = train.get("actor.dead_updates")
    if _is_number(dead) and dead > 0:
        text = f"The actor was dead in {dead:.0f} of its steps: its tanh was saturated and its gradient had vanished."
        found.append(Finding("bad", text))
    for group in _groups(train):
        norm, updates = train.get(f"gradient.{group}.before_mean"), train.get(f"gradient.{group}.updates")
        if group.startswith("actor") and updates and _is_number(norm) and norm < VANISHED_NORM:
            text = f"The gradient of {group} has vanished: its mean norm is {norm:.2g}."
            found.append(Finding("bad", text))
    return found


def _clipping(params: Params, metrics: Metrics) -> list[Finding]:
    found = []
    for group in _groups(metrics["train"]):
        share = metrics["train"].get(f"gradient.{group}.clipped_share")
        if _is_number(share) and share > 0.9:
            text = (
                f"{group}: {share:.0%} of the steps were clipped, so the limit is a normaliser here; "
                "Adam hardly notices the difference."
            )
            found.append(Finding("note", text))
    return found


def _tracks(params: Params, metrics: Metrics) -> list[Finding]:
    if params.task != DRIVE:
        return []
    seen = sorted(set(params.tracks.training) & set(params.tracks.evaluation))
    if not seen:
        return []
    return [Finding("bad", f"Evaluated on tracks that training has seen: {', '.join(seen)}.")]


def _faults(params: Params, metrics: Metrics) -> list[Finding]:
    count = sum(metrics[stage].get("faults.restarts") or 0 for stage in ("collect", "train", "evaluate"))
    return [Finding("note", f"The simulator was restarted {count:.0f} times on the way.")] if count else []


def _groups(train: Mapping[str, Any]) -> list[str]:
    names = [name.split(".")[1] for name in train if name.startswith("gradient.")]
    return list(dict.fromkeys(names))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_ill(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _reader(values: Mapping[str, Any]) -> Callable[[str], float]:
    """A look-up that answers NaN for what is missing or null, so that no comparison with it holds."""
    return lambda name: values[name] if _is_number(values.get(name)) else math.nan
