"""Reading OpenDRIVE text: what is read, and one clear sentence for what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from clipdrive.opendrive.network import Connection, Link
from clipdrive.opendrive.reader import OpenDriveError, read
from road_samples import document, lane, plan, road, section, two_way_road, varied_road


def test_reads_roads_sections_lanes_and_marks():
    network = read(varied_road())
    assert network.name == "sample"
    assert network.geo_reference == "+proj=tmerc +lat_0=0 +lon_0=0"
    (only,) = network.roads.values()
    assert (only.id, only.name, only.junction_id) == ("7", "r7", None)
    kinds = ["line", "spiral", "arc", "spiral", "poly3", "paramPoly3", "paramPoly3"]
    assert [geometry.kind for geometry in only.geometries] == kinds
    assert [(part.s_m, part.end_m) for part in only.lane_sections] == [(0, 40), (40, 80), (80, only.length_m)]
    first = only.lane_sections[0]
    assert [one.id for one in first.lanes] == [2, 1, 0, -1, -2]
    assert [one.drivable for one in first.lanes] == [False, True, False, True, True]
    centre = first.lane(0)
    assert [(mark.s_m, mark.kind, mark.colour) for mark in centre.road_marks] == [
        (0.0, "broken", "yellow"),
        (20.0, "solid", "yellow"),
    ]
    assert first.lane(-1).successor == -1 and first.lane(-1).predecessor is None
    assert first.lane(5) is None


def test_parameter_range_of_param_poly3():
    normalised, by_length = read(varied_road()).roads["7"].geometries[-2:]
    assert normalised.parameters[8] == 1.0
    assert by_length.parameters[8] == by_length.length_m


def test_reads_links_and_junctions():
    geometries, length = plan([("line", 50.0, ())])
    links = (
        '<predecessor elementType="road" elementId="9" contactPoint="end"/>'
        '<successor elementType="junction" elementId="100"/>'
    )
    junction = (
        '<junction id="100" name="j">'
        '<connection id="0" incomingRoad="1" connectingRoad="2" contactPoint="end">'
        '<laneLink from="-1" to="1"/></connection></junction>'
    )
    network = read(document(road(1, geometries, length, [section(0, (), [lane(-1)])], links), junction))
    assert network.roads["1"].predecessor == Link("road", "9", "end")
    assert network.roads["1"].successor == Link("junction", "100", None)
    assert network.junctions["100"].connections == (Connection("1", "2", "end", ((-1, 1),)),)


def test_reads_a_byte_order_mark_and_a_namespace():
    text = two_way_road().replace("<OpenDRIVE>", '<OpenDRIVE xmlns="http://example.org/opendrive">')
    assert list(read("\ufeff" + text).roads) == ["1"]


def test_cubics_take_the_piece_that_begins_before_s():
    cubics = read(varied_road()).roads["7"].elevation
    np.testing.assert_allclose(cubics(np.array([0.0, 10.0, 50.0, 60.0])), [1.0, 1.2, 2.0, 2.246])
    np.testing.assert_allclose(cubics.slope(np.array([10.0, 60.0])), [0.02, 0.02 + 0.01 - 0.0012])


GOOD = two_way_road()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (GOOD[: len(GOOD) // 2], "not well-formed XML"),
        ("\x00\x01 no xml", "not well-formed XML"),
        ("<html></html>", "outermost element is <html>"),
        ("<OpenDRIVE/>", "no <road>"),
        (GOOD.replace('type="driving"', 'type="sidewalk"'), "none with a lane of type 'driving'"),
        (GOOD.replace('hdg="0.0"', 'hdg="east"'), "In road 1: 'hdg' of <geometry> is 'east'"),
        (GOOD.replace('hdg="0.0"', 'hdg="nan"'), "must be a finite number"),
        (GOOD.replace('hdg="0.0"', ""), "'hdg' of <geometry> is missing"),
        (GOOD.replace("<line />", "<circle/>"), "holds <circle>; it must hold one of line, arc"),
        (GOOD.replace("planView", "plan"), "no <geometry>"),
        (GOOD.replace("laneSection", "section"), "no <laneSection>"),
        (GOOD.replace('length="200.0"', 'length="-3"'), "above 0"),
    ],
)
def test_says_in_one_sentence_what_is_wrong(text, says):
    with pytest.raises(OpenDriveError) as raised:
        read(text)
    message = str(raised.value)
    assert says in message
    assert "\n" not in message and message.endswith(".")


def test_refuses_two_roads_of_one_id():
    geometries, length = plan([("line", 50.0, ())])
    one = road(1, geometries, length, [section(0, (), [lane(-1)])])
    with pytest.raises(OpenDriveError, match="same id"):
        read(document(one, one))
