"""Evaluation: starts spread evenly, and metrics by hand."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pytest
import torch

from clipdrive.agents.networks import NetworkError, NetworkSpec
from clipdrive.agents.store import Driver
from clipdrive.training.evaluation import DRIVERS, evaluate
from clipdrive.training.laps import evaluation_starts, summarise
from small_params import params_with

TRACKS = [("circuit:1", 900.0), ("circuit:2", 1000.0), ("circuit:3", 1100.0)]


@pytest.mark.parametrize("count", [6, 7, 24, 100])
def test_starts_are_spread_over_tracks_directions_and_the_route(count):
    starts = evaluation_starts(TRACKS, count)
    assert len(starts) == count and [s.episode for s in starts] == list(range(count))
    per_route = Counter((s.track, s.direction) for s in starts)
    assert len(per_route) == 6 and max(per_route.values()) - min(per_route.values()) <= 1
    for (track, direction), number in per_route.items():
        places = sorted(s.s_m for s in starts if (s.track, s.direction) == (track, direction))
        length = dict(TRACKS)[track]
        assert all(0 <= place < length for place in places)
        gaps = {round(b - a, 6) for a, b in zip(places, places[1:], strict=False)}
        assert gaps <= {round(length / number, 6)}


def test_weathers_take_turns_and_none_keeps_to_one_direction():
    weathers = ["ClearNoon", "WetNoon"]
    starts = evaluation_starts(TRACKS[:1], 8, weathers) + evaluation_starts(TRACKS, 6, weathers)
    per_route = Counter((s.weather, s.direction) for s in starts[:8])
    assert set(per_route.values()) == {2} and len(per_route) == 4
    assert [s.weather for s in starts[8:]] == [weathers[i] for i in (0, 1, 1, 0, 0, 1)]
    assert {s.weather for s in evaluation_starts(TRACKS, 6)} == {None}


def lap(driver: str, ending: str, driven_m: float, completion: float, speed: float = 8.0) -> dict:
    return {
        "driver": driver, "episode": 0, "steps": 100, "route_completion": completion, "ending": ending,
        "driven_m": driven_m, "speed_mean_mps": speed, "offset_abs_mean_m": 0.5, "jerk_mean_mps3": 1.0, "return": 10.0,
    }  # fmt: skip


def test_metrics_by_hand():
    rows = [
        lap("agent", "lap", 1000.0, 1.0),
        lap("agent", "off_road", 500.0, 0.5),
        lap("agent", "lap", 500.0, 1.0),
        lap("agent", "collision", 0.0, 0.0, speed=0.0),
        lap("follower", "lap", 1000.0, 1.0, speed=12.0),
        lap("untrained", "stuck", 0.0, 0.0, speed=0.0),
    ]
    metrics = summarise(rows)
    agent = metrics["agent"]
    assert agent["laps"] == 4 and agent["clean_share"] == 0.5 and agent["route_completion_mean"] == 0.625
    assert agent["driven_km"] == 2.0 and agent["off_road_per_km"] == 0.5 and agent["crashes_per_km"] == 0.5
    assert agent["speed_mean_mps"] == 6.0 and metrics["speed_ratio_to_follower"] == 0.5
    assert metrics["untrained"]["stuck_share"] == 1.0 and metrics["untrained"]["off_road_per_km"] == 0.0
    assert set(metrics) == {*DRIVERS, "speed_ratio_to_follower"}


def test_speed_and_offset_are_averaged_over_time_not_over_laps():
    short, long = lap("agent", "off_road", 10.0, 0.0, speed=0.0), lap("agent", "lap", 900.0, 1.0, speed=10.0)
    short["steps"], long["steps"] = 100, 300
    rows = [short, long, lap("follower", "lap", 1.0, 1.0), lap("untrained", "lap", 1.0, 1.0)]
    assert summarise(rows)["agent"]["speed_mean_mps"] == 7.5


@pytest.mark.parametrize(
    ("changes", "refused"),
    [({"route_command": True}, "another observation or route_command"), ({"camera__fov_deg": 70.0}, "another camera")],
)
def test_an_agent_that_sees_something_else_is_refused_before_anything_is_simulated(tmp_path, changes, refused):
    params = params_with(hidden_units=8, feature_units=8)
    driver = Driver(NetworkSpec.of(params, 3, 2, (1, 84, 84)))
    torch.save({"actor": driver.actor.state_dict(), "critic": driver.critic.state_dict()}, tmp_path / "agent.pt")
    described = {"networks": driver.spec.as_values(), "camera": dataclasses.asdict(params.camera)}
    (tmp_path / "agent.json").write_text(json.dumps(described))
    with pytest.raises(NetworkError, match=refused):
        evaluate(params_with(**changes), tmp_path, tmp_path / "evaluation")
