"""OpenDRIVE texts for tests, written independently of `clipdrive.opendrive.writer`."""

from __future__ import annotations

import math

import numpy as np

# A circle of 100 m to the third order, so that p is very nearly the arc length (pRange="arcLength").
NEARLY_AN_ARC = (0.0, 1.0, 0.0, -0.01**2 / 6.0, 0.0, 0.0, 0.005, 0.0)


def trace(kind, length, parameters, n=200_001):
    """s, u, v and heading along one geometry from the origin, by brute force: fine sums, no formulas."""
    if kind in ("line", "arc", "spiral"):
        start, end = {"line": (0.0, 0.0), "arc": parameters * 2, "spiral": parameters}[kind]
        s = np.linspace(0.0, length, n)
        curvature = start + (end - start) * s / length
        heading = np.concatenate(([0.0], np.cumsum(0.5 * (curvature[1:] + curvature[:-1]) * np.diff(s))))
        u, v = (
            np.concatenate(([0.0], np.cumsum(0.5 * (f(heading[1:]) + f(heading[:-1])) * np.diff(s))))
            for f in (np.cos, np.sin)
        )
        return s, u, v, heading
    if kind == "poly3":
        a, b, c, d = parameters
        u = np.linspace(0.0, length, n)
        v = a + b * u + c * u**2 + d * u**3
    else:
        p = np.linspace(0.0, parameters[8] if len(parameters) > 8 else 1.0, n)
        u = sum(parameters[i] * p**i for i in range(4))
        v = sum(parameters[4 + i] * p**i for i in range(4))
    s = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(u), np.diff(v)))))
    heading = np.unwrap(np.arctan2(np.gradient(v, s), np.gradient(u, s)))
    return s, u, v, heading


def plan(pieces, x=0.0, y=0.0, heading=0.0):
    """<geometry> elements of `pieces` (kind, length, parameters), one behind the other; the whole length."""
    names = {
        "line": (),
        "arc": ("curvature",),
        "spiral": ("curvStart", "curvEnd"),
        "poly3": ("a", "b", "c", "d"),
        "paramPoly3": ("aU", "bU", "cU", "dU", "aV", "bV", "cV", "dV"),
    }
    out, at = [], 0.0
    for kind, length, parameters in pieces:
        attributes = " ".join(f'{k}="{v!r}"' for k, v in zip(names[kind], parameters, strict=False))
        if kind == "paramPoly3":
            attributes += f' pRange="{"arcLength" if len(parameters) > 8 else "normalized"}"'
        out.append(
            f'<geometry s="{at!r}" x="{x!r}" y="{y!r}" hdg="{heading!r}" length="{length!r}">'
            f"<{kind} {attributes}/></geometry>"
        )
        s, u, v, turned = trace(kind, length, parameters)
        du, dv, dh = (float(np.interp(length, s, values)) for values in (u, v, turned))
        x, y = (
            x + math.cos(heading) * du - math.sin(heading) * dv,
            y + math.sin(heading) * du + math.cos(heading) * dv,
        )
        at, heading = at + length, heading + dh
    return "".join(out), at


def cubic(tag, start, *rows):
    return "".join(
        f'<{tag} {start}="{s}" a="{a}" b="{b}" c="{c}" d="{d}"/>' for s, a, b, c, d in rows
    )


def lane(lane_id, kind="driving", widths=((0, 3.5, 0, 0, 0),), marks=(), before=None, after=None):
    links = "" if before is None else f'<predecessor id="{before}"/>'
    links += "" if after is None else f'<successor id="{after}"/>'
    painted = "".join(f'<roadMark sOffset="{s}" type="{t}" color="{c}" width="0.12"/>' for s, t, c in marks)
    sizes = cubic("width", "sOffset", *widths) if lane_id else ""
    return f'<lane id="{lane_id}" type="{kind}" level="false"><link>{links}</link>{sizes}{painted}</lane>'


def section(s, left=(), right=(), centre_marks=()):
    left = f"<left>{''.join(left)}</left>" if left else ""
    right = f"<right>{''.join(right)}</right>" if right else ""
    centre = f"<center>{lane(0, 'none', marks=centre_marks)}</center>"
    return f'<laneSection s="{s}">{left}{centre}{right}</laneSection>'


