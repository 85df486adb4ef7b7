"""Routes that turn at junctions, on a crossing built by hand, and the command that tells the agent of the turns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clipdrive.agents.augment import mirrored
from clipdrive.agents.td3 import Batch
from clipdrive.driving.observation import state_size
from clipdrive.driving.route_command import SIZE, route_command
from clipdrive.opendrive.reader import read
from clipdrive.params import ParamsError
from clipdrive.tracks.lanes import LaneGraph
from clipdrive.tracks.route import Turn
from clipdrive.tracks.track import TrackError, open_track
from clipdrive.tracks.turning import choices, opposite_turning_way, turning_way
from fake_world import circle_env, circle_route, default_params
from road_samples import RADIUS_M, crossing, small_town
from small_params import params_with

LOOP = 1.5 * math.pi  # how far each of the two outer roads turns


@pytest.fixture
def opened(tmp_path):
    def open_text(text, follow="lane", junctions="turns"):
        (tmp_path / "sample.xodr").write_text(text, encoding="utf-8")
        return open_track("sample.xodr", follow, tmp_path, junctions=junctions)

    return open_text


def test_the_loop_takes_every_kind_of_turn():
    graph = LaneGraph(read(crossing()))
    way, closed = turning_way(graph)
    assert closed
    roads = [(piece.road_id, piece.lane_id) for piece in way if not graph.in_junction(piece)]
    # From road 1 it turns right into road 2, then goes straight, turns left, and straight on to where it began.
    assert roads == [("1", -1), ("2", -1), ("1", 1), ("2", 1)]
    assert [kind for _, _, kind in choices(graph, way)] == ["right", "straight", "left", "straight"]
    back = opposite_turning_way(graph, way)
    roads_back = [(piece.road_id, piece.lane_id) for piece in back if not graph.in_junction(piece)]
    assert roads_back == [("2", -1), ("1", -1), ("2", 1), ("1", 1)]  # the other lanes, from the last to the first
    assert [kind for _, _, kind in choices(graph, back)] == ["right", "straight", "left", "straight"]  # each mirrored


def test_the_turns_are_where_the_junction_is(opened):
    route = opened(crossing()).route_forward
    lane = 1.75
    inner, outer, straight = LOOP * (RADIUS_M - lane), LOOP * (RADIUS_M + lane), 2.0 * RADIUS_M
    # Lanes -1 lie outside of a loop to the left, lanes 1 inside. A right turn is a quarter of the inside, a left one of
    # the outside circle.
    right, left = 0.5 * math.pi * (RADIUS_M - lane), 0.5 * math.pi * (RADIUS_M + lane)
    pieces_m = [outer, right, outer, straight, inner, left, inner, straight]
    ends_m = np.cumsum(pieces_m)
    assert route.length_m == pytest.approx(ends_m[-1], abs=0.1)
    expected = [("right", 0), ("straight", 2), ("left", 4), ("straight", 6)]
    assert [turn.kind for turn in route.turns] == [kind for kind, _ in expected]
    for turn, (_, before) in zip(route.turns, expected, strict=True):
        assert turn.begin_m == pytest.approx(ends_m[before], abs=0.6)  # a point of the route every 0.5 m
        assert turn.end_m == pytest.approx(ends_m[before + 1], abs=0.6)
    for turn in route.turns:
        pose = route.pose(0.5 * (turn.begin_m + turn.end_m))
        assert math.hypot(pose.x_m, pose.y_m) < RADIUS_M and abs(pose.x_m) < RADIUS_M > abs(pose.y_m)


def test_straight_routes_know_their_choices_too(opened):
    ahead, back = opened(small_town(), junctions="straight").routes
    assert [turn.kind for turn in ahead.turns] == ["straight"]
    assert (ahead.turns[0].begin_m, ahead.turns[0].end_m) == pytest.approx((60.0, 80.0), abs=0.6)
    assert back.turns == ()  # from the other side there is no choice
    assert open_track("circuit:1").route_forward.turns == ()


def test_a_network_without_junctions_has_the_route_it_had():
    turning, straight = (open_track("circuit:3", junctions=name).route_forward for name in ("turns", "straight"))
    assert (turning.x_m == straight.x_m).all() and turning.closed


def test_junctions_is_checked():
    with pytest.raises(TrackError, match=r"^tracks.junctions is 'left'; it must be one of straight, turns\.$"):
        open_track("circuit:1", junctions="left")


def commanded_route(closed=True):
    turns = (Turn(100.0, 120.0, "left"), Turn(140.0, 150.0, "straight"), Turn(160.0, 170.0, "right"))
    route = circle_route(closed=closed)  # 314 m
    return type(route)(**{**{name: getattr(route, name) for name in route.__dataclass_fields__}, "turns": turns})


NONE = [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("s_m", "left", "straight", "right"),
    [
        (0.0, NONE, NONE, NONE),
        (50.0, NONE, NONE, NONE),
        (75.0, [0.5, 0, 0], NONE, NONE),  # 25 m of 50
        (98.0, [0.96, 0.8, 0], NONE, NONE),  # 2 m of 50, and of 10
        (100.0, [1, 1, 0], NONE, NONE),
        (115.0, [1, 1, 0.75], NONE, NONE),  # 15 of its 20 m
        (121.0, NONE, [0.62, 0, 0], NONE),
        (151.0, NONE, NONE, [0.82, 0.1, 0]),
        (170.0, NONE, NONE, [1, 1, 1]),
        (171.0, NONE, NONE, NONE),
    ],
)
def test_the_command_names_the_next_turn_how_near_it_is_and_how_much_is_done(s_m, left, straight, right):
    numbers = route_command(commanded_route(), s_m)
    assert numbers.dtype == np.float32 and numbers.shape == (SIZE,)
    assert numbers.tolist() == pytest.approx(left + straight + right)


def test_the_command_looks_over_the_seam_of_a_closed_route_only():
    route = commanded_route()
    away_m = route.length_m - 308.0 + 1.0
    for closed, expected in ((True, [1 - away_m / 50.0, 1 - away_m / 10.0, 0]), (False, NONE)):
        values = {name: getattr(commanded_route(closed), name) for name in route.__dataclass_fields__}
        at_end = type(route)(**{**values, "turns": (Turn(1.0, 10.0, "left"),)})
        assert route_command(at_end, 308.0).tolist() == pytest.approx(expected + NONE + NONE, abs=1e-6)


def test_a_reversed_route_turns_the_other_way():
    route = commanded_route()
    back = route.reversed()
    assert [turn.kind for turn in back.turns] == ["left", "straight", "right"]
    assert back.turns[0] == Turn(route.length_m - 170.0, route.length_m - 160.0, "left")


def test_the_environment_shows_the_command_behind_speed_and_last_action(monkeypatch):
    env = circle_env(monkeypatch, default_params(route_command=True))
    assert state_size(env.params) == 12 and state_size(default_params()) == 3
    observation, _ = env.reset(options={"direction": "forward", "s_m": 75.0, "speed_mps": 5.0})
    assert observation in env.observation_space and observation["state"][3:].tolist() == NONE * 3
    env._progress.route = commanded_route()
    observation, *_ = env.step(np.array([0.0, 0.0], np.float32))
    assert observation in env.observation_space and observation["state"].shape == (12,)
    s_m = env._progress.projection.s_m
    assert observation["state"][3:].tolist() == pytest.approx([1 - (100.0 - s_m) / 50.0, 0, 0, *NONE, *NONE], abs=1e-5)


def test_the_mirror_swaps_left_and_right_of_the_command():
    car, left, straight = [0.3, 0.4, 0.5], [1.0, 0.9, 0.8], [0.1, 0.2, 0.3]
    state = car + left + straight + NONE
    states = torch.tensor([state, state])
    frames = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    seen = mirrored(Batch(frames, states, torch.ones(2, 2), torch.ones(2), torch.zeros(2), frames, states), True)
    for there in (seen.states, seen.next_states):
        assert there[0].tolist() == pytest.approx([0.3, -0.4, 0.5, *NONE, *straight, *left])
        assert torch.equal(there[1], states[1])


def test_the_command_is_for_the_camera():
    with pytest.raises(ParamsError, match="^route_command: got True, allowed: false with observation: state"):
        params_with(route_command=True, observation="state", cnn="none")
