"""Opens a track by name: a generated circuit or town, an OpenDRIVE file, or a town that a CARLA server knows."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clipdrive.opendrive.circuit import circuit_xodr
from clipdrive.opendrive.network import RoadNetwork
from clipdrive.opendrive.reader import OpenDriveError, read
from clipdrive.opendrive.town import town_xodr
from clipdrive.tracks.centreline import route_along
from clipdrive.tracks.lanes import LaneGraph, longest_way, opposite_way
from clipdrive.tracks.route import Route
from clipdrive.tracks.turning import opposite_turning_way, turning_way

GENERATED = {"circuit": circuit_xodr, "town": town_xodr}
FORMS = "circuit:<seed>, town:<seed>, a file's name that ends in .xodr, or a town's name (with simulator: carla)"
FOLLOW = ("road", "lane")
JUNCTIONS = ("straight", "turns")
ROUTE_MIN_M = 30.0


class TrackError(ValueError):
    """A track that cannot be opened."""


@dataclass(frozen=True, eq=False)
class Track:
    """A road to drive on: its OpenDRIVE text, and a route over it in each direction of travel."""

    name: str  # as in params.yaml
    map_name: str  # the map's name for a simulator
    is_town: bool  # a simulator loads it by name; anything else it is given as text
    xodr: str
    network: RoadNetwork
    route_forward: Route
    route_backward: Route

    @property
    def routes(self) -> tuple[Route, Route]:
        """Both directions, forward first."""
        return self.route_forward, self.route_backward


def open_track(
    name: str,
    follow: str = "road",
    folder: str | Path = "maps",
    opendrive_of_town: Callable[[str], str] | None = None,
    junctions: str = "straight",
) -> Track:
    """Open the track of that name; `opendrive_of_town` asks a server for a town's OpenDRIVE text.

    `follow`: 'road' is the middle of the road surface, 'lane' the middle of the lane, driven on the right.
    `junctions`: 'straight' is the longest loop found by always going straightest, 'turns' one that turns left and right
    as well, where the network has one.
    Raises TrackError.
    """
    if follow not in FOLLOW:
        raise TrackError(f"tracks.follow is {follow!r}; it must be one of {', '.join(FOLLOW)}.")
    map_name, is_town, xodr = _source(name, folder, opendrive_of_town)
    try:
        network = read(xodr)
    except OpenDriveError as error:
        raise TrackError(f"Track {name!r} cannot be read. {error}") from error
    if junctions not in JUNCTIONS:
        raise TrackError(f"tracks.junctions is {junctions!r}; it must be one of {', '.join(JUNCTIONS)}.")
    graph = LaneGraph(network)
    turns = junctions == "turns" and any(network.junctions)
    way, closed = turning_way(graph) if turns else longest_way(graph)
    if sum(graph.length_m(piece) for piece in way) < ROUTE_MIN_M:
        raise TrackError(f"Track {name!r} has no way of {ROUTE_MIN_M:.0f} m or more over its driving lanes.")
    forward = route_along(graph, way, closed, follow, f"{name} forward")
    back = opposite_turning_way(graph, way) if turns else opposite_way(graph, way, closed)
    if back is None:  # a one-way road: the same lanes, driven the other way
        backward = forward.reversed()
    else:
        backward = route_along(graph, back, closed, follow, f"{name} backward")
    return Track(name, map_name, is_town, xodr, network, forward, backward)


def _source(name: str, folder: str | Path, opendrive_of_town) -> tuple[str, bool, str]:
    """The map's name, whether it is a town, and its OpenDRIVE text."""
    kind, colon, seed = name.partition(":")
    if colon and kind in GENERATED:
        if not (seed.isascii() and seed.isdecimal()):
            raise TrackError(f"Track {name!r}: the seed is {seed!r}; it must be a whole number, 0 or more.")
        return f"{kind}_{int(seed)}", False, GENERATED[kind](int(seed))
    if name.endswith(".xodr"):
        path = _path_in(name, Path(folder))
        return path.stem, False, _text(name, path)
    if not name.strip():
        raise TrackError(f"Track {name!r} has no name; it must be {FORMS}.")
    if opendrive_of_town is None:
        raise TrackError(f"Track {name!r} would be a town, which only a CARLA server has; allowed: {FORMS}.")
    return name, True, opendrive_of_town(name)


def _path_in(name: str, folder: Path) -> Path:
    """The file that the name means; it lies in the folder, because the pipeline watches that folder only."""
    inside = os.path.abspath(folder)
    found = [path for path in (folder / name, Path(name)) if path.is_file()]
    for path in found:
        if os.path.commonpath((inside, os.path.abspath(path))) == inside:
            return path
    if found:
        raise TrackError(
            f"Track {name!r} is not in the folder {str(folder)!r}; set tracks.folder to the folder it is in."
        )
    return folder / name


def _text(name: str, path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.xodr"))) or "no .xodr file"
        raise TrackError(f"Track {name!r}: there is no file {str(path)!r}; its folder has {there}.") from None
    except OSError as error:
        raise TrackError(f"Track {name!r}: {str(path)!r} cannot be read: {error.strerror}.") from error
