"""Writes a closed loop of geometries as OpenDRIVE: several roads in a ring, a lane each way."""

from __future__ import annotations

from collections.abc import Sequence

from clipdrive.opendrive.network import Geometry

LANE_WIDTH_M = 3.5
ROADS = 4  # a ring of one or two roads has no way on at its seam in CARLA's map


def circuit_document(name: str, pieces: Sequence[Geometry]) -> str:
    """The OpenDRIVE text of the ring made of `pieces`, split at their seams into roads of similar length."""
    roads = _split(pieces)
    xs, ys = [piece.x_m for piece in pieces], [piece.y_m for piece in pieces]
    bounds = {"north": max(ys), "south": min(ys), "east": max(xs), "west": min(xs)}
    edges = " ".join(f'{side}="{_metres(value)}"' for side, value in bounds.items())
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<OpenDRIVE>",
        f'  <header revMajor="1" revMinor="4" name="{name}" version="1" {edges} vendor="clipdrive">',
        "    <geoReference><![CDATA[+proj=tmerc +lat_0=0 +lon_0=0]]></geoReference>",
        "  </header>",
    ]
    for index, road in enumerate(roads):
        before, after = (index - 1) % len(roads) + 1, (index + 1) % len(roads) + 1
        lines += _road(index + 1, before, after, road)
    lines.append("</OpenDRIVE>")
    return "\n".join(lines) + "\n"


def _split(pieces: Sequence[Geometry]) -> list[list[Geometry]]:
    total_m = pieces[-1].s_m + pieces[-1].length_m
    cuts = [0]
    for share in range(1, ROADS):
        wanted = total_m * share / ROADS
        later = range(cuts[-1] + 1, len(pieces))
        cuts.append(min(later, key=lambda index: abs(pieces[index].s_m - wanted)))
    return [list(pieces[a:b]) for a, b in zip(cuts, [*cuts[1:], len(pieces)], strict=True)]


def _road(road_id: int, before: int, after: int, pieces: Sequence[Geometry]) -> list[str]:
    lengths = [round(piece.length_m, 6) for piece in pieces]
    lines = [
        f'  <road name="Road {road_id}" length="{_metres(sum(lengths))}" id="{road_id}" junction="-1">',
        "    <link>",
        f'      <predecessor elementType="road" elementId="{before}" contactPoint="end"/>',
        f'      <successor elementType="road" elementId="{after}" contactPoint="start"/>',
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
    return [*lines, "    </planView>", *_FLAT, *_LANES, "  </road>"]


def _shape(piece: Geometry) -> str:
    values = [f"{value:.10f}" for value in piece.parameters]
    if piece.kind == "line":
        return "<line/>"
    if piece.kind == "arc":
        return f'<arc curvature="{values[0]}"/>'
    return f'<spiral curvStart="{values[0]}" curvEnd="{values[1]}"/>'


def _metres(value: float) -> str:
    return f"{value:.6f}"  # a micrometre; more digits would differ from machine to machine


def _mark(kind: str) -> str:
    return f'<roadMark sOffset="0" type="{kind}" weight="standard" color="white" width="0.15"/>'


def _lane(lane_id: int) -> str:
    return (
        f'          <lane id="{lane_id}" type="driving" level="false">'
        f'<link><predecessor id="{lane_id}"/><successor id="{lane_id}"/></link>'
        f'<width sOffset="0" a="{LANE_WIDTH_M}" b="0" c="0" d="0"/>{_mark("solid")}</lane>'
    )


_FLAT = ['    <elevationProfile><elevation s="0" a="0" b="0" c="0" d="0"/></elevationProfile>']
_LANES = [
    "    <lanes>",
    '      <laneOffset s="0" a="0" b="0" c="0" d="0"/>',
    '      <laneSection s="0">',
    "        <left>",
    _lane(1),
    "        </left>",
    f'        <center><lane id="0" type="none" level="false">{_mark("broken")}</lane></center>',
    "        <right>",
    _lane(-1),
    "        </right>",
    "      </laneSection>",
    "    </lanes>",
]
