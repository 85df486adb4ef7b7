"""The gate: are the published metrics good enough, and not worse than those of another revision?

`python -m clipdrive gate [--base REVISION]`; the thresholds are the params' `gate` section.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdrive.params import GateParams
from clipdrive.reporting.files import flat, not_finite, read_json

METRICS = ("collect", "train", "evaluate")
ROUTE_COMPLETION = ("evaluate", "agent.route_completion_mean")
CLEAN_SHARE = ("evaluate", "agent.clean_share")
RETURN = ("evaluate", "agent.return_mean")
VIOLATIONS = ("train", "certificate.violations")

Metrics = Mapping[str, Mapping[str, Any]]  # stage -> dotted name -> value


class GateError(RuntimeError):
    """The metrics cannot be judged: a file or a revision is not there."""


@dataclass(frozen=True)
class Check:
    """One line of the gate's table."""

    metric: str
    value: float | None
    allowed: str
    passed: bool

    @property
    def verdict(self) -> str:
        return "ok" if self.passed else ("missing" if self.value is None else "FAILED")


def judge(gate: GateParams, metrics: Metrics, base: Metrics | None = None) -> list[Check]:
    """Hold the metrics against the thresholds, and against `base` where it has the metric."""
    completion = _number(metrics, *ROUTE_COMPLETION)
    violations = _number(metrics, *VIOLATIONS)
    checks = _task_checks(gate, metrics) if _is_task(metrics) else _driving_checks(gate, metrics)
    checks.append(
        Check(
            "clip violations",
            violations,
            f"at most {gate.violations_max}",
            violations is not None and violations <= gate.violations_max,
        )
    )
    before = _number(base or {}, *ROUTE_COMPLETION)
    if before is not None:
        least = before - gate.route_completion_drop_max
        checks.append(_least("route completion against the base", completion, least, f" (base {before:g})"))
    for stage, values in metrics.items():
        checks += [Check(f"{stage}: {name}", math.nan, "a finite number", False) for name in not_finite(values)]
        checks += [Check(f"{stage}: {name}", None, "a number", False) for name in _nulls(values)]
    return checks


def _is_task(metrics: Metrics) -> bool:
    """Whether the run was of a Gymnasium task, which has episodes where driving has laps."""
    return "agent.episodes" in metrics.get("evaluate", {})


def _driving_checks(gate: GateParams, metrics: Metrics) -> list[Check]:
    return [
        _least("route completion", _number(metrics, *ROUTE_COMPLETION), gate.route_completion_min),
        _least("clean share", _number(metrics, *CLEAN_SHARE), gate.clean_share_min),
    ]


def _task_checks(gate: GateParams, metrics: Metrics) -> list[Check]:
    value = _number(metrics, *RETURN)
    if gate.return_min is None:
        return [Check("return", value, "any", value is not None)]
    return [_least("return", value, gate.return_min)]


def _least(metric: str, value: float | None, least: float, note: str = "") -> Check:
    # the published value has 6 digits, and so has what it is held against
    passed = value is not None and value >= least - 1e-9
    return Check(metric, value, f"at least {least:g}{note}", passed)


def _number(metrics: Metrics, stage: str, name: str) -> float | None:
    value = metrics.get(stage, {}).get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return value


def _nulls(values: Mapping[str, Any]) -> list[str]:
    return [name for name, value in values.items() if value is None]


def published(folder: Path) -> dict[str, dict[str, Any]]:
    """The metrics in reports/metrics, flat; raises ReportError where a file is missing or damaged."""
    return {stage: flat(read_json(folder / f"{stage}.json")) for stage in METRICS}


def published_at(revision: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The metrics in `folder` at a Git revision or DVC experiment, by `dvc metrics diff`; raises GateError."""
    targets = [(folder / f"{stage}.json").as_posix() for stage in METRICS]
    # the revision in full: "HEAD" may be another commit for dvc, after an experiment that was killed
    named = _output(["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], fail=False).strip()
    command = [sys.executable, "-m", "dvc", "metrics", "diff", named or revision]
    answer = _output([*command, "--targets", *targets, "--all", "--json"])
    rows = json.loads(answer or "{}")  # {file: {metric: {"old": ..., "new": ...}}}
    return {
        stage: {name: row["old"] for name, row in rows.get(target, {}).items() if row.get("old") is not None}
        for stage, target in zip(METRICS, targets, strict=True)
    }


def _output(command: list[str], fail: bool = True) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if fail and result.returncode != 0:
        reason = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise GateError(f"`{' '.join(command[2:])}` failed: {reason[-1] if reason else 'no reason given'}")
    return result.stdout


def table(checks: list[Check]) -> str:
    """The checks as text, a line each."""
    rows = [("metric", "value", "allowed", "")]
    rows += [(c.metric, "-" if c.value is None else f"{c.value:g}", c.allowed, c.verdict) for c in checks]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