def road(road_id, geometries, length, sections, links="", junction=-1, elevation="", offset=""):
    return (
        f'<road name="r{road_id}" length="{length!r}" id="{road_id}" junction="{junction}">'
        f"<link>{links}</link><planView>{geometries}</planView><elevationProfile>{elevation}</elevationProfile>"
        f"<lanes>{offset}{''.join(sections)}</lanes></road>"
    )


def document(*parts, name="sample"):
    return (
        '<?xml version="1.0"?><OpenDRIVE>'
        f'<header revMajor="1" revMinor="4" name="{name}" version="1" north="0" south="0" east="0" west="0">'
        "<geoReference><![CDATA[+proj=tmerc +lat_0=0 +lon_0=0]]></geoReference></header>"
        f"{''.join(parts)}</OpenDRIVE>"
    )


def two_way_road(length=200.0, pieces=None):
    """One open road, a lane each way."""
    geometries, length = plan(pieces or [("line", length, ())])
    both = section(0, [lane(1)], [lane(-1)])
    return document(road(1, geometries, length, [both]))


def varied_road():
    """Every kind of geometry, elevation, lane offset, three lane sections, lanes of changing width."""
    pieces = [
        ("line", 20.0, ()),
        ("spiral", 20.0, (0.0, 0.05)),
        ("arc", 25.0, (0.05,)),
        ("spiral", 30.0, (0.05, -0.04)),
        ("poly3", 25.0, (0.0, 0.0, 0.01, -0.0003)),
    ]
    shape = (0.0, 30.0, 0.0, -4.0, 0.0, 0.0, 12.0, -4.0)
    pieces.append(("paramPoly3", float(trace("paramPoly3", 0, shape)[0][-1]), shape))
    pieces.append(("paramPoly3", 20.0, (*NEARLY_AN_ARC, 20.0)))
    geometries, length = plan(pieces, x=12.0, y=-7.0, heading=0.4)
    wide = ((0, 3.0, 0.0, 0.003, -0.00005),)
    solid = ((0, "solid", "white"),)
    sections = [
        section(
            0,
            [lane(2, "sidewalk", ((0, 2, 0, 0, 0),)), lane(1, marks=solid, after=1)],
            [lane(-1, marks=solid, after=-1), lane(-2, "shoulder", ((0, 0.5, 0, 0, 0),), marks=solid)],
            ((0, "broken", "yellow"), (20, "solid", "yellow")),
        ),
        section(
            40,
            [lane(1, widths=wide, marks=solid, before=1, after=1)],
            [lane(-1, before=-1, after=-1), lane(-2, widths=wide, marks=solid, after=-2)],
            ((0, "solid solid", "yellow"),),
        ),
        section(80, [lane(1, before=1)], [lane(-1, before=-1), lane(-2, before=-2)]),
    ]
    elevation = cubic("elevation", "s", (0, 1, 0.02, 0, 0), (50, 2, 0.02, 0.0005, -0.000004))
    offset = cubic("laneOffset", "s", (0, 0, 0, 0, 0), (30, 0, 0, 0.006, -0.0002), (50, 0.8, 0, 0, 0))
    return document(road(7, geometries, length, sections, elevation=elevation, offset=offset))


def _joined(before=None, after=None):
    """<link> content: (element type, id, contact point or None) at either end."""
    out = ""
    for tag, joined in (("predecessor", before), ("successor", after)):
        if joined is not None:
            kind, element_id, contact = joined
            touching = f' contactPoint="{contact}"' if contact else ""
            out += f'<{tag} elementType="{kind}" elementId="{element_id}"{touching}/>'
    return out


TOWN_LOOP_M = 200.0 + 40.0 * math.pi  # along the middle of the road


