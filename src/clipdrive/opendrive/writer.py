"""Writes OpenDRIVE: a closed loop of geometries as several roads in a ring, or roads and junctions; a lane each way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clipdrive.opendrive.network import Geometry, Link

ROADS = 4  # a ring of one or two roads has no way on at its seam in CARLA's map


@dataclass(frozen=True)
class LaneStyle:
    """What the lanes of a document look like; without a shoulder each lane ends in a solid line."""

    width_m: float = 3.5
    shoulder_m: float = 0.0
    middle_colour: str = "white"


@dataclass(frozen=True)
class Passage:
    """A road through a junction: from which street into which, and whether those begin there or end there."""

    road: int
    from_road: int
    from_start: bool
    to_road: int
    to_start: bool

    @property
    def from_lane(self) -> int:
        """The lane of the street that leads into the junction."""
        return 1 if self.from_start else -1

    @property
    def to_lane(self) -> int:
        """The lane of the street that leads away from it."""
        return -1 if self.to_start else 1


def circuit_document(name: str, pieces: Sequence[Geometry]) -> str:
    """The OpenDRIVE text of the ring made of `pieces`, split at their seams into roads of similar length."""
    roads = _split(pieces)
    lines: list[str] = []
    for index, road in enumerate(roads):
        before, after = (index - 1) % len(roads) + 1, (index + 1) % len(roads) + 1
        lines += road_lines(
            index + 1, road, LaneStyle(), Link("road", str(before), "end"), Link("road", str(after), "start")
        )
    return document(name, pieces, lines)


def document(name: str, pieces: Sequence[Geometry], body: Iterable[str]) -> str:
    """The whole text: a header with the bounds of where the pieces begin, then roads and junctions."""
    xs, ys = [piece.x_m for piece in pieces], [piece.y_m for piece in pieces]
    bounds = {"north": max(ys), "south": min(ys), "east": max(xs), "west": min(xs)}
    edges = " ".join(f'{side}="{_metres(value)}"' for side, value in bounds.items())
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<OpenDRIVE>",
        f'  <header revMajor="1" revMinor="4" name="{name}" version="1" {edges} vendor="clipdrive">',
        "    <geoReference><![CDATA[+proj=tmerc +lat_0=0 +lon_0=0]]></geoReference>",
        "  </header>",
        *body,
        "</OpenDRIVE>",
    ]
    return "\n".join(lines) + "\n"


def _split(pieces: Sequence[Geometry]) -> list[list[Geometry]]:
    total_m = pieces[-1].s_m + pieces[-1].length_m
    cuts = [0]
    for share in range(1, ROADS):
        wanted = total_m * share / ROADS
        later = range(cuts[-1] + 1, len(pieces))
        cuts.append(min(later, key=lambda index: abs(pieces[index].s_m - wanted)))
    return [list(pieces[a:b]) for a, b in zip(cuts, [*cuts[1:], len(pieces)], strict=True)]


def road_lines(
    road_id: int,
    pieces: Sequence[Geometry],
    style: LaneStyle,
    before: Link | None = None,
    after: Link | None = None,
    *,
    junction: int = -1,
    passage: Passage | None = None,
    marked: bool = True,
) -> list[str]:
    """A road with a lane each way, linked to what is before and after it, or a passage with its one lane.

    `marked`: the middle is painted.
    """
    if passage is not None:
        before = Link("road", str(passage.from_road), "start" if passage.from_start else "end")
        after = Link("road", str(passage.to_road), "start" if passage.to_start else "end")
    lengths = [round(piece.length_m, 6) for piece in pieces]
    lines = [
        f'  <road name="Road {road_id}" length="{_metres(sum(lengths))}" id="{road_id}" junction="{junction}">',
        "    <link>",
        f"      <predecessor {_joined(before)}/>",
        f"      <successor {_joined(after)}/>",
        "    </link>",
        '    <type s="0" type="town"/>',
        "    <planView>",
    ]
    s_m = 0.0
    for piece, length_m in zip(pieces, lengths, strict=True):
        lines.append(
            f'      <geometry s="{_metres(s_m)}" x="{_metres(piece.x_m)}" y="{_metres(piece.y_m)}"'
            f' hdg="{piece.heading_rad:.9f}" length="{_metres(length_m)}">{_shape(piece)}</geometry>'
        )
        s_m += length_m
    return [*lines, "    </planView>", *_FLAT, *_lanes(style, passage, marked), "  </road>"]


def junction_lines(junction_id: int, passages: Sequence[Passage]) -> list[str]:
    """A junction: how each of its passages is reached."""
    lines = [f'  <junction id="{junction_id}" name="Junction {junction_id}">']
    for number, passage in enumerate(passages):
        lines += [
            f'    <connection id="{number}" incomingRoad="{passage.from_road}" connectingRoad="{passage.road}"'
            ' contactPoint="start">',
            f'      <laneLink from="{passage.from_lane}" to="-1"/>',
            "    </connection>",
        ]
    return [*lines, "  </junction>"]


def _joined(link: Link) -> str:
    contact = f' contactPoint="{link.contact_point}"' if link.contact_point else ""
    return f'elementType="{link.element_type}" elementId="{link.element_id}"{contact}'


def _shape(piece: Geometry) -> str:
    values = [f"{value:.10f}" for value in piece.parameters]
    if piece.kind == "line":
        return "<line/>"
    if piece.kind == "arc":
        return f'<arc curvature="{values[0]}"/>'
    return f'<spiral curvStart="{values[0]}" curvEnd="{values[1]}"/>'


def _metres(value: float) -> str:
    return f"{value:.6f}"  # a micrometre; more digits would differ from machine to machine


def _mark(kind: str, colour: str = "white") -> str:
    return f'<roadMark sOffset="0" type="{kind}" weight="standard" color="{colour}" width="0.15"/>'


def _lane(lane_id: int, before: int, after: int, width_m: float, mark: str, kind: str = "driving") -> str:
    return (
        f'          <lane id="{lane_id}" type="{kind}" level="false">'
        f'<link><predecessor id="{before}"/><successor id="{after}"/></link>'
        f'<width sOffset="0" a="{width_m}" b="0" c="0" d="0"/>{mark}</lane>'
    )


def _lanes(style: LaneStyle, passage: Passage | None, marked: bool) -> list[str]:
    middle = _mark("broken", style.middle_colour) if marked else _mark("none")
    edge = _mark("none" if style.shoulder_m or passage else "solid")
    before, after = (passage.from_lane, passage.to_lane) if passage else (-1, -1)
    left = [] if passage else [_lane(1, 1, 1, style.width_m, edge)]
    right = [_lane(-1, before, after, style.width_m, edge)]
    if style.shoulder_m and not passage:
        shoulder = _mark("none")
        left.insert(0, _lane(2, 2, 2, style.shoulder_m, shoulder, "shoulder"))
        right.append(_lane(-2, -2, -2, style.shoulder_m, shoulder, "shoulder"))
    return [
        "    <lanes>",
        '      <laneOffset s="0" a="0" b="0" c="0" d="0"/>',
        '      <laneSection s="0">',
        *(["        <left>", *left, "        </left>"] if left else []),
        f'        <center><lane id="0" type="none" level="false">{middle}</lane></center>',
        "        <right>",
        *right,
        "        </right>",
        "      </laneSection>",
        "    </lanes>",
    ]


_FLAT = ['    <elevationProfile><elevation s="0" a="0" b="0" c="0" d="0"/></elevationProfile>']
