"""Small OpenDRIVE texts for the tests of the bundled server's ground, camera and vehicle."""

from __future__ import annotations

import math

from clipdrive.carla_server.ground import GroundMap
from clipdrive.opendrive import reader

TWO_LANES = ((1, 3.5), (-1, 3.5))


def lanes_xml(lanes, centre="broken", outer="solid"):
    """A lane section from (id, width) pairs, left to right."""

    def lane(number, width):
        return (
            f'<lane id="{number}" type="driving"><width sOffset="0" a="{width}" b="0" c="0" d="0"/>'
            f'<roadMark sOffset="0" type="{outer}" color="white" width="0.12"/></lane>'
        )

    left = "".join(lane(*pair) for pair in lanes if pair[0] > 0)
    right = "".join(lane(*pair) for pair in lanes if pair[0] < 0)
    return (
        '<lanes><laneSection s="0">'
        + (f"<left>{left}</left>" if left else "")
        + '<center><lane id="0" type="none"><roadMark sOffset="0" '
        + f'type="{centre}" color="white" width="0.12"/></lane></center>'
        + (f"<right>{right}</right>" if right else "")
        + "</laneSection></lanes>"
    )


def road_xml(name, pieces, lanes=TWO_LANES, elevation="", junction="-1", **marks):
    """A road of (x, y, heading, length, curvature) pieces in OpenDRIVE's frame."""
    s, geometry = 0.0, ""
    for x, y, heading, length, curvature in pieces:
        shape = f'<arc curvature="{curvature}"/>' if curvature else "<line/>"
        geometry += f'<geometry s="{s}" x="{x}" y="{y}" hdg="{heading}" length="{length}">{shape}</geometry>'
        s += length
    return (
        f'<road name="" length="{s}" id="{name}" junction="{junction}"><planView>{geometry}</planView>'
        f"<elevationProfile>{elevation}</elevationProfile>{lanes_xml(lanes, **marks)}</road>"
    )


def network(*roads):
    """The network of these roads."""
    text = '<OpenDRIVE><header revMajor="1" revMinor="4" name="test"/>' + "".join(roads) + "</OpenDRIVE>"
    return reader.read(text)


def ground(*roads, **options):
    """The ground map of these roads."""
    return GroundMap.from_network(network(*roads), **options)


def straight(length=200.0, **options):
    """A straight road along x from the origin."""
    return road_xml("1", [(0.0, 0.0, 0.0, length, 0.0)], **options)


def left_arc(radius=30.0, angle=2.0, **options):
    """A road that begins at the origin along x and turns left (towards negative y in CARLA's frame)."""
    return road_xml("1", [(0.0, 0.0, 0.0, radius * angle, 1.0 / radius)], **options)


def crossing(half=60.0, inner=12.0, corner=8.5):
    """Two straight roads of two lanes that meet in a junction of one-lane connecting roads, turns included."""
    roads, number = [], 1
    arms = [k * math.pi / 2.0 for k in range(4)]
    for heading in arms:  # towards the outside
        x, y = inner * math.cos(heading), inner * math.sin(heading)
        roads.append(road_xml(str(number), [(x, y, heading, half - inner, 0.0)]))
        number += 1
    del corner
    for arm in arms:  # from this arm straight on, to the left and to the right
        inwards = arm + math.pi
        x, y = inner * math.cos(arm), inner * math.sin(arm)
        one = ((-1, 3.5),)
        roads.append(
            road_xml(str(number), [(x, y, inwards, 2.0 * inner, 0.0)], one, junction="900", centre="none", outer="none")
        )
        for side in (1.0, -1.0):
            turn = [(x, y, inwards, inner * math.pi / 2.0, side / inner)]
            number += 1
            roads.append(road_xml(str(number), turn, one, junction="900", centre="none", outer="none"))
        number += 1
    return roads


def slope_xml(s, a, b, c=0.0):
    """One piece of an elevation profile."""
    return f'<elevation s="{s}" a="{a}" b="{b}" c="{c}" d="0"/>'
