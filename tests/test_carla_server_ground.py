import dataclasses
import math

import numpy as np
import pytest
from matplotlib.path import Path

from carla_server_roads import crossing, ground, left_arc, network, road_xml, slope_xml, straight
from clipdrive.carla_server import raster
from clipdrive.carla_server.ground import BEYOND_WALL_M, DASH_GAP_M, DASH_M, GroundError, GroundMap
from clipdrive.opendrive import geometry
from clipdrive.opendrive.circuit import circuit_xodr
from clipdrive.opendrive.reader import read


def test_a_straight_road_is_as_far_from_its_edge_as_its_half_width_says():
    land = ground(straight(200.0))
    rng = np.random.default_rng(0)
    x, y = rng.uniform(10.0, 190.0, 500), rng.uniform(-7.5, 7.5, 500)
    np.testing.assert_allclose(land.edge_distance(x, y), 3.5 - np.abs(y), atol=1e-4)
    np.testing.assert_allclose(land.wall_clearance(x, y), 6.0 - np.abs(y), atol=1e-4)


def test_an_arc_is_exact_to_millimetres_and_its_left_is_negative_y():
    land = ground(left_arc(radius=12.0, angle=3.0))
    rng = np.random.default_rng(1)
    angle, r = rng.uniform(0.3, 2.7, 500), rng.uniform(12.0 - 6.0, 12.0 + 6.0, 500)
    x, y_left = r * np.sin(angle), 12.0 - r * np.cos(angle)
    expected = 3.5 - np.abs(r - 12.0)
    away_from_middle = np.abs(r - 12.0) > 0.4  # the distance has a ridge there
    found = land.edge_distance(x, -y_left)
    np.testing.assert_allclose(found[away_from_middle], expected[away_from_middle], atol=0.006)
    assert np.all(np.abs(found - expected) < 0.1)


def test_far_from_the_road_the_distance_stops_at_what_is_known():
    land = ground(straight(), verge_m=3.0)
    assert land.edge_distance(100.0, 80.0) == pytest.approx(-3.0 - BEYOND_WALL_M)
    assert land.edge_distance(1e6, -1e6) == pytest.approx(-3.0 - BEYOND_WALL_M)


def test_a_road_ends_where_it_ends():
    land = ground(straight(100.0))
    assert land.edge_distance(101.0, 0.0) == pytest.approx(-1.0, abs=0.02)
    assert land.edge_distance(-2.0, 1.0) == pytest.approx(-2.0, abs=0.02)
    assert land.edge_distance(99.0, 0.0) == pytest.approx(1.0, abs=0.02)
    assert land.edge_distance(101.2, 3.5 + 1.6) == pytest.approx(-2.0, abs=0.03)


def test_no_border_crosses_the_seams_of_a_circuit():
    net = read(circuit_xodr(3))
    land = GroundMap.from_network(net)
    for road in net.roads.values():
        s = np.arange(0.0, road.length_m, 0.5)
        for offset, expected in ((0.0, 3.5), (2.5, 1.0), (-3.0, 0.5), (3.5, 0.0), (-5.5, -2.0)):
            x, y = geometry.points(road, s, np.full(len(s), offset))
            np.testing.assert_allclose(land.edge_distance(x, -y), expected, atol=0.15 if offset == 0.0 else 0.02)


def ribbons(net, step=0.2):
    """Outlines of all roads in CARLA's frame, by hand from the reference lines."""
    outlines = []
    for road in net.roads.values():
        s = np.linspace(0.0, road.length_m, int(road.length_m / step) + 2)
        right, left = geometry.driving_extent(road, s)
        a, b = np.array(geometry.points(road, s, left)), np.array(geometry.points(road, s, right))
        outlines.append(np.hstack([a, b[:, ::-1]]).T * [1.0, -1.0])
    return outlines


def test_inside_a_junction_the_surface_is_the_union_of_the_roads():
    net = network(*crossing())
    land = GroundMap.from_network(net)
    rng = np.random.default_rng(2)
    points = rng.uniform(-16.0, 16.0, (4000, 2))
    covered = np.zeros(len(points), dtype=bool)
    for outline in ribbons(net):
        covered |= Path(outline).contains_points(points)
    distance = land.edge_distance(points[:, 0], points[:, 1])
    clear = np.abs(distance) > 0.15
    assert clear.sum() > 3000
    np.testing.assert_array_equal(distance[clear] > 0.0, covered[clear])
    # The middle is far from every border, though connecting roads meet there side by side.
    x = np.linspace(-40.0, 40.0, 400)
    assert land.edge_distance(x, 0.0 * x).min() > 3.3
    assert land.edge_distance(0.0, 0.0) > 4.0


def test_distance_is_to_the_nearest_border_point_of_the_union():
    net = network(*crossing())
    land = GroundMap.from_network(net)
    outlines = ribbons(net, step=0.05)
    # Border points: those of any outline that no other ribbon holds.
    points = np.concatenate(outlines)
    owner = np.repeat(np.arange(len(outlines)), [len(o) for o in outlines])
    inner = np.zeros(len(points), dtype=bool)
    for number, outline in enumerate(outlines):
        inner |= (owner != number) & Path(outline).contains_points(points, radius=0.02)
        inner |= (owner != number) & Path(outline).contains_points(points, radius=-0.02)
    border = points[~inner]
    rng = np.random.default_rng(3)
    asked = rng.uniform(-14.0, 14.0, (300, 2))
    nearest = np.sqrt(((asked[:, None] - border[None]) ** 2).sum(2)).min(1)
    known = np.minimum(nearest, 4.5)
    np.testing.assert_allclose(np.abs(land.edge_distance(*asked.T)), known, atol=0.2)
    assert np.median(np.abs(np.abs(land.edge_distance(*asked.T)) - known)) < 0.02


