"""The ground that cars drive on and cameras see: road surface, painted lines, walls and heights on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clipdrive.carla_server import raster
from clipdrive.opendrive import geometry
from clipdrive.opendrive.reader import RoadNetwork

CELL_M = 0.25
SAMPLE_M = 0.4  # spacing of cross-sections; the chord of an arc of 10 m radius is then 2 mm off
BEYOND_WALL_M = 2.0  # how far past the wall the distance to the road's edge is known
FAR_CELL_M, FAR_REACH_M = 4.0, 60.0  # of a coarse grid of the distance to any border
LINE_REACH_M = 1.0  # how far from a painted line its distance is known
DASH_M, DASH_GAP_M = 3.0, 6.0  # lines that OpenDRIVE calls broken, as painted on country roads
JOIN_M = 0.25  # narrower gaps between roads side by side are surface, not a border
END_JOIN_M = 0.5  # the same between roads end to end
TOUCH_M = 0.005  # a border as little inside another ribbon still counts as a border
ALONG_M = 0.1  # ribbons are drawn so far beyond their ends, so that no gap is left between roads
FLAT_M = 0.02  # networks with less between their lowest and highest point are flat
_LEVEL = np.zeros((2, 2), dtype=np.float32)


class GroundError(ValueError):
    """The road network has no surface to drive on, or one too large to draw."""


@dataclass(frozen=True, eq=False)
class GroundMap:
    """Ground by position in CARLA's frame (x, y right, metres), on a grid of `CELL_M` and linear between cells."""

    x0_m: float  # of column 0
    y0_m: float  # of row 0
    edge: np.ndarray  # (rows, columns) float32: distance to the border of all drivable surface, inside positive
    line: np.ndarray  # (rows, columns) float32: signed distance beside the nearest painted inner line
    line_code: np.ndarray  # (rows, columns) uint8: bits of `raster`, 0 where no line is near
    far: np.ndarray  # (coarse rows, columns) float32: distance to the nearest border, unsigned, to stride by
    elevation: np.ndarray | None  # (rows, columns) float32; None on flat ground
    base_z_m: float  # height of flat ground
    verge_m: float  # from the road's edge to the wall
    wall_height_m: float  # 0 = no walls
    texture_seed: int
    steepest: float  # largest slope of the ground, a bound for ray marching

    @classmethod
    def from_network(
        cls,
        network: RoadNetwork,
        verge_m: float = 2.5,
        wall_height_m: float = 1.0,
        texture_seed: int = 0,
    ) -> GroundMap:
        """Draw the network's drivable surface, painted lines and heights; raises GroundError."""
        roads = [_sampled(road) for road in network.roads.values()]
        sections = {name: np.concatenate([road[name] for road in roads]) for name in roads[0]}
        if not sections["joined"].any():
            raise GroundError("The road network has no drivable lane; at least one is needed.")
        reach_m = verge_m + BEYOND_WALL_M
        x0, y0, shape = _extent(sections, reach_m + 1.0)
        z = sections["z"][np.isfinite(sections["left"][:, 0])]
        flat = bool(z.max() - z.min() < FLAT_M)
        cover = np.full(shape, raster.NOT_COVERED, dtype=np.float32)
        height = _LEVEL.copy() if flat else np.zeros(shape, dtype=np.float32)
        ribbons = [sections[name] for name in ("left", "right", "forward", "z", "joined")]
        if not flat:
            wide = cover.copy()
            raster.draw_ribbons(wide, height, x0, y0, CELL_M, *ribbons, reach_m, ALONG_M, True)
            raster.fill_from_nearest(height, wide > raster.NOT_COVERED)
        raster.draw_ribbons(cover, height, x0, y0, CELL_M, *ribbons, 1.0, ALONG_M, False)
        pieces = _border_pieces(sections, cover, x0, y0)
        edge = _edge_distance(cover, pieces, x0, y0, reach_m)
        line, line_code = _lines(network, edge, x0, y0)
        return cls(
            x0_m=x0,
            y0_m=y0,
            edge=edge,
            line=line,
            line_code=line_code,
            far=_far_distance(pieces, x0, y0, shape),
            elevation=None if flat else height,
            base_z_m=float(0.5 * (z.max() + z.min())) if flat else 0.0,
            verge_m=float(verge_m),
            wall_height_m=float(wall_height_m),
            texture_seed=int(texture_seed),
            steepest=0.0 if flat else _steepest(height),
        )

    def edge_distance(self, x_m, y_m):
        """Distance to the border of the road surface, positive on the road; scalars or arrays."""
        return self._read(self.edge, x_m, y_m)

    def wall_clearance(self, x_m, y_m):
        """Distance to the wall, negative in or behind it, infinite without walls; scalars or arrays."""
        if self.wall_height_m <= 0.0:
            return self.edge_distance(x_m, y_m) * 0.0 + math.inf
        return self.edge_distance(x_m, y_m) + self.verge_m

    def height(self, x_m, y_m):
        """Height of the ground; scalars or arrays."""
        if self.elevation is None:
            return (np.asarray(x_m, dtype=np.float64) * 0.0 + self.base_z_m)[()]
        return self._read(self.elevation, x_m, y_m)

    def slope(self, x_m, y_m):
        """(dz/dx, dz/dy) of the ground over two cells; scalars or arrays."""
        d = CELL_M
        along_x = self.height(np.add(x_m, d), y_m) - self.height(np.subtract(x_m, d), y_m)
        along_y = self.height(x_m, np.add(y_m, d)) - self.height(x_m, np.subtract(y_m, d))
        return along_x / (2 * d), along_y / (2 * d)

    @property
    def relief(self) -> np.ndarray:
        """The heights for kernels: a stand-in of one cell on flat ground."""
        return _LEVEL if self.elevation is None else self.elevation

    @cached_property
    def place(self) -> tuple[bool, float, float, float, float, float, float, float]:
        """The numbers for kernels: flat, x0, y0, cells per metre, base height, verge, wall height, steepest."""
        return (
            self.elevation is None,
            self.x0_m,
            self.y0_m,
            1.0 / CELL_M,
            self.base_z_m,
            self.verge_m,
            self.wall_height_m,
            self.steepest,
        )

    def _read(self, grid: np.ndarray, x_m, y_m):
        x, y = np.broadcast_arrays(np.asarray(x_m, dtype=np.float64), np.asarray(y_m, dtype=np.float64))
        if x.ndim == 0:
            return raster.bilinear(grid, self.x0_m, self.y0_m, 1.0 / CELL_M, float(x), float(y))
        flat = raster.bilinear_many(grid, self.x0_m, self.y0_m, 1.0 / CELL_M, x.ravel(), y.ravel())
        return flat.reshape(x.shape)


