"""Rays of lidar, radar and obstacle sensor in the bundled server, against distances computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from carla_server_roads import ground, slope_xml, straight
from clipdrive.carla_server import rays
from clipdrive.carla_server.actors import DrawnBox

RED = (255, 0, 0)


@pytest.fixture(scope="module")
def road():
    """A straight road of 7 m along x with walls of 1 m, 2.5 m beside it."""
    return ground(straight(200.0))


@pytest.fixture(scope="module")
def hill():
    """The same road, rising by 5 %."""
    return ground(straight(200.0, elevation=slope_xml(0.0, 0.0, 0.05)))


def directions(*pairs):
    """Unit vectors from (azimuth to the right, altitude) in degrees."""
    table = []
    for azimuth, altitude in np.radians(np.array(pairs, dtype=float)):
        table.append(
            [math.cos(altitude) * math.cos(azimuth), math.cos(altitude) * math.sin(azimuth), math.sin(altitude)]
        )
    return np.array(table)


def box(x, y, z=0.0, yaw=0.0, half=(1.0, 1.0, 1.0), actor_id=9, tag=14):
    return DrawnBox((x, y, z, 0.0, yaw, 0.0), half, (0.0, 0.0, half[2]), tag, RED, actor_id)


def test_level_ground_is_met_where_geometry_says(road):
    met = rays.cast(road, (), (100.0, 0.0, 2.0), directions((0, -10), (0, -90), (0, 10)), 50.0)
    assert met.distance_m[:2] == pytest.approx([2.0 / math.sin(math.radians(10.0)), 2.0])
    assert met.tag.tolist() == [rays.ROAD, rays.ROAD, 0]
    assert met.cosine[:2] == pytest.approx([math.sin(math.radians(10.0)), 1.0])
    assert math.isinf(met.distance_m[2])


def test_walls_are_met_on_both_sides_and_only_as_high_as_they_are(road):
    met = rays.cast(road, (), (100.0, 1.0, 0.5), directions((90, 0), (-90, 0), (90, 30), (45, 0)), 50.0)
    assert met.distance_m[:2] == pytest.approx([5.0, 7.0], abs=0.05)  # 3.5 + 2.5 m from the middle
    assert met.distance_m[3] == pytest.approx(5.0 * math.sqrt(2.0), abs=0.05)
    assert met.tag.tolist() == [rays.WALL, rays.WALL, 0, rays.WALL]  # 0.5 + 5 tan 30 is over the wall


def test_the_verge_is_no_road(road):
    met = rays.cast(road, (), (100.0, 5.0, 1.0), directions((0, -90)), 50.0)
    assert met.tag[0] == rays.TERRAIN


def test_a_slope_is_met_where_geometry_says(hill):
    # The sensor stands 2 m above z = 5; looking level uphill the ground comes up by 0.05 m per metre.
    met = rays.cast(hill, (), (100.0, 0.0, 7.0), directions((0, 0), (180, -10)), 100.0)
    assert met.distance_m[0] == pytest.approx(40.0, abs=0.3)
    assert met.distance_m[1] == pytest.approx(
        2.0 / (math.sin(math.radians(10.0)) - 0.05 * math.cos(math.radians(10.0))), abs=0.1
    )


def test_boxes_are_met_on_their_faces_and_hide_what_is_behind(road):
    near, turned = box(110.0, 0.0), box(100.0, 3.0, yaw=45.0, actor_id=7, half=(0.5, 0.5, 0.5))
    met = rays.cast(road, (near, turned), (100.0, 0.0, 0.5), directions((0, 0), (90, 0), (0, -2)), 50.0)
    assert met.distance_m[:2] == pytest.approx([9.0, 3.0 - 0.5 * math.sqrt(2.0)])
    assert met.actor_id.tolist() == [9, 7, 9]
    assert met.tag.tolist() == [14, 14, 14]
    assert met.cosine[0] == pytest.approx(1.0)


def test_boxes_out_of_range_and_around_the_sensor_are_not_met(road):
    boxes = (box(140.0, 0.0), box(100.0, 0.0, half=(2.0, 2.0, 2.0)))
    met = rays.cast(road, boxes, (100.0, 0.0, 0.5), directions((0, 0)), 30.0)
    assert math.isinf(met.distance_m[0])


def test_random_rays_agree_with_fine_steps_along_them(road):
    rng = np.random.default_rng(3)
    boxes = [box(*rng.uniform((90, -3), (110, 3)), yaw=rng.uniform(0, 360), actor_id=k + 1) for k in range(4)]
    start = np.array([100.0, 0.0, 2.5])
    rays_xyz = directions(*np.column_stack([rng.uniform(0, 360, 200), rng.uniform(-60, 5, 200)]))
    met = rays.cast(road, boxes, start, rays_xyz, 30.0)
    steps = np.arange(0.0, 30.0, 0.005)
    for direction, distance in zip(rays_xyz, met.distance_m, strict=True):
        x, y, z = (start + steps[:, None] * direction).T
        solid = (z < 0.0) | ((np.abs(y) > 6.0) & (np.abs(y) < 6.2) & (z < 1.0))
        for other in boxes:
            c, s = math.cos(math.radians(other.pose[4])), math.sin(math.radians(other.pose[4]))
            dx, dy = x - other.pose[0], y - other.pose[1]
            solid |= (np.abs(dx * c + dy * s) < 1.0) & (np.abs(dy * c - dx * s) < 1.0) & (z < 2.0)
        expected = steps[np.argmax(solid)] if solid.any() else math.inf
        assert distance == pytest.approx(expected, abs=0.06)
