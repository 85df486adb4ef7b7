"""Opening tracks by name, and the routes over circuits, towns with junctions, open roads and one-way roads."""

from __future__ import annotations

import math

import carla
import numpy as np
import pytest

from clipdrive.tracks.track import TrackError, open_track
from road_samples import TOWN_LOOP_M, document, lane, plan, road, section, small_town, two_way_road, varied_road


@pytest.fixture
def opened(tmp_path):
    """Opens a text as a file in the tracks' folder."""

    def open_text(text, follow="road", name="sample.xodr"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return open_track(name, follow, tmp_path)

    return open_text


def even(route):
    """Points lie `spacing_m` apart, the seam of a closed route included, and the yaw turns with them."""
    x, y = route.x_m, route.y_m
    steps = np.hypot(np.diff(x, append=x[:1]), np.diff(y, append=y[:1]))
    if not route.closed:
        steps = steps[:-1]
    assert np.abs(steps - route.spacing_m).max() < 0.01
    assert abs(route.spacing_m - 0.5) < 0.01
    assert np.abs(np.diff(route.yaw_rad)).max() < 0.2
    return True


@pytest.mark.parametrize("follow", ("road", "lane"))
def test_circuit_routes_lie_on_the_lanes_that_carla_knows(follow):
    track = open_track("circuit:4", follow)
    assert (track.name, track.map_name, track.is_town) == ("circuit:4", "circuit_4", False)
    assert track.routes == (track.route_forward, track.route_backward)
    waypoints = carla.Map("circuit", track.xodr).generate_waypoints(2.0)
    assert len(waypoints) > 800
    for waypoint in waypoints:
        route = track.route_forward if waypoint.lane_id < 0 else track.route_backward
        place, rotation = waypoint.transform.location, waypoint.transform.rotation
        found = route.project(place.x, place.y, math.radians(rotation.yaw))
        wanted = 1.75 if follow == "road" else 0.0
        assert found.offset_m == pytest.approx(wanted, abs=0.01)
        assert found.heading_error_rad == pytest.approx(0.0, abs=0.01)
        assert found.half_width_m == pytest.approx(3.5 if follow == "road" else 1.75)


def test_circuit_routes_are_closed_even_and_as_long_as_the_road():
    track = open_track("circuit:7")
    length_m = sum(one.length_m for one in track.network.roads.values())
    for route in track.routes:
        assert route.closed and even(route)
        assert route.length_m == pytest.approx(length_m, abs=0.05)
        assert np.sum(np.abs(route.curvature_1pm)) * route.spacing_m > 10.9
    ahead, back = track.route_forward, track.route_backward
    assert (back.x_m[0], back.y_m[0]) == pytest.approx((ahead.x_m[0], ahead.y_m[0]), abs=0.01)
    half = ahead.length_m / 2
    assert back.position_ahead(0.0, half) == pytest.approx(ahead.position_ahead(0.0, half), abs=0.05)


def test_curvature_is_positive_where_yaw_grows():
    for route in open_track("circuit:2").routes:
        whole = np.sum(route.curvature_1pm) * route.spacing_m
        assert abs(whole) == pytest.approx(2.0 * math.pi, abs=0.01)
        assert whole == pytest.approx(route.yaw_rad[-1] - route.yaw_rad[0], abs=0.1)


def test_town_loop_goes_straight_on_through_the_junction(opened):
    track = opened(small_town(), "lane")
    ahead, back = track.routes
    assert ahead.closed and back.closed and even(ahead) and even(back)
    # On the right of a loop to the left is outside; the half circles together are one whole turn.
    assert ahead.length_m == pytest.approx(TOWN_LOOP_M + 2.0 * math.pi * 1.75, abs=0.05)
    assert back.length_m == pytest.approx(TOWN_LOOP_M - 2.0 * math.pi * 1.75, abs=0.05)
    assert (ahead.x_m[0], ahead.y_m[0], ahead.yaw_rad[0]) == pytest.approx((10.0, 1.75, 0.0), abs=1e-6)
    middle_of_junction = ahead.project(80.0, 1.75, 0.0)
    assert middle_of_junction.offset_m == pytest.approx(0.0, abs=1e-6)
    assert np.sum(ahead.curvature_1pm) * ahead.spacing_m == pytest.approx(-2.0 * math.pi, abs=0.01)
    assert np.sum(back.curvature_1pm) * back.spacing_m == pytest.approx(2.0 * math.pi, abs=0.01)
    assert ahead.half_width_m == pytest.approx(1.75)


def test_town_routes_meet_carla_s_waypoints(opened):
    ahead, back = opened(small_town(), "lane").routes
    for waypoint in carla.Map("town", small_town()).generate_waypoints(1.0):
        if waypoint.road_id in (1, 2, 10, 11):
            route = ahead if (waypoint.road_id, waypoint.lane_id) in {(1, -1), (2, -1), (10, -1)} else back
            place = waypoint.transform.location
            found = route.project(place.x, place.y, math.radians(waypoint.transform.rotation.yaw))
            assert abs(found.offset_m) < 0.01 and abs(found.heading_error_rad) < 0.02


def test_the_middle_of_the_road_is_kept_through_a_junction(opened):
    for route in opened(small_town(), "road").routes:
        assert route.length_m == pytest.approx(TOWN_LOOP_M, abs=0.05)
        assert even(route)
        assert route.half_width_m == pytest.approx(3.5)
        straight = (route.x_m > 15.0) & (route.x_m < 105.0) & (route.y_m > -10.0)
        assert np.abs(route.y_m[straight]).max() < 1e-6


def test_an_open_road_has_an_open_route_each_way(opened):
    ahead, back = opened(two_way_road(), "lane").routes
    assert not ahead.closed and not back.closed and even(ahead) and even(back)
    assert (ahead.length_m, back.length_m) == pytest.approx((200.0, 200.0))
    assert (ahead.x_m[0], ahead.x_m[-1]) == pytest.approx((0.0, 200.0))
    assert (back.x_m[0], back.x_m[-1]) == pytest.approx((200.0, 0.0))
    assert np.allclose(ahead.y_m, 1.75) and np.allclose(back.y_m, -1.75), "on the right, y pointing right"


def test_a_one_way_road_is_driven_both_ways_on_its_only_lane(opened):
    geometries, length = plan([("line", 100.0, ())])
    text = document(road(1, geometries, length, [section(0, (), [lane(-1)])]))
    ahead, back = opened(text, "lane").routes
    assert np.allclose(ahead.y_m, 1.75) and np.allclose(back.y_m, 1.75)
    assert back.x_m[0] == pytest.approx(100.0)


def test_a_single_road_joined_to_itself_is_a_closed_loop(opened):
    geometries, length = plan([("arc", 2.0 * math.pi * 30.0, (1.0 / 30.0,))])
    links = (
        '<predecessor elementType="road" elementId="1" contactPoint="end"/>'
        '<successor elementType="road" elementId="1" contactPoint="start"/>'
    )
    lanes = section(0, [lane(1, before=1, after=1)], [lane(-1, before=-1, after=-1)])
    for route in opened(document(road(1, geometries, length, [lanes], links))).routes:
        assert route.closed and even(route)
        assert route.length_m == pytest.approx(2.0 * math.pi * 30.0, abs=0.01)


def test_the_road_s_surface_ends_at_a_median(opened):
    geometries, length = plan([("line", 100.0, ())])
    left = [lane(2), lane(1, "median", ((0, 4, 0, 0, 0),))]
    ahead, back = opened(document(road(1, geometries, length, [section(0, left, [lane(-1)])]))).routes
    assert np.allclose(ahead.y_m, 1.75) and np.allclose(back.y_m, -5.75)
    assert np.allclose(ahead.half_width_m, 1.75)


def test_a_lane_that_begins_at_once_does_not_make_the_route_jump(opened):
    geometries, length = plan([("line", 100.0, ())])
    sections = [
        section(0, (), [lane(-1, after=-1)]),
        section(50, (), [lane(-1, before=-1), lane(-2)]),
    ]
    ahead = opened(document(road(1, geometries, length, sections))).route_forward
    assert even(ahead)
    assert (ahead.y_m[0], ahead.y_m[-1]) == pytest.approx((1.75, 3.5))
    assert (ahead.half_width_m[0], ahead.half_width_m[-1]) == pytest.approx((1.75, 3.5))


def test_height_and_pitch_follow_the_road(opened):
    ahead, back = opened(varied_road(), "lane").routes
    assert ahead.pitch_rad[20] == pytest.approx(math.atan(0.02))
    assert back.pitch_rad[-20] == pytest.approx(-math.atan(0.02))
    assert ahead.z_m[0] == pytest.approx(1.0)
    assert ahead.z_m[-1] == pytest.approx(back.z_m[0])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("circuit:", "the seed is ''; it must be a whole number, 0 or more"),
        ("circuit:-1", "whole number"),
        ("circuit:1.5", "whole number"),
        ("circuit:x", "whole number"),
        ("", "circuit:<seed>"),
        ("Town01", "simulator: carla"),
        ("nothing.xodr", "there is no file"),
        ("../outside.xodr", "set tracks.folder"),
        ("empty.xodr", "is empty"),
        ("broken.xodr", "not well-formed XML"),
        ("binary.xodr", "not well-formed XML"),
        ("pavement.xodr", "none with a lane of type 'driving'"),
        ("short.xodr", "no way of 30 m or more"),
        ("folder.xodr", "cannot be read"),
    ],
)
def test_says_in_one_sentence_what_is_wrong(name, says, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    (tmp_path / "outside.xodr").write_text(two_way_road())
    (maps / "folder.xodr").mkdir()
    (maps / "empty.xodr").write_text("")
    (maps / "broken.xodr").write_text(two_way_road()[:300])
    (maps / "binary.xodr").write_bytes(bytes(range(256)))
    (maps / "pavement.xodr").write_text(two_way_road().replace("driving", "sidewalk"))
    (maps / "short.xodr").write_text(two_way_road(length=10.0))
    with pytest.raises(TrackError) as raised:
        open_track(name, "road", maps)
    message = str(raised.value)
    assert says in message and repr(name) in message
    assert "\n" not in message


def test_names_the_three_forms_where_a_town_needs_a_server():
    with pytest.raises(TrackError, match=r"circuit:<seed>.*\.xodr.*town's name.*simulator: carla"):
        open_track("Twon01")


def test_a_missing_file_is_told_with_what_is_there(tmp_path):
    (tmp_path / "here.xodr").write_text(two_way_road())
    with pytest.raises(TrackError, match="its folder has here.xodr"):
        open_track("there.xodr", "road", tmp_path)


def test_follow_is_checked():
    with pytest.raises(TrackError, match="'pavement'; it must be one of road, lane"):
        open_track("circuit:1", "pavement")


def test_a_file_may_be_named_with_its_folder_or_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "loop.xodr").write_text(small_town())
    for name in ("loop.xodr", "maps/loop.xodr", "./maps/loop.xodr", str(tmp_path / "maps" / "loop.xodr")):
        track = open_track(name)
        assert (track.name, track.map_name, track.is_town) == (name, "loop", False)


def test_a_town_s_text_comes_from_the_server():
    asked = []

    def of_town(name):
        asked.append(name)
        return small_town()

    track = open_track("Town99", "lane", opendrive_of_town=of_town)
    assert asked == ["Town99"]
    assert (track.map_name, track.is_town, track.xodr) == ("Town99", True, small_town())
    assert track.route_forward.closed
