"""Reference lines, borders and marks against brute-force sums, tables of Fresnel integrals, and carla.Map."""

from __future__ import annotations

import carla
import numpy as np
import pytest

from clipdrive.opendrive import geometry
from clipdrive.opendrive.curves import clothoid
from clipdrive.opendrive.reader import read
from road_samples import NEARLY_AN_ARC, cubic, document, lane, plan, road, section, trace, varied_road


def single(kind, length, parameters, **placed):
    geometries, length = plan([(kind, length, parameters)], **placed)
    return read(document(road(1, geometries, length, [section(0, (), [lane(-1)])]))).roads["1"]


@pytest.fixture(scope="module")
def varied():
    return read(varied_road()).roads["7"]


CUBIC_CURVE = (0.0, 30.0, 0.0, -4.0, 0.0, 0.0, 12.0, -4.0)
KINDS = [
    ("line", 30.0, ()),
    ("arc", 60.0, (-0.05,)),
    ("arc", 60.0, (1e-12,)),
    ("spiral", 40.0, (0.0, 0.1)),
    ("spiral", 80.0, (0.09, -0.08)),
    ("spiral", 40.0, (0.03, 0.03)),
    ("poly3", 40.0, (0.0, 0.1, 0.01, -0.0003)),
    ("paramPoly3", float(trace("paramPoly3", 0, CUBIC_CURVE)[0][-1]), CUBIC_CURVE),
    ("paramPoly3", 25.0, (*NEARLY_AN_ARC, 25.0)),
]


@pytest.mark.parametrize(("kind", "length", "parameters"), KINDS)
def test_every_kind_of_geometry_follows_brute_force(kind, length, parameters):
    s_fine, u, v, heading = trace(kind, length, parameters)
    if len(parameters) > 8:  # the curve ends where the stated length does, which differs by some millimetres
        assert abs(s_fine[-1] - length) < 0.02
        s_fine = s_fine * (length / s_fine[-1])
    s = np.linspace(0.0, length, 57)
    line = geometry.reference_line(single(kind, length, parameters), s)
    np.testing.assert_allclose(line.x_m, np.interp(s, s_fine, u), atol=1e-6)
    np.testing.assert_allclose(line.y_m, np.interp(s, s_fine, v), atol=1e-6)
    np.testing.assert_allclose(line.heading_rad, np.interp(s, s_fine, heading), atol=2e-5)
    inner = slice(2, -2)
    curvature = np.interp(s, s_fine, np.gradient(heading, s_fine))
    np.testing.assert_allclose(line.curvature_1pm[inner], curvature[inner], atol=1e-4)


def test_clothoid_meets_the_tables_of_fresnel_integrals():
    # Abramowitz and Stegun, table 7.7: C(x) and S(x) with the phase pi t^2 / 2.
    u, v = clothoid(0.0, np.pi, np.array([0.5, 1.0, 2.0]))
    np.testing.assert_allclose(u, [0.4923442, 0.7798934, 0.4882534], atol=1e-7)
    np.testing.assert_allclose(v, [0.0647324, 0.4382591, 0.3434157], atol=1e-7)


def test_an_arc_is_a_quarter_of_a_circle():
    line = geometry.reference_line(single("arc", 10.0 * np.pi, (0.05,), x=3.0, y=4.0), [10.0 * np.pi])
    end = [line.x_m[0], line.y_m[0], line.heading_rad[0]]
    np.testing.assert_allclose(end, [23.0, 24.0, np.pi / 2], atol=1e-9)


def test_s_beyond_the_road_is_its_end():
    line = geometry.reference_line(single("line", 30.0, ()), [-5.0, 99.0])
    np.testing.assert_allclose(line.x_m, [0.0, 30.0])


def test_elevation_and_slope(varied):
    z, slope = geometry.elevation(varied, [10.0, 60.0])
    np.testing.assert_allclose(z, [1.2, 2.246])
    np.testing.assert_allclose(slope, [0.02, 0.0288])


def test_lane_borders_with_offset_and_changing_width(varied):
    first, second = geometry.lane_borders(varied, [10.0, 60.0])
    assert first.lane_ids == (2, 1, -1, -2)
    np.testing.assert_allclose(first.t_left_m[:, 0], [5.5, 3.5, 0.0, -3.5])
    np.testing.assert_allclose(first.t_right_m[:, 0], [3.5, 0.0, -3.5, -4.0])
    width = 3.0 + 0.003 * 20.0**2 - 0.00005 * 20.0**3
    assert second.lane_ids == (1, -1, -2)
    np.testing.assert_allclose(second.t_left_m[:, 0], [0.8 + width, 0.8, -2.7])
    np.testing.assert_allclose(second.t_right_m[:, 0], [0.8, -2.7, -2.7 - width])
    np.testing.assert_allclose(second.rows, [1])