def test_the_middle_line_is_dashed_and_the_outer_lines_are_left_to_the_edge():
    land = ground(straight(200.0))
    row = round(-land.y0_m / 0.25)
    columns = np.round((np.arange(20.0, 180.0, 0.25) - land.x0_m) / 0.25).astype(int)
    code = land.line_code[row, columns]
    assert np.all(code & raster.LINE_BROKEN)
    painted = (code & raster.LINE_ON) > 0
    along = land.x0_m + columns * 0.25
    np.testing.assert_array_equal(painted, along % (DASH_M + DASH_GAP_M) < DASH_M)
    assert not land.line_code[round((3.5 - land.y0_m) / 0.25)].any()
    x = np.full(9, 50.0)
    y = np.linspace(-0.4, 0.4, 9)
    np.testing.assert_allclose(raster.bilinear_many(land.line, land.x0_m, land.y0_m, 4.0, x, y), y, atol=1e-5)


def test_kinds_of_lines():
    land = ground(straight(60.0, centre="solid solid"))
    row, column = round(-land.y0_m / 0.25), round((30.0 - land.x0_m) / 0.25)
    assert land.line_code[row, column] & raster.LINE_DOUBLE
    assert not land.line_code[row, column] & raster.LINE_BROKEN
    assert not ground(straight(60.0, centre="curb")).line_code.any()


def test_a_slope_has_height_and_slope_and_flat_ground_has_its_level():
    hill = ground(straight(200.0, elevation=slope_xml(0.0, 2.0, 0.06)))
    assert hill.elevation is not None
    x, y = np.array([20.0, 77.7, 150.2]), np.array([-3.0, 0.0, 5.0])
    np.testing.assert_allclose(hill.height(x, y), 2.0 + 0.06 * x, atol=1e-3)
    np.testing.assert_allclose(hill.slope(x, y), [[0.06] * 3, [0.0] * 3], atol=1e-3)
    assert hill.steepest == pytest.approx(0.06, abs=0.01)
    plain = ground(straight(50.0, elevation=slope_xml(0.0, 7.0, 0.0)))
    assert plain.elevation is None and plain.height(10.0, 3.0) == 7.0
    np.testing.assert_array_equal(plain.height(x, y), [7.0] * 3)
    assert plain.slope(10.0, 0.0) == (0.0, 0.0)


def test_heights_follow_a_crest_and_reach_beyond_the_road():
    crest = slope_xml(0.0, 0.0, 0.08, -0.0008)
    hill = ground(straight(100.0, elevation=crest))
    x = np.linspace(5.0, 95.0, 50)
    np.testing.assert_allclose(hill.height(x, 0 * x), 0.08 * x - 0.0008 * x * x, atol=2e-3)
    np.testing.assert_allclose(hill.height(x, 0 * x + 7.0), 0.08 * x - 0.0008 * x * x, atol=0.05)


def test_scalars_give_scalars_and_arrays_keep_their_shape():
    land = ground(straight())
    assert isinstance(land.edge_distance(1.0, 2.0), float)
    assert land.edge_distance(np.zeros((2, 3)), 1.0).shape == (2, 3)
    assert land.wall_clearance(np.zeros(4), np.zeros(4)).shape == (4,)


def test_without_walls_nothing_is_in_the_way():
    land = ground(straight(), wall_height_m=0.0)
    assert land.wall_clearance(50.0, 30.0) == math.inf


def test_the_coarse_distance_never_says_more_than_the_way_to_the_border():
    land = ground(left_arc(radius=40.0, angle=4.0))
    rows, columns = np.indices(land.far.shape)
    x, y = land.x0_m + columns * 4.0, land.y0_m + rows * 4.0
    known = np.abs(land.edge_distance(x, y))
    near = known < 4.0
    np.testing.assert_allclose(land.far[near], known[near], atol=0.1)


def test_a_network_without_a_drivable_lane_is_refused():
    net = network(straight())
    road = net.roads["1"]
    walk = tuple(
        dataclasses.replace(section, lanes=tuple(dataclasses.replace(lane, type="sidewalk") for lane in section.lanes))
        for section in road.lane_sections
    )
    bad = dataclasses.replace(net, roads={"1": dataclasses.replace(road, lane_sections=walk)})
    with pytest.raises(GroundError, match="no drivable lane"):
        GroundMap.from_network(bad)


def test_the_same_network_gives_the_same_bytes():
    net = network(*crossing())
    one, two = GroundMap.from_network(net), GroundMap.from_network(net)
    for name in ("edge", "line", "line_code", "far"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def test_width_may_differ_between_roads():
    wide = road_xml("2", [(100.0, 0.0, 0.0, 50.0, 0.0)], lanes=((1, 5.0), (-1, 5.0)))
    land = ground(straight(100.0), wide)
    assert land.edge_distance(120.0, 4.0) == pytest.approx(1.0, abs=0.01)
    assert land.edge_distance(100.3, 0.0) > 3.4
    assert land.edge_distance(98.0, 4.5) == pytest.approx(-1.0, abs=0.02)