def small_town():
    """A loop of 325.66 m, driven to the left, with a junction from which a dead end goes off to the right.

    Road 1: (10, 0) to (70, 0). Junction 50: to (90, 0), or right to (80, -10). Road 2: back to (10, 0) over two
    half circles of 20 m. Road 3: the dead end, 40 m.
    """
    pair = [section(0, [lane(1, before=1, after=1)], [lane(-1, before=-1, after=-1)])]
    one_way = [section(0, (), [lane(-1, before=-1, after=-1)])]

    def to_left_lane(before, after):
        return [section(0, (), [lane(-1, before=before, after=after)])]

    half = math.pi * 20.0
    roads = [
        road(1, *plan([("line", 60.0, ())], 10.0, 0.0), pair, _joined(("road", 2, "end"), ("junction", 50, None))),
        road(
            2,
            *plan([("line", 20.0, ()), ("arc", half, (0.05,)), ("line", 100.0, ()), ("arc", half, (0.05,))], 90.0),
            pair,
            _joined(("junction", 50, None), ("road", 1, "start")),
        ),
        road(3, *plan([("line", 40.0, ())], 80.0, -10.0, -math.pi / 2), pair, _joined(("junction", 50, None))),
        road(
            10,
            *plan([("line", 20.0, ())], 70.0),
            one_way,
            _joined(("road", 1, "end"), ("road", 2, "start")),
            junction=50,
        ),
        road(
            11,
            *plan([("line", 20.0, ())], 90.0, 0.0, math.pi),
            to_left_lane(1, 1),
            _joined(("road", 2, "start"), ("road", 1, "end")),
            junction=50,
        ),
        road(
            12,
            *plan([("arc", 5.0 * math.pi, (-0.1,))], 70.0),
            one_way,
            _joined(("road", 1, "end"), ("road", 3, "start")),
            junction=50,
        ),
        road(
            13,
            *plan([("arc", 5.0 * math.pi, (0.1,))], 80.0, -10.0, math.pi / 2),
            to_left_lane(1, 1),
            _joined(("road", 3, "start"), ("road", 1, "end")),
            junction=50,
        ),
    ]
    ways = [(1, 10, -1), (2, 11, 1), (1, 12, -1), (3, 13, 1)]
    connections = "".join(
        f'<connection id="{i}" incomingRoad="{a}" connectingRoad="{b}" contactPoint="start">'
        f'<laneLink from="{lane_from}" to="-1"/></connection>'
        for i, (a, b, lane_from) in enumerate(ways)
    )
    return document(*roads, f'<junction id="50" name="T">{connections}</junction>', name="small town")


RADIUS_M = 20.0  # of the crossing's outer roads, and half the junction's size


def crossing():
    """Two outer roads, each three quarters of a circle, that meet at a crossing around (0, 0); every turn is allowed.

    Road 1 leaves the crossing to the east and comes back, over a circle to the left, from the north; road 2 leaves it
    to the west and comes back from the south.
    """
    pair = [section(0, [lane(1, before=1, after=1)], [lane(-1, before=-1, after=-1)])]
    around = [("arc", 1.5 * math.pi * RADIUS_M, (1.0 / RADIUS_M,))]
    both = _joined(("junction", 50, None), ("junction", 50, None))
    roads = [
        road(1, *plan(around, RADIUS_M, 0.0, 0.0), pair, both),
        road(2, *plan(around, -RADIUS_M, 0.0, math.pi), pair, both),
    ]
    # arm: (x, y, heading out of the junction, road, which end of it)
    arms = [
        (RADIUS_M, 0.0, 0.0, 1, "start"),
        (0.0, RADIUS_M, math.pi / 2, 1, "end"),
        (-RADIUS_M, 0.0, math.pi, 2, "start"),
        (0.0, -RADIUS_M, -math.pi / 2, 2, "end"),
    ]
    connections, number = "", 10
    for here, (x, y, out, road_in, end_in) in enumerate(arms):
        for turn, (kind, length, shape) in enumerate(
            [
                ("arc", 0.5 * math.pi * RADIUS_M, (-1.0 / RADIUS_M,)),
                ("line", 2.0 * RADIUS_M, ()),
                ("arc", 0.5 * math.pi * RADIUS_M, (1.0 / RADIUS_M,)),
            ]
        ):
            *_, road_out, end_out = arms[(here + 1 + turn) % 4]  # counter-clockwise: the next arm is to the right
            lane_in, lane_out = (1 if end_in == "start" else -1), (-1 if end_out == "start" else 1)
            one = [section(0, (), [lane(-1, before=lane_in, after=lane_out)])]
            links = _joined(("road", road_in, end_in), ("road", road_out, end_out))
            roads.append(road(number, *plan([(kind, length, shape)], x, y, out + math.pi), one, links, junction=50))
            connections += (
                f'<connection id="{number}" incomingRoad="{road_in}" connectingRoad="{number}" contactPoint="start">'
                f'<laneLink from="{lane_in}" to="-1"/></connection>'
            )
            number += 1
    return document(*roads, f'<junction id="50" name="X">{connections}</junction>', name="crossing")