def _positions(road) -> np.ndarray:
    """Arc lengths of a road's cross-sections (n,)."""
    return np.linspace(0.0, road.length_m, max(2, math.ceil(road.length_m / SAMPLE_M) + 1))


def _sampled(road) -> dict[str, np.ndarray]:
    """Cross-sections of one road in CARLA's frame; nan where it has no drivable lane."""
    s = _positions(road)
    reference = geometry.reference_line(road, s)
    right, left = geometry.driving_extent(road, s)
    drivable = left - right > 0.05
    joined = drivable & np.roll(drivable, 1)
    joined[0] = False

    def beside(t: np.ndarray) -> np.ndarray:  # (n,) to the left -> (n, 2)
        x = reference.x_m - t * np.sin(reference.heading_rad)
        y = reference.y_m + t * np.cos(reference.heading_rad)
        return np.where(drivable[:, None], np.column_stack([x, -y]), np.nan)

    return {
        "left": beside(left),
        "right": beside(right),
        "forward": np.column_stack([np.cos(reference.heading_rad), -np.sin(reference.heading_rad)]),
        "z": geometry.elevation(road, s)[0],
        "joined": joined,
    }


def _extent(sections: dict[str, np.ndarray], margin_m: float) -> tuple[float, float, tuple[int, int]]:
    points = np.concatenate([sections["left"], sections["right"]])
    low = np.floor(np.nanmin(points, axis=0) - margin_m)
    high = np.ceil(np.nanmax(points, axis=0) + margin_m)
    columns, rows = np.round((high - low) / CELL_M).astype(int) + 1
    if rows * columns > 400_000_000:
        raise GroundError(f"The map spans {high - low} m; at most 400 million cells of {CELL_M} m can be drawn.")
    return float(low[0]), float(low[1]), (int(rows), int(columns))