def test_driving_extent_takes_the_shoulder_and_leaves_the_sidewalk(varied):
    t_right, t_left = geometry.driving_extent(varied, [10.0, 20.0])
    np.testing.assert_allclose(t_left, 3.5)
    np.testing.assert_allclose(t_right, -4.0)


def test_driving_extent_is_nan_without_a_drivable_lane():
    geometries, length = plan([("line", 40.0, ())])
    sections = [section(0, (), [lane(-1)]), section(20, (), [lane(-1, "sidewalk")])]
    only = read(document(road(1, geometries, length, sections))).roads["1"]
    t_right, t_left = geometry.driving_extent(only, [10.0, 30.0])
    assert t_right[0] == -3.5 and t_left[0] == 0.0
    assert np.isnan(t_right[1]) and np.isnan(t_left[1])


def test_borders_given_as_border_elements():
    geometries, length = plan([("line", 40.0, ())])
    bordered = f'<lane id="-1" type="driving">{cubic("border", "sOffset", (0, -3.0, -0.01, 0, 0))}</lane>'
    only = read(document(road(1, geometries, length, [section(0, (), [bordered])]))).roads["1"]
    (borders,) = geometry.lane_borders(only, [10.0])
    assert borders.t_right_m[0, 0] == pytest.approx(-3.1)


def test_marks(varied):
    found = geometry.marks(varied, [10.0, 30.0, 60.0])
    by_t = {round(float(mark.t_m[0]), 3): mark for mark in found}
    centre = by_t[0.0]
    assert list(centre.kind) == ["broken", "solid", "solid solid"]
    assert list(centre.colour) == ["yellow"] * 3
    np.testing.assert_allclose(centre.t_m, [0.0, 0.0, 0.8])
    assert list(by_t[3.5].kind) == ["solid"] * 3
    assert list(by_t[-3.5].kind) == ["solid", "solid", "none"]
    assert np.isnan(by_t[5.5].t_m[2]), "the sidewalk ends with its section"
    for t_m, kind, colour in found:
        assert len(t_m) == len(kind) == len(colour) == 3


def test_carla_agrees_to_the_centimetre(varied):
    text = varied_road()
    waypoints = [
        waypoint
        for waypoint in carla.Map("varied", text).generate_waypoints(1.0)
        if waypoint.s < varied.length_m - 0.01
    ]
    assert len(waypoints) > 400
    assert {(w.section_id, w.lane_id) for w in waypoints} == {
        (0, 1), (0, -1), (1, 1), (1, -1), (1, -2), (2, 1), (2, -1), (2, -2),
    }  # fmt: skip
    for waypoint in waypoints:
        (borders,) = geometry.lane_borders(varied, [waypoint.s])
        row = borders.lane_ids.index(waypoint.lane_id)
        t_left, t_right = borders.t_left_m[row], borders.t_right_m[row]
        x, y = geometry.points(varied, [waypoint.s], 0.5 * (t_left + t_right))
        z, _ = geometry.elevation(varied, [waypoint.s])
        place = waypoint.transform.location
        assert np.hypot(place.x - x[0], place.y + y[0]) < 0.01
        assert abs(place.z - z[0]) < 0.01
        assert abs(waypoint.lane_width - (t_left - t_right)[0]) < 1e-3


def test_carla_agrees_about_heading_and_pitch_where_lanes_keep_their_width(varied):
    for waypoint in carla.Map("varied", varied_road()).generate_waypoints(1.0):
        if waypoint.s < 30.0 or 81.0 < waypoint.s < varied.length_m - 0.01:
            line = geometry.reference_line(varied, [waypoint.s])
            _, slope = geometry.elevation(varied, [waypoint.s])
            direction = 1.0 if waypoint.lane_id < 0 else -1.0
            heading = line.heading_rad[0] + (0.0 if direction > 0 else np.pi)
            rotation = waypoint.transform.rotation
            error = (np.radians(rotation.yaw) + heading + np.pi) % (2 * np.pi) - np.pi
            assert abs(error) < 0.01
            pitch = (rotation.pitch + 180.0) % 360.0 - 180.0
            assert abs(np.radians(pitch) - np.arctan(direction * slope[0])) < 1e-3
