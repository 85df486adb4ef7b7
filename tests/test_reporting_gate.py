"""The gate's judgement on metrics as values; tests/test_gate.py holds the command in a real clone."""

from __future__ import annotations

import math

import pytest

from clipdrive.reporting.gate import judge, table
from small_params import params_with

GATE = params_with(
    gate__route_completion_min=0.95,
    gate__route_completion_drop_max=0.02,
    gate__clean_share_min=0.9,
    gate__violations_max=0,
).gate


def metrics(completion: float | None = 0.99, clean: float = 0.95, violations: int = 0) -> dict:
    return {
        "collect": {"steps": 100},
        "train": {"certificate.violations": violations},
        "evaluate": {"agent.route_completion_mean": completion, "agent.clean_share": clean},
    }


def failed(*arguments: object) -> list[str]:
    return [check.metric for check in judge(GATE, *arguments) if not check.passed]


def test_good_metrics_pass() -> None:
    assert failed(metrics()) == []
    assert failed(metrics(0.95, 0.9)) == []  # the threshold itself is allowed
    assert failed(metrics(0.99), metrics(1.0)) == []


@pytest.mark.parametrize(
    ("values", "metric"),
    [
        (metrics(0.94), "route completion"),
        (metrics(clean=0.89), "clean share"),
        (metrics(violations=1), "clip violations"),
    ],
)
def test_each_threshold_holds(values: dict, metric: str) -> None:
    assert failed(values) == [metric]


def test_a_drop_against_the_base_fails_although_the_least_is_reached() -> None:
    assert failed(metrics(0.97), metrics(0.995)) == ["route completion against the base"]
    assert failed(metrics(0.975), metrics(0.995)) == []  # exactly the drop that is allowed
    assert failed(metrics(0.97), {"evaluate": {}}) == []  # the base has no such metric


def test_what_is_missing_or_not_finite_fails() -> None:
    assert failed(metrics(completion=None)) == ["route completion", "evaluate: agent.route_completion_mean"]
    assert failed(metrics(completion=math.nan)) == ["route completion", "evaluate: agent.route_completion_mean"]
    without = metrics()
    del without["train"]["certificate.violations"]
    assert failed(without) == ["clip violations"]
    other = metrics()
    other["train"]["q.abs_max"] = math.inf
    assert failed(other) == ["train: q.abs_max"]


def test_the_table_says_what_failed() -> None:
    lines = table(judge(GATE, metrics(0.5, violations=2))).splitlines()
    assert lines[0].split() == ["metric", "value", "allowed"]
    assert lines[1].split() == ["route", "completion", "0.5", "at", "least", "0.95", "FAILED"]
    assert lines[2].endswith("ok")
    assert lines[3].split() == ["clip", "violations", "2", "at", "most", "0", "FAILED"]
