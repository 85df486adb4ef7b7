"""The maps a client can load: generated circuits and towns, .xodr files of a folder, OpenDRIVE texts that it sends."""

from __future__ import annotations

import math
import re
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from clipdrive.carla_server.ground import GroundError, GroundMap
from clipdrive.carla_server.rpc import RpcError
from clipdrive.carla_server.wire import Pose
from clipdrive.opendrive import geometry
from clipdrive.opendrive.circuit import circuit_xodr
from clipdrive.opendrive.reader import OpenDriveError, RoadNetwork, read
from clipdrive.opendrive.town import town_xodr

VERGE_M = 2.5
WALL_HEIGHT_M = 1.0
LISTED = 10  # any other seed can be loaded too
_MADE = {"circuit": circuit_xodr, "town": town_xodr}
GENERATED = "OpenDriveMap"
CACHED_MAPS = 24
CACHED_BYTES = 2**28
LONGEST_ROADS_M = 1e6  # all roads of a map together; a large town has 50 km
NO_GEO_REFERENCE_DEG = (42.0, 2.0)  # what the client assumes
SPAWN_EVERY_M = 30.0
SPAWN_ABOVE_M = 0.5
_SPAWN_LANES = ("driving", "bidirectional")


@dataclass(frozen=True)
class WorldMap:
    """A map as the world uses it; `name` is what `world.get_map().name` shows."""

    name: str
    xodr: str
    network: RoadNetwork
    ground: GroundMap

    @property
    def size_bytes(self) -> int:
        """Memory of the arrays."""
        ground = self.ground
        arrays = (ground.edge, ground.line, ground.line_code, ground.elevation)
        return len(self.xodr) + sum(array.nbytes for array in arrays if array is not None)

    @cached_property
    def origin_deg(self) -> tuple[float, float]:
        """Latitude and longitude of the origin; the client reads only these two of a geoReference."""
        found = [re.search(rf"\+{name}=(\S+)", self.network.geo_reference or "") for name in ("lat_0", "lon_0")]
        try:
            latitude, longitude = (float(match[1]) for match in found)
        except (TypeError, ValueError):
            return NO_GEO_REFERENCE_DEG
        return latitude, longitude

    @cached_property
    def spawn_points(self) -> tuple[Pose, ...]:
        """Poses in the middle of driving lanes, in the direction of travel, about every 30 m."""
        return tuple(pose for road in self.network.roads.values() for pose in _spawn_points(road))


def _spawn_points(road) -> list[Pose]:
    if road.junction_id is not None:
        return []
    count = max(1, int(road.length_m // SPAWN_EVERY_M))
    s_m = (np.arange(count) + 0.5) * road.length_m / count
    z_m, slope = geometry.elevation(road, s_m)
    poses = []
    for borders in geometry.lane_borders(road, s_m):
        rows = borders.rows
        for index, lane_id in enumerate(borders.lane_ids):
            if borders.section.lane(lane_id).type not in _SPAWN_LANES:
                continue
            t_m = 0.5 * (borders.t_left_m[index] + borders.t_right_m[index])
            wide = borders.t_left_m[index] - borders.t_right_m[index] > 2.0
            x_m, y_m = geometry.points(road, s_m[rows], t_m)
            heading = geometry.reference_line(road, s_m[rows]).heading_rad
            back = lane_id > 0
            yaw = -np.degrees(heading) + (180.0 if back else 0.0)
            pitch = np.degrees(np.arctan(slope[rows])) * (-1.0 if back else 1.0)
            for k in np.flatnonzero(wide):
                z = z_m[rows][k] + SPAWN_ABOVE_M
                poses.append((float(x_m[k]), -float(y_m[k]), float(z), float(pitch[k]), _wrapped(yaw[k]), 0.0))
    return poses


def _check_length(network: RoadNetwork) -> None:
    total_m = sum(max(road.length_m, *(g.length_m for g in road.geometries)) for road in network.roads.values())
    if not total_m <= LONGEST_ROADS_M:
        raise GroundError(f"The roads are {total_m:g} m long; at most {LONGEST_ROADS_M:g} m can be drawn.")


def _wrapped(degrees: float) -> float:
    return math.remainder(float(degrees), 360.0)


class MapLibrary:
    """Finds maps by name and keeps the last dozen, so that going back to one is instant.

    folders: where .xodr files are looked for; a file `Town01.xodr` is the map Town01.
    """

    def __init__(self, folders: tuple[Path, ...] = ()) -> None:
        self.folders = folders
        self.generated: tuple[str, float, float] | None = None  # xodr, verge_m, wall_height_m
        self._cache: OrderedDict[tuple, WorldMap] = OrderedDict()

    def names(self) -> list[str]:
        """Names as `client.get_available_maps()` shows them."""
        names = [f"circuit_{seed}" for seed in range(1, LISTED + 1)]
        names += [f"town_{seed}" for seed in range(1, LISTED + 1)]
        names += [path.stem for folder in self.folders for path in sorted(folder.glob("*.xodr"))]
        return [f"/Game/Carla/Maps/{name}" for name in dict.fromkeys(names)]

    def load(self, name: str) -> WorldMap:
        """Return the map of that name, full or short; raises RpcError."""
        short = name.rsplit("/", 1)[-1]
        made = re.fullmatch(r"(circuit|town)_(\d{1,10})", short)
        if short == GENERATED and self.generated is not None:
            xodr, verge_m, wall_height_m = self.generated
            return self._map(short, xodr, verge_m, wall_height_m)
        path = self._file(short)
        if path is not None:
            try:
                return self._map(path.stem, path.read_text(encoding="utf-8"), VERGE_M, WALL_HEIGHT_M)
            except (OSError, UnicodeDecodeError) as error:
                raise RpcError(f"Map '{name}' cannot be read: {error}") from error
        if made:
            return self._map(short, _MADE[made[1]](int(made[2])), VERGE_M, WALL_HEIGHT_M)
        raise RpcError(f"Map '{name:.200}' not found")

    def generate(self, xodr: str, verge_m: float, wall_height_m: float) -> None:
        """Take in an OpenDRIVE text as the map OpenDriveMap; raises RpcError where it cannot be driven on."""
        self._map(GENERATED, xodr, verge_m, wall_height_m)
        self.generated = (xodr, verge_m, wall_height_m)

    def _size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self._cache.values())

    def _file(self, short: str) -> Path | None:
        for folder in self.folders:
            for stem in (short, short.removesuffix("_Opt")):
                path = folder / f"{stem}.xodr"
                if stem and "\0" not in stem and path.is_file():
                    return path
        return None

    def _map(self, short: str, xodr: str, verge_m: float, wall_height_m: float) -> WorldMap:
        seed = zlib.crc32(xodr.encode())
        key = (short, seed, len(xodr), verge_m, wall_height_m)
        found = self._cache.get(key)
        if found is None:
            try:
                network = read(xodr)
                _check_length(network)
                ground = GroundMap.from_network(network, verge_m, wall_height_m, texture_seed=seed)
            except (OpenDriveError, GroundError) as error:
                raise RpcError(f"opendrive could not be correctly parsed: {error}") from error
            found = self._cache[key] = WorldMap(f"Carla/Maps/{short}", xodr, network, ground)
            while len(self._cache) > 1 and (len(self._cache) > CACHED_MAPS or self._size_bytes() > CACHED_BYTES):
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return found
