"""Projection on a route and poses from it, against circles and lines worked out by hand."""

from __future__ import annotations

import math
import timeit

import numpy as np
import pytest

from clipdrive.tracks.route import Route

RADIUS_M = 20.0


def route_of(x, y, yaw, curvature, closed, spacing_m, half_width=3.5):
    count = len(x)
    return Route(
        name="by hand",
        closed=closed,
        length_m=spacing_m * (count if closed else count - 1),
        spacing_m=spacing_m,
        s_m=spacing_m * np.arange(count),
        x_m=np.asarray(x, dtype=float),
        y_m=np.asarray(y, dtype=float),
        z_m=np.zeros(count),
        yaw_rad=np.asarray(yaw, dtype=float),
        pitch_rad=np.full(count, 0.1),
        curvature_1pm=np.asarray(curvature, dtype=float),
        half_width_m=np.full(count, half_width),
    )


def circle():
    """To the right: from the origin along x, the centre at y = +20."""
    angle = np.linspace(0.0, 2.0 * np.pi, 251)[:-1]
    x, y = RADIUS_M * np.sin(angle), RADIUS_M * (1.0 - np.cos(angle))
    return route_of(x, y, angle, np.full(250, 1.0 / RADIUS_M), True, 2.0 * np.pi * RADIUS_M / 250)


def out_and_back():
    """60 m along x, a half circle of 3 m to the right, 60 m back: two arms only 6 m apart."""
    s = np.arange(0.0, 120.0 + 3.0 * np.pi, 0.5)
    turned = np.clip((s - 60.0) / 3.0, 0.0, np.pi)
    past = np.maximum(s - 60.0 - 3.0 * np.pi, 0.0)
    x = np.minimum(s, 60.0) + 3.0 * np.sin(turned) - past
    y = 3.0 * (1.0 - np.cos(turned))
    return route_of(x, y, turned, np.where((turned > 0) & (turned < np.pi), 1 / 3, 0.0), False, 0.5)


@pytest.mark.parametrize("angle", (0.0, 0.01, 1.0, 2.5, 4.0, 6.2831))
@pytest.mark.parametrize("offset_m", (-4.0, -0.5, 0.0, 3.0))
def test_offset_is_positive_to_the_right_and_s_counts_along_the_circle(angle, offset_m):
    route = circle()
    out_m = RADIUS_M - offset_m  # right of the direction of travel is towards the centre
    x, y = out_m * math.sin(angle), RADIUS_M - out_m * math.cos(angle)
    near = int(angle * RADIUS_M / route.spacing_m)
    for index in (None, near, near - 15, near + 15):
        found = route.project(x, y, angle + 0.3, index)
        assert math.remainder(found.s_m - angle * RADIUS_M, route.length_m) == pytest.approx(0.0, abs=2e-3)
        assert found.offset_m == pytest.approx(offset_m, abs=1e-3)
        assert found.heading_error_rad == pytest.approx(0.3, abs=2e-3)
        assert found.half_width_m == 3.5


def test_heading_error_is_wrapped():
    route = circle()
    for yaw in (0.2 + 10.0 * math.pi, 0.2 - 4.0 * math.pi):
        assert route.project(0.0, 0.0, yaw).heading_error_rad == pytest.approx(0.2, abs=1e-9)
    assert route.project(0.0, 0.0, math.pi).heading_error_rad == pytest.approx(math.pi)
    assert route.project(0.0, 0.0, -math.pi).heading_error_rad == pytest.approx(math.pi)


def test_a_lap_wraps_at_the_seam_of_a_closed_route():
    route, index, s_before, gained = circle(), None, None, 0.0
    for angle in np.arange(0.0, 4.0 * math.pi, 0.05):
        x, y = RADIUS_M * math.sin(angle), RADIUS_M * (1.0 - math.cos(angle))
        found = route.project(x, y, angle, index)
        assert 0.0 <= found.s_m < route.length_m
        if s_before is not None:
            gained += math.remainder(found.s_m - s_before, route.length_m)
        index, s_before = found.index, found.s_m
    assert gained == pytest.approx(RADIUS_M * angle, abs=0.01)


