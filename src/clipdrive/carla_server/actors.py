"""What lives in an episode: actors in general, and those that are solid; each kind has a module of its own."""

from __future__ import annotations

import math
from typing import NamedTuple

from clipdrive.carla_server import wire
from clipdrive.carla_server.blueprints import Blueprint
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.poses import Vector, compose, footprints_overlap
from clipdrive.carla_server.wire import Pose

ZERO = (0.0, 0.0, 0.0)


class Actor:
    """Anything with an id and a pose; one that has a parent moves with it."""

    semantic_tags = b""
    stream_id: int | None = None
    sees_parent = False  # a sensor that is far enough off what it is mounted on

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        self.id = actor_id
        self.blueprint = blueprint
        self.attributes = attributes
        self.pose = pose
        self.parent: Actor | None = None
        self.relative: Pose | None = None
        self._record: bytes | None = None

    @property
    def type_id(self) -> str:
        return self.blueprint.id

    @property
    def velocity(self) -> Vector:
        """m/s in the world's axes."""
        return ZERO

    def attach(self, parent: Actor, relative: Pose) -> None:
        """Mount this actor on `parent`."""
        self.parent, self.relative = parent, relative
        self.follow()

    def detach(self) -> None:
        """Stay where the parent was."""
        self.parent = self.relative = None

    def follow(self) -> None:
        """Take the pose that the mount on the parent gives."""
        if self.parent is not None:
            pose = compose(self.parent.pose, self.relative)
            if pose != self.pose:
                self.pose, self._record = pose, None

    def place(self, pose: Pose) -> None:
        """Teleport; an attached actor is placed relative to its parent, as in CARLA."""
        if self.parent is not None:
            self.relative = pose
            self.follow()
        else:
            self.pose, self._record = pose, None

    def record(self) -> bytes:
        """Return this actor's 119 bytes of a snapshot."""
        if self._record is None:
            self._record = wire.actor_record(self.id, self.pose)
        return self._record

    def bounding_box(self) -> tuple:
        """Return the BoundingBox: location, half extents, rotation, actor id."""
        return ZERO, ZERO, ZERO, self.id

    def to_wire(self, token: bytes) -> tuple:
        """Return the Actor struct; `token` is that of its stream, empty where it has none."""
        description = tuple((a.id, a.type, self.attributes[a.id]) for a in self.blueprint.attributes)
        parent_id = 0 if self.parent is None else self.parent.id
        return (
            self.id, parent_id, (self.blueprint.uid, self.type_id, description), self.bounding_box(),
            self.semantic_tags, token,
        )  # fmt: skip


class DrawnBox(NamedTuple):
    """A solid actor as cameras see it: a box whose middle is at `centre_m` along the actor's own axes."""

    pose: Pose
    half_extents_m: Vector
    centre_m: Vector
    tag: int
    color: tuple[int, int, int]  # red, green, blue
    actor_id: int


class Solid(Actor):
    """An actor with a box that others run into: a prop as it stands; vehicles and walkers are made of it."""

    yields = False  # steps aside for those that do not, rather than to push them

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.body = blueprint.body
        self.reach_m = math.hypot(*self.body.half_extents_m[:2])  # of the box from its middle, seen from above
        self.semantic_tags = bytes([self.body.tag])
        self.color = _color(attributes.get("color")) or self.body.color
        self.collides = True
        self.simulated = True
        self.before = self.pose  # at the beginning of the tick
        self.hits: list[tuple[Solid | None, Vector]] = []  # of this tick: by what (None: a wall), impulse (N s)

    @property
    def mass_kg(self) -> float:
        """What it weighs where it is hit; 0 = nothing moves it."""
        return self.body.mass_kg if self.simulated else 0.0

    @property
    def yaw_inertia_kgm2(self) -> float:
        """Resistance to being turned by a hit; 0 = nothing turns it."""
        return 0.0

    @property
    def bottom_m(self) -> float:
        """Height of the box's underside in the world."""
        return self.pose[2] + self.body.centre_m - self.body.half_extents_m[2]

    def simulate_physics(self, on: bool) -> None:
        """Freeze the actor, or let it move again."""
        self.simulated = on

    def set_velocity(self, velocity: Vector) -> None:
        """Set the velocity in the world's axes; a prop has none."""

    def push(self, impulse: Vector) -> None:
        """Change the velocity as an impulse (N s) at the centre of mass does; a prop stays."""

    def step(self, ground: GroundMap, step_s: float) -> None:
        """Move on for `step_s` seconds; a prop stands, and forgets what happened in the last tick."""
        self.before = self.pose
        self.hits.clear()

    def motion(self) -> tuple[float, float, float]:
        """Velocity (x, y) in m/s and yaw rate in rad/s, as a contact finds them."""
        return ZERO

    def knock(self, dvx_mps: float, dvy_mps: float, turn_rad_s: float, out_x_m: float, out_y_m: float) -> None:
        """Change velocity and yaw rate by what a contact did, and step aside."""

    def feel(self, other: Solid, impulse: Vector, touch_s: float) -> None:
        """Take note of a hit that lasted `touch_s`, after what it changed by `knock`."""
        self.hits.append((other, impulse))

    def distance_m(self, place: Vector) -> float:
        """How far a place, along the actor's own axes, is from its box; 0 inside."""
        x, y, z = self.body.half_extents_m
        ahead, aside, up = abs(place[0]), abs(place[1]), abs(place[2] - self.body.centre_m)
        return math.hypot(max(ahead - x, 0.0), max(aside - y, 0.0), max(up - z, 0.0))

    def drawn(self) -> DrawnBox:
        """Return the box that cameras draw."""
        body = self.body
        return DrawnBox(self.pose, body.half_extents_m, (0.0, 0.0, body.centre_m), body.tag, self.color, self.id)

    def bounding_box(self) -> tuple:
        return (0.0, 0.0, self.body.centre_m), self.body.half_extents_m, ZERO, self.id


def boxes_overlap(a: Solid, b: Solid) -> bool:
    """Tell whether the boxes of two solid actors overlap; in height as if both stood upright."""
    reach_m = a.reach_m + b.reach_m
    if abs(a.pose[0] - b.pose[0]) > reach_m or abs(a.pose[1] - b.pose[1]) > reach_m:
        return False
    a_half, b_half = a.body.half_extents_m, b.body.half_extents_m
    low_a, low_b = a.bottom_m, b.bottom_m
    if low_a >= low_b + 2.0 * b_half[2] or low_b >= low_a + 2.0 * a_half[2]:
        return False
    return footprints_overlap(a.pose, a_half, b.pose, b_half)


def _color(text: str | None) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (min(max(int(part), 0), 255) for part in text.split(","))
    except (AttributeError, ValueError):
        return None
    return red, green, blue