def _border_pieces(sections: dict[str, np.ndarray], cover: np.ndarray, x0: float, y0: float) -> np.ndarray:
    """Pieces (n, 4) of ribbon sides and ends that no other ribbon covers: the border of their union."""
    left, right, joined = sections["left"], sections["right"], sections["joined"]
    forward = sections["forward"]
    goes_on = np.append(joined[1:], False)
    first, last = goes_on & ~joined, joined & ~goes_on
    later = np.flatnonzero(joined)
    beside = np.column_stack([-forward[:, 1], forward[:, 0]])  # to the right
    pieces = [
        np.hstack([left[later - 1], left[later], -beside[later]]),
        np.hstack([right[later - 1], right[later], beside[later]]),
    ]
    sides = 2 * len(later)
    for ends, outward in ((first, -forward), (last, forward)):
        width = np.linalg.norm(right[ends] - left[ends], axis=1)
        # An even number: no part straddles the middle, where ways through a junction lie side by side.
        parts = 2 * max(1, math.ceil(0.5 * np.nanmax(width) / SAMPLE_M))
        for part in range(parts):
            a = left[ends] + (right[ends] - left[ends]) * (part / parts)
            b = left[ends] + (right[ends] - left[ends]) * ((part + 1) / parts)
            pieces.append(np.hstack([a, b, outward[ends]]))
    table = np.concatenate(pieces)
    middle, outward = 0.5 * (table[:, :2] + table[:, 2:4]), table[:, 4:]
    known = np.maximum(cover, np.float32(-1.0))

    def covered(points: np.ndarray) -> np.ndarray:
        x, y = np.ascontiguousarray(points.T)
        drawn = raster.bilinear_many(known, x0, y0, 1.0 / CELL_M, x, y)
        unsure = np.flatnonzero((drawn > TOUCH_M) & (drawn < 2.0 * CELL_M))
        exact = np.full(len(unsure), raster.NOT_COVERED)
        ribbons = (left, right, forward, joined)
        raster.covers_at(exact, x[unsure], y[unsure], *ribbons, ALONG_M, np.nanmax(np.abs(left - right)) + 1.0)
        drawn[unsure] = exact
        return drawn

    step = np.where(np.arange(len(table)) < sides, JOIN_M, END_JOIN_M)[:, None]
    inner = covered(middle + step * outward) > TOUCH_M
    inner[:sides] |= covered(middle[:sides]) > TOUCH_M  # by another than its own ribbon, which is 0 at its sides
    return table[~inner, :4]


def _edge_distance(cover: np.ndarray, pieces: np.ndarray, x0: float, y0: float, reach_m: float) -> np.ndarray:
    """Distance to the border of the union, signed by what is covered, at most `reach_m` either way."""
    distance = np.full(cover.shape, reach_m, dtype=np.float32)
    raster.draw_distance(distance, x0, y0, CELL_M, *np.ascontiguousarray(pieces.T), reach_m)
    outside = cover <= -0.5 * distance  # there `cover` is -distance; at a seam within, it is about 0
    return np.negative(distance, out=distance, where=outside)


def _far_distance(pieces: np.ndarray, x0: float, y0: float, shape: tuple[int, int]) -> np.ndarray:
    """Distance to the nearest border on a coarse grid, at most `FAR_REACH_M`."""
    rows, columns = (math.ceil(cells * CELL_M / FAR_CELL_M) + 1 for cells in shape)
    distance = np.full((rows, columns), FAR_REACH_M, dtype=np.float32)
    raster.draw_distance(distance, x0, y0, FAR_CELL_M, *np.ascontiguousarray(pieces.T), FAR_REACH_M)
    return distance


def _lines(network: RoadNetwork, edge: np.ndarray, x0: float, y0: float) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance to the nearest painted inner line, and its code."""
    offset = np.full(edge.shape, LINE_REACH_M, dtype=np.float32)
    code = np.zeros(edge.shape, dtype=np.uint8)
    for road in network.roads.values():
        s = _positions(road)
        for number, mark in enumerate(geometry.marks(road, s)):
            x, y = geometry.points(road, s, mark.t_m)
            y = -y
            painted = np.array([_is_painted(kind) for kind in mark.kind]) & np.isfinite(mark.t_m)
            if not painted.any():
                continue
            bits = np.array([_code(kind, colour) for kind, colour in zip(mark.kind, mark.colour, strict=True)])
            gap = np.array([DASH_GAP_M if "broken" in kind else 0.0 for kind in mark.kind])
            from_edge = np.full(len(s), -1.0)
            from_edge[painted] = raster.bilinear_many(edge, x0, y0, 1 / CELL_M, x[painted], y[painted])
            painted &= from_edge > 0.5
            k = np.flatnonzero(painted[:-1] & painted[1:])
            codes = (bits[k] | (number % raster.LINE_IDS + 1)).astype(np.uint8)
            dash = np.full(len(k), DASH_M)
            raster.draw_lines(
                offset, code, x0, y0, CELL_M, x[k], y[k], x[k + 1], y[k + 1], s[k], codes, dash, gap[k],
                LINE_REACH_M,
            )  # fmt: skip
    return offset, code


def _is_painted(kind: str) -> bool:
    return any(word in kind for word in ("solid", "broken", "botts"))


def _code(kind: str, colour: str) -> int:
    bits = raster.LINE_YELLOW if colour == "yellow" else 0
    bits |= raster.LINE_BROKEN if "broken" in kind else 0
    return bits | (raster.LINE_DOUBLE if " " in kind else 0)


def _steepest(height: np.ndarray) -> float:
    steps = [np.abs(np.diff(height, axis=axis)) for axis in (0, 1)]
    return float(min(max(np.quantile(step, 0.9999) for step in steps) / CELL_M, 0.5))
