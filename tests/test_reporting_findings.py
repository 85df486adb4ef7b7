"""The report says what is wrong, in a sentence, and only then."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest

from clipdrive.reporting.files import flat, read_json
from clipdrive.reporting.findings import clean_interval, findings
from reporting_data import write_run
from small_params import params_with


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict:
    root: Path = tmp_path_factory.mktemp("run")
    write_run(root, updates=20, episodes=10)
    folders = {"collect": "data/episodes", "train": "runs/train", "evaluate": "evaluation"}
    return {stage: flat(read_json(root / folder / "metrics.json")) for stage, folder in folders.items()}


def texts(metrics: dict, level: str, **changes: object) -> list[str]:
    return [finding.text for finding in findings(params_with(**changes), metrics) if finding.level == level]


def with_values(metrics: dict, stage: str, values: dict) -> dict:
    changed = copy.deepcopy(metrics)
    changed[stage] |= values
    return changed


def test_a_good_run_has_nothing_wrong(good: dict) -> None:
    assert texts(good, "bad") == [] and texts(good, "note") == []
    assert len(texts(good, "good")) == 3  # it drives, the certificate holds, Q stays within its bound


ILL = [
    (
        "train",
        {"q.abs_max": 1.8e6, "q.bound_passed_updates": 4000},
        r"\|Q\| reached 1.8e\+06 and passed the bound .* = 100",
    ),
    ("train", {"actor.saturated_share_last": 0.98}, "The actor is saturated: 98% of its last actions"),
    ("train", {"actor.dead_updates": 7}, "The actor was dead in 7 of its steps"),
    (
        "train",
        {"gradient.actor_head.before_mean": 1e-5},
        "The gradient of actor_head has vanished: its mean norm is 1e-05",
    ),
    ("train", {"certificate.violations": 7}, "7 of 6500 updates used a gradient above its limit"),
    ("train", {"q.mean_last": math.nan}, "Not a finite number: train: q.mean_last"),
    ("evaluate", {"agent.route_completion_mean": 0.03}, "No learning: the agent completes 0.030"),
    ("evaluate", {"agent.route_completion_mean": 0.8}, "The gate asks for more"),
    ("evaluate", {"agent.clean_share": 0.5}, "50% of 24 laps are clean .* The gate asks for more"),
    ("evaluate", {"follower.route_completion_mean": 0.6}, "The follower itself completes only 0.600"),
    ("evaluate", {"agent.route_completion_mean": None}, "The evaluation lacks a route completion"),
]


@pytest.mark.parametrize(("stage", "values", "sentence"), ILL, ids=[next(iter(case[1])) for case in ILL])
def test_what_is_wrong_is_said_first(good: dict, stage: str, values: dict, sentence: str) -> None:
    import re

    metrics = with_values(good, stage, values)
    found = findings(params_with(), metrics)
    assert found[0].level == "bad"
    assert [text for text in texts(metrics, "bad") if re.search(sentence, text)]


def test_a_missing_certificate_is_wrong(good: dict) -> None:
    metrics = copy.deepcopy(good)
    del metrics["train"]["certificate.violations"]
    assert texts(metrics, "bad") == ["There is no certificate: nobody measured what the optimisers' steps used."]


def test_notes(good: dict) -> None:
    metrics = with_values(good, "train", {"gradient.critic_cnn.clipped_share": 0.97, "faults.restarts": 2})
    metrics = with_values(metrics, "evaluate", {"speed_ratio_to_follower": 0.3})
    notes = " ".join(texts(metrics, "note"))
    assert "critic_cnn: 97% of the steps were clipped" in notes
    assert "restarted 2 times" in notes
    assert "0.30 of the follower's mean speed" in notes


def test_an_evaluation_on_tracks_that_training_saw_is_wrong(good: dict) -> None:
    (text,) = texts(good, "bad", tracks__evaluation=["circuit:1001", "circuit:2"])
    assert text == "Evaluated on tracks that training has seen: circuit:2."


def test_the_interval_is_wilsons() -> None:
    # 8 of 10: 0.49016 to 0.94332 (Brown, Cai, DasGupta 2001, formula 4, worked by hand)
    assert clean_interval(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    low, high = clean_interval(1.0, 24)
    assert high == 1.0 and low == pytest.approx(24 / (24 + 1.96**2), abs=1e-6)
