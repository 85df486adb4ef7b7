"""Reads OpenDRIVE text into the dataclasses of `clipdrive.opendrive.network`."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np

from clipdrive.opendrive.network import (
    Connection,
    Cubics,
    Geometry,
    Junction,
    Lane,
    LaneSection,
    Link,
    Road,
    RoadMark,
    RoadNetwork,
)

GEOMETRY_KINDS = ("line", "arc", "spiral", "poly3", "paramPoly3")


class OpenDriveError(ValueError):
    """The text is not OpenDRIVE that a car can drive on."""


def read(text: str) -> RoadNetwork:
    """Read an OpenDRIVE text (ASAM OpenDRIVE 1.4 to 1.8).

    Raises OpenDriveError: empty text, broken XML, no road, no lane of type driving, a value that is not a
    finite number.
    """
    if not text.strip():
        raise OpenDriveError("The OpenDRIVE text is empty; it must hold an <OpenDRIVE> document with a road.")
    try:
        root = ElementTree.fromstring(text.lstrip("\ufeff \t\r\n"))
    except (ElementTree.ParseError, ValueError) as error:
        raise OpenDriveError(f"The OpenDRIVE text is not well-formed XML: {error}.") from error
    for element in root.iter():
        if isinstance(element.tag, str) and "}" in element.tag:
            element.tag = element.tag.partition("}")[2]
    if root.tag != "OpenDRIVE":
        raise OpenDriveError(f"The XML's outermost element is <{root.tag}>; it must be <OpenDRIVE>.")
    roads = [_road(element) for element in root.iterfind("road")]
    if not roads:
        raise OpenDriveError("The OpenDRIVE text has no <road>; at least one is needed.")
    by_id = {road.id: road for road in roads}
    if len(by_id) < len(roads):
        raise OpenDriveError("The OpenDRIVE text has two roads with the same id; ids must differ.")
    lanes = (lane for road in roads for section in road.lane_sections for lane in section.lanes)
    if not any(lane.type == "driving" for lane in lanes):
        raise OpenDriveError(
            f"The OpenDRIVE text has {len(roads)} road(s), none with a lane of type 'driving'; one is needed."
        )
    header = root.find("header")
    geo_reference = root.findtext("header/geoReference")
    return RoadNetwork(
        name="" if header is None else header.get("name", ""),
        roads=by_id,
        junctions={element.get("id", ""): _junction(element) for element in root.iterfind("junction")},
        geo_reference=geo_reference.strip() if geo_reference else None,
    )


def _road(element) -> Road:
    where = f"road {element.get('id', '?')}"
    length_m = _number(element, "length", where)
    if length_m <= 0.0:
        raise OpenDriveError(f"In {where}: 'length' is {length_m}; it must be above 0.")
    geometries = [_geometry(e, where) for e in element.iterfind("planView/geometry")]
    if not geometries:
        raise OpenDriveError(f"In {where}: no <geometry> in its <planView>; at least one is needed.")
    sections = sorted(element.iterfind("lanes/laneSection"), key=lambda e: _number(e, "s", where))
    if not sections:
        raise OpenDriveError(f"In {where}: no <laneSection>; at least one is needed.")
    ends = [*(_number(e, "s", where) for e in sections[1:]), length_m]
    junction_id = element.get("junction", "-1")
    return Road(
        id=element.get("id", ""),
        name=element.get("name", ""),
        length_m=length_m,
        junction_id=None if junction_id in ("-1", "") else junction_id,
        geometries=tuple(sorted(geometries, key=lambda geometry: geometry.s_m)),
        elevation=_cubics(element.iterfind("elevationProfile/elevation"), "s", where),
        lane_offset=_cubics(element.iterfind("lanes/laneOffset"), "s", where),
        lane_sections=tuple(_section(e, end, where) for e, end in zip(sections, ends, strict=True)),
        predecessor=_link(element.find("link/predecessor")),
        successor=_link(element.find("link/successor")),
    )


def _geometry(element, where: str) -> Geometry:
    length_m = _number(element, "length", where)
    shape = next((child for child in element if child.tag in GEOMETRY_KINDS), None)
    if shape is None:
        found = ", ".join(f"<{child.tag}>" for child in element) or "nothing"
        raise OpenDriveError(
            f"In {where}: a <geometry> holds {found}; it must hold one of {', '.join(GEOMETRY_KINDS)}."
        )
    names = {
        "line": (),
        "arc": ("curvature",),
        "spiral": ("curvStart", "curvEnd"),
        "poly3": ("a", "b", "c", "d"),
        "paramPoly3": ("aU", "bU", "cU", "dU", "aV", "bV", "cV", "dV"),
    }[shape.tag]
    parameters = tuple(_number(shape, name, where) for name in names)
    if shape.tag == "paramPoly3":
        parameters += (length_m if shape.get("pRange") == "arcLength" else 1.0,)
    placed = (_number(element, name, where) for name in ("s", "x", "y", "hdg"))
    return Geometry(*placed, length_m, shape.tag, parameters)


def _section(element, end_m: float, where: str) -> LaneSection:
    sides = ("left", "center", "right")
    lanes = [_lane(e, where) for side in sides for e in element.iterfind(f"{side}/lane")]
    lanes.sort(key=lambda lane: -lane.id)
    return LaneSection(_number(element, "s", where), end_m, tuple(lanes))


def _lane(element, where: str) -> Lane:
    lane_id = int(_number(element, "id", where))
    where = f"{where}, lane {lane_id}"
    widths, borders = list(element.iterfind("width")), list(element.iterfind("border"))
    marks = (
        RoadMark(
            s_m=_number(e, "sOffset", where),
            kind=e.get("type", "none"),
            colour=e.get("color", "standard"),
            width_m=_number(e, "width", where, default=0.12),
        )
        for e in element.iterfind("roadMark")
    )
    before, after = element.find("link/predecessor"), element.find("link/successor")
    return Lane(
        id=lane_id,
        type=element.get("type", "none"),
        widths=None if borders and not widths else _cubics(widths, "sOffset", where),
        borders=_cubics(borders, "sOffset", where) if borders and not widths else None,
        road_marks=tuple(sorted(marks, key=lambda mark: mark.s_m)),
        predecessor=None if before is None else int(_number(before, "id", where)),
        successor=None if after is None else int(_number(after, "id", where)),
    )


def _link(element) -> Link | None:
    if element is None:
        return None
    return Link(element.get("elementType", "road"), element.get("elementId", ""), element.get("contactPoint"))


def _junction(element) -> Junction:
    where = f"junction {element.get('id', '?')}"
    connections = tuple(
        Connection(
            incoming_road=e.get("incomingRoad", ""),
            connecting_road=e.get("connectingRoad", ""),
            contact_point=e.get("contactPoint", "start"),
            lane_links=tuple(
                (int(_number(link, "from", where)), int(_number(link, "to", where)))
                for link in e.iterfind("laneLink")
            ),
        )
        for e in element.iterfind("connection")
    )
    return Junction(element.get("id", ""), element.get("name", ""), connections)


def _cubics(elements, start: str, where: str) -> Cubics:
    rows = sorted([_number(e, name, where) for name in (start, "a", "b", "c", "d")] for e in elements)
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Cubics(starts_m=table[:, 0], coefficients=table[:, 1:])


def _number(element, name: str, where: str, default: float | None = None) -> float:
    got = element.get(name)
    if got is None and default is not None:
        return default
    try:
        value = float(got) if got is not None else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        shown = "is missing" if got is None else f"is {got!r}"
        raise OpenDriveError(f"In {where}: '{name}' of <{element.tag}> {shown}; it must be a finite number.")
    return value
