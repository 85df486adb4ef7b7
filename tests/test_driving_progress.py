import math

import pytest

from clipdrive.driving.progress import RouteProgress
from fake_world import RADIUS_M, circle_route

LENGTH_M = math.tau * RADIUS_M


def on_circle(s_m, offset_m=0.0):
    """Pose on the circle that turns right: its inside, the centre, is on the right."""
    angle = s_m / RADIUS_M
    radius_m = RADIUS_M - offset_m
    return radius_m * math.cos(angle), radius_m * math.sin(angle), angle + math.pi / 2


def progress_from(s_m, route=None, offset_m=0.0):
    return RouteProgress(route or circle_route(), s_m, *on_circle(s_m, offset_m))


def test_it_counts_metres_in_both_directions_and_across_the_seam():
    progress = progress_from(LENGTH_M - 5.0)
    for metres in range(1, 12):
        progress.move(*on_circle(LENGTH_M - 5.0 + metres))
        assert progress.progress_m == pytest.approx(metres, abs=1e-3)
    assert progress.projection.s_m == pytest.approx(6.0, abs=1e-3)
    for metres in range(10, -4, -1):
        progress.move(*on_circle(LENGTH_M - 5.0 + metres))
    assert progress.progress_m == pytest.approx(-3.0, abs=1e-3)
    assert progress.completion == 0.0 and progress.furthest_m == pytest.approx(11.0, abs=1e-3)


def test_several_laps_are_several_lengths():
    progress = progress_from(10.0)
    for step in range(1, 2 * int(LENGTH_M)):
        progress.move(*on_circle(10.0 + step, offset_m=3.0))
    assert progress.progress_m == pytest.approx(2 * int(LENGTH_M) - 1, abs=0.5)
    assert progress.arrived and progress.completion == 1.0


def test_one_long_step_is_followed():
    progress = progress_from(0.0)
    progress.move(*on_circle(60.0))
    assert progress.progress_m == pytest.approx(60.0, abs=0.01)


def test_a_jump_is_not_counted():
    progress = progress_from(0.0, offset_m=49.0)  # near the centre of the circle, where all arms are near
    progress.move(*on_circle(LENGTH_M / 4, offset_m=49.0))
    assert progress.progress_m == 0.0
    progress.move(*on_circle(LENGTH_M / 4 + 2.0, offset_m=0.0))
    assert progress.progress_m == pytest.approx(2.0, abs=0.1)


def test_an_open_route_counts_what_is_left():
    route = circle_route(closed=False)
    progress = progress_from(route.length_m - 100.0, route)
    assert progress.target_m == pytest.approx(100.0, abs=0.5) and not progress.arrived
    for metres in range(0, 100, 5):
        progress.move(*on_circle(route.length_m - 100.0 + metres))
    assert progress.completion == pytest.approx(0.95, abs=0.01)
    progress.move(*on_circle(route.length_m))
    assert progress.arrived


def test_the_last_checkpoint_is_that_of_the_furthest_point():
    route = circle_route()
    every_m = float(route.checkpoints(10.0)[1])
    progress = progress_from(25.0)
    assert progress.last_checkpoint_s_m(10.0) == pytest.approx(2 * every_m)
    for s_m in (30.0, 36.0, 42.0, 36.0, 28.0):
        progress.move(*on_circle(s_m))
    assert progress.last_checkpoint_s_m(10.0) == pytest.approx(4 * every_m)