def test_projection_never_jumps_to_another_arm_that_is_nearer():
    route = out_and_back()
    from_here = route.project(20.0, 0.0, 0.0).index
    beyond_the_middle = route.project(20.0, 4.5, 0.0, from_here)
    assert beyond_the_middle.s_m == pytest.approx(20.0, abs=1e-6)
    assert beyond_the_middle.offset_m == pytest.approx(4.5, abs=1e-6)
    other_arm = route.project(20.0, 4.5, 0.0, None)
    assert other_arm.s_m == pytest.approx(120.0 + 3.0 * np.pi - 20.0, abs=0.3)
    assert other_arm.offset_m == pytest.approx(1.5, abs=1e-3)


def test_an_open_route_ends_at_its_ends():
    route = out_and_back()
    assert route.project(-5.0, 0.0, 0.0, 0).s_m == 0.0
    assert route.project(-5.0, 6.0, 0.0).s_m == pytest.approx(route.length_m)
    assert route.position_ahead(route.length_m - 1.0, 50.0) == (route.x_m[-1], route.y_m[-1])
    assert route.pose(-3.0).x_m == 0.0


@pytest.mark.parametrize("route", (circle(), out_and_back()))
def test_pose_and_projection_are_each_other_s_inverse(route):
    rng = np.random.default_rng(4)
    for _ in range(300):
        s = float(rng.uniform(0.0, 55.0))
        offset, error = float(rng.uniform(-2.5, 2.5)), float(rng.uniform(-3.0, 3.0))
        pose = route.pose(s, offset, error)
        found = route.project(pose.x_m, pose.y_m, pose.yaw_rad, int(s / route.spacing_m))
        assert found.s_m == pytest.approx(s, abs=2e-3)
        assert found.offset_m == pytest.approx(offset, abs=1e-3)
        assert found.heading_error_rad == pytest.approx(error, abs=2e-3)


def test_pose_lies_on_the_circle_between_points_also():
    for s in (0.1, 0.26, 77.7, 125.6, 200.0):
        pose = circle().pose(s, offset_m=2.0)
        assert math.hypot(pose.x_m, pose.y_m - RADIUS_M) == pytest.approx(RADIUS_M - 2.0, abs=1e-5)
        assert math.remainder(pose.yaw_rad - s / RADIUS_M, math.tau) == pytest.approx(0.0, abs=1e-9)
        assert (pose.z_m, pose.pitch_rad) == (0.0, 0.1)


def test_position_ahead_goes_round_the_seam():
    route = circle()
    x, y = route.position_ahead(route.length_m - 5.0, 5.0 + RADIUS_M * math.pi / 2)
    assert (x, y) == pytest.approx((RADIUS_M, RADIUS_M), abs=1e-4)


def test_checkpoints_are_even():
    closed = circle().checkpoints(10.0)  # 125.66 m
    assert len(closed) == 12 and closed[0] == 0.0
    np.testing.assert_allclose(np.diff(closed), circle().length_m / 12)
    open_ones = out_and_back().checkpoints(50.0)
    assert len(open_ones) == 2 and open_ones[-1] <= out_and_back().length_m - 50.0
    np.testing.assert_array_equal(circle().checkpoints(1000.0), [0.0])
    with pytest.raises(ValueError, match="above 0"):
        circle().checkpoints(0.0)


@pytest.mark.parametrize("route", (circle(), out_and_back()))
def test_the_other_way_round(route):
    back = route.reversed()
    assert (back.length_m, back.closed) == (route.length_m, route.closed)
    begun = 0.0 if route.closed else route.length_m
    pose, mirror = route.pose(begun - 30.0, 1.0), back.pose(30.0, -1.0)
    assert (mirror.x_m, mirror.y_m) == pytest.approx((pose.x_m, pose.y_m), abs=1e-6)
    assert math.cos(mirror.yaw_rad - pose.yaw_rad) == pytest.approx(-1.0)
    assert mirror.pitch_rad == -pose.pitch_rad
    np.testing.assert_allclose(np.sort(back.curvature_1pm), np.sort(-route.curvature_1pm))
    assert np.abs(np.diff(back.yaw_rad)).max() < 0.5, "unwrapped"
    again = back.reversed()
    np.testing.assert_array_equal(again.x_m, route.x_m)


def test_projecting_takes_some_microseconds():
    route = circle()
    index = route.project(1.0, 0.4, 0.1).index
    rounds = timeit.repeat(lambda: route.project(1.6, 0.4, 0.1, index), number=2000, repeat=5)
    assert min(rounds) / 2000 < 20e-6
