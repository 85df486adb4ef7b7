"""A road network as OpenDRIVE describes it: roads, lanes, junctions, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRIVABLE_TYPES = frozenset(
    "driving bidirectional parking shoulder stop entry exit onRamp offRamp connectingRamp slipLane "
    "bus taxi HOV mwyEntry mwyExit roadWorks".split()
)  # a car may be there; what is not in this list (sidewalk, border, curb, median ...) ends the road surface


@dataclass(frozen=True, eq=False)
class Cubics:
    """A piecewise cubic of s: a + b ds + c ds^2 + d ds^3, ds = s - start of the piece; 0 before the first."""

    starts_m: np.ndarray  # (pieces,), rising
    coefficients: np.ndarray  # (pieces, 4): a, b, c, d

    def __call__(self, s_m: np.ndarray) -> np.ndarray:
        """Values at `s_m` (n,)."""
        (a, b, c, d), ds = self._pieces(s_m)
        return a + ds * (b + ds * (c + ds * d))

    def slope(self, s_m: np.ndarray) -> np.ndarray:
        """First derivative at `s_m` (n,)."""
        (_, b, c, d), ds = self._pieces(s_m)
        return b + ds * (2.0 * c + ds * 3.0 * d)

    def _pieces(self, s_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s_m = np.asarray(s_m, dtype=np.float64)
        if len(self.starts_m) == 0:
            return np.zeros((4, *s_m.shape)), s_m
        piece = np.searchsorted(self.starts_m, s_m + 1e-9, side="right") - 1
        coefficients = np.where(piece < 0, 0.0, self.coefficients[np.maximum(piece, 0)].T)
        return coefficients, s_m - self.starts_m[np.maximum(piece, 0)]


@dataclass(frozen=True)
class Geometry:
    """One piece of a reference line, beginning at (x, y) with `heading_rad`; `parameters` depends on `kind`.

    line: none; arc: curvature; spiral: curvature at start and end; poly3: a, b, c, d;
    paramPoly3: aU, bU, cU, dU, aV, bV, cV, dV, and the largest p (1 if normalised, else the length).
    """

    s_m: float
    x_m: float
    y_m: float
    heading_rad: float
    length_m: float
    kind: str
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True)
class RoadMark:
    """The line on a lane's outer border (on the centre line for lane 0), from `s_m` of its section on."""

    s_m: float
    kind: str  # solid, broken, solid solid, none, curb ...
    colour: str
    width_m: float


@dataclass(frozen=True)
class Lane:
    """A lane; `widths` is None where the file gives `borders` (t of the outer border) instead."""

    id: int  # positive left of the reference line, negative right, 0 the centre
    type: str
    widths: Cubics | None
    borders: Cubics | None
    road_marks: tuple[RoadMark, ...]
    predecessor: int | None
    successor: int | None

    @property
    def drivable(self) -> bool:
        """Whether a car may be there: shoulders and parking included, sidewalks not."""
        return self.type in DRIVABLE_TYPES


@dataclass(frozen=True)
class LaneSection:
    """The lanes from `s_m` to `end_m`, from the leftmost to the rightmost, the centre lane 0 among them."""

    s_m: float
    end_m: float
    lanes: tuple[Lane, ...]

    def lane(self, lane_id: int) -> Lane | None:
        """The lane of that id, or None."""
        return next((lane for lane in self.lanes if lane.id == lane_id), None)


@dataclass(frozen=True)
class Link:
    """What a road's end is joined to."""

    element_type: str  # road | junction
    element_id: str
    contact_point: str | None  # start | end, of a road


@dataclass(frozen=True)
class Road:
    """A road; its `junction_id` is None outside junctions."""

    id: str
    name: str
    length_m: float
    junction_id: str | None
    geometries: tuple[Geometry, ...]
    elevation: Cubics
    lane_offset: Cubics
    lane_sections: tuple[LaneSection, ...]
    predecessor: Link | None
    successor: Link | None


@dataclass(frozen=True)
class Connection:
    """A way through a junction; `lane_links` holds (incoming lane, connecting lane)."""

    incoming_road: str
    connecting_road: str
    contact_point: str
    lane_links: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Junction:
    """A junction and its connections."""

    id: str
    name: str
    connections: tuple[Connection, ...]


@dataclass(frozen=True)
class RoadNetwork:
    """Everything that this project reads from an OpenDRIVE file."""

    name: str
    roads: dict[str, Road]
    junctions: dict[str, Junction]
    geo_reference: str | None
