"""The road as numbers, against what geometry says of a circle and of a straight."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clipdrive.agents.augment import mirrored
from clipdrive.agents.td3 import Batch
from clipdrive.driving.road_ahead import BEAMS_RAD, RANGE_M, SIZE, RoadAhead
from clipdrive.tracks.route import Route
from fake_world import HALF_WIDTH_M, RADIUS_M, circle_env, circle_route, default_params


def to_circle_m(radius_m: float, x_m: float, y_m: float, angle_rad: float) -> float:
    """Along a ray from a point to a circle around (0, 0); infinite where it misses."""
    along = x_m * math.cos(angle_rad) + y_m * math.sin(angle_rad)
    root = along**2 - (x_m**2 + y_m**2 - radius_m**2)
    hits = [-along + sign * math.sqrt(root) for sign in (-1, 1)] if root >= 0 else []
    return min((hit for hit in hits if hit >= 0), default=math.inf)


@pytest.mark.parametrize("offset_m", [0.0, 1.5, -2.0])
@pytest.mark.parametrize("turned_rad", [0.0, 0.3])
def test_distances_to_the_edges_of_a_circle(offset_m, turned_rad):
    route = circle_route()
    pose = route.pose(37.0, offset_m, turned_rad)
    place = route.project(pose.x_m, pose.y_m, pose.yaw_rad)
    distances_m = RoadAhead(route).distances_m(place.index, pose.x_m, pose.y_m, pose.yaw_rad)
    for beam_rad, distance_m in zip(BEAMS_RAD, distances_m, strict=True):
        angle_rad = pose.yaw_rad + beam_rad
        edges_m = [RADIUS_M - HALF_WIDTH_M, RADIUS_M + HALF_WIDTH_M]
        expected_m = min(*(to_circle_m(edge_m, pose.x_m, pose.y_m, angle_rad) for edge_m in edges_m), RANGE_M)
        assert distance_m == pytest.approx(expected_m, abs=0.05)  # the edges are chords of half a metre


def test_the_environment_shows_it_in_place_of_frames(monkeypatch):
    params = default_params(observation="state", cnn="none")
    env = circle_env(monkeypatch, params)
    observation, _ = env.reset(options={"s_m": 10.0, "offset_m": 1.75, "heading_error_rad": 0.1, "speed_mps": 5.0})
    assert observation in env.observation_space
    assert observation["frames"].size == 0 and observation["state"].shape == (3 + SIZE,)
    expected = [5.0 / params.vehicle.speed_scale_mps, 0.0, 0.0, 1.75 / HALF_WIDTH_M, 0.1 / math.pi]
    assert observation["state"][:5].tolist() == pytest.approx(expected, abs=2e-3)
    left, right = observation["state"][[5, -1]] * RANGE_M  # straight to the sides of a car that is 0.1 rad askew
    assert (left + right) * math.cos(0.1) == pytest.approx(2 * HALF_WIDTH_M, abs=0.05)
    observation, *_ = env.step(np.array([0.2, 0.5], np.float32))
    assert observation in env.observation_space and observation["state"][1:3].tolist() == pytest.approx([0.2, 0.5])


def straight_route() -> Route:
    flat = np.zeros(401)
    s_m = np.arange(401) * 0.5
    return Route("straight", False, 200.0, 0.5, s_m, s_m, flat, flat, flat, flat, flat, np.full(401, HALF_WIDTH_M))


def test_the_mirror_swaps_the_sides_of_the_road():
    route = straight_route()
    road = RoadAhead(route)

    def state(sign: float) -> np.ndarray:
        pose = route.pose(100.0, sign * 1.2, sign * 0.2)
        place = route.project(pose.x_m, pose.y_m, pose.yaw_rad)
        return np.concatenate([[0.3, sign * 0.4, 0.5], road.numbers(place, pose.x_m, pose.y_m, pose.yaw_rad)])

    states = torch.tensor(np.stack([state(1.0), state(1.0)]), dtype=torch.float32)
    no_frames = torch.zeros(2, 3, 0, 0, dtype=torch.uint8)
    batch = Batch(no_frames, states, torch.ones(2, 2), torch.ones(2), torch.zeros(2), no_frames, states)
    seen = mirrored(batch)
    for there in (seen.states, seen.next_states):
        assert torch.allclose(there[0], torch.tensor(state(-1.0), dtype=torch.float32), atol=1e-5)
        assert torch.equal(there[1], states[1])
    assert seen.actions.tolist() == [[-1.0, 1.0], [1.0, 1.0]]
