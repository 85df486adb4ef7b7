"""Sensors that measure distances: lidars, radar and the obstacle sensor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from clipdrive.carla_server import rays, wire
from clipdrive.carla_server.actors import ZERO, Actor
from clipdrive.carla_server.blueprints import Blueprint
from clipdrive.carla_server.catalogue import PROPS
from clipdrive.carla_server.poses import axes
from clipdrive.carla_server.rpc import RpcError
from clipdrive.carla_server.sensors import WALL_ACTOR, Sensor
from clipdrive.carla_server.wire import Pose

if TYPE_CHECKING:
    from clipdrive.carla_server.world import World

MAX_POINTS = 200_000  # in one message
MAX_CHANNELS = 512
MAX_RANGE_M = 1000.0


class RaySensor(Sensor):
    """A sensor that sends rays; its numbers come from its attributes, and its chance from `noise_seed`."""

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.range_m = self.number("range" if "range" in attributes else "distance", 0.0, MAX_RANGE_M)
        self.random = np.random.default_rng(int(self.number("noise_seed", -(2.0**31), 2.0**31)) & 0xFFFFFFFF)

    def number(self, name: str, low: float, high: float) -> float:
        """Return an attribute (0 where there is none) within its limits; raises RpcError."""
        number = float(self.attributes.get(name, 0.0))
        if not low <= number <= high:
            raise RpcError(f"{self.type_id}: {name} is {number:g}, allowed are {low:g} to {high:g}")
        return number

    def points_in(self, step_s: float, parts: int) -> int:
        """How many points each of `parts` measures in a step."""
        return min(round(float(self.attributes["points_per_second"]) * step_s / parts), MAX_POINTS // parts)

    def cast(self, world: World, local: np.ndarray) -> rays.Met:
        """Send rays along directions (n, 3) in the sensor's axes."""
        directions = local @ np.array(axes(*self.pose[3:]))
        return rays.cast(world.ground, world.drawn_boxes(self), self.pose[:3], directions, self.range_m)

    def send_bytes(self, world: World, sensor_type: int, payload: bytes) -> None:
        """Send a message to all who listen."""
        message = wire.sensor_message(sensor_type, world.frame, world.elapsed_s, self.pose, payload)
        world.streams.publish(self.stream_id, message)


class LidarSensor(RaySensor):
    """sensor.lidar.ray_cast: x, y, z in the sensor's axes and intensity, for every ray that comes back."""

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.channels = int(self.number("channels", 1, MAX_CHANNELS))
        self.number("points_per_second", 0.0, 1e8)
        upper, lower = self.number("upper_fov", -90.0, 90.0), self.number("lower_fov", -90.0, 90.0)
        self.field_deg = self.number("horizontal_fov", 0.001, 360.0)
        self.turns_per_s = self.number("rotation_frequency", 0.0, 1e5)
        self.altitude = np.radians(np.linspace(upper, lower, self.channels) if self.channels > 1 else [upper])
        self.angle_deg = 0.0

    def directions(self, step_s: float) -> np.ndarray:
        """Rays of one step (channels, points, 3) in the sensor's axes; turns the sensor on."""
        count = self.points_in(step_s, self.channels)
        turn_deg = self.turns_per_s * self.field_deg * step_s
        at = (self.angle_deg + turn_deg * np.arange(count) / max(count, 1)) % self.field_deg
        self.angle_deg = (self.angle_deg + turn_deg) % self.field_deg
        azimuth, altitude = np.radians(at - 0.5 * self.field_deg)[None, :], self.altitude[:, None]
        level = np.cos(altitude)
        rays_xyz = (level * np.cos(azimuth), level * np.sin(azimuth), np.sin(altitude) + 0.0 * azimuth)
        return np.stack(np.broadcast_arrays(*rays_xyz), axis=-1)

    def publish(self, world: World) -> None:
        directions = self.directions(world.last_step_s)
        met = self.cast(world, directions.reshape(-1, 3))
        keep = np.isfinite(met.distance_m)
        points, keep = self.measured(directions.reshape(-1, 3), met, keep)
        per_channel = keep.reshape(self.channels, -1).sum(axis=1)
        angle_rad = math.radians(self.angle_deg)
        self.send_bytes(world, self.sensor_type, wire.lidar_payload(angle_rad, per_channel, points[keep]))

    sensor_type = wire.LIDAR

    def measured(self, directions: np.ndarray, met: rays.Met, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 4) of all rays, and which of them come back (n,)."""
        attributes = self.attributes
        distance = np.where(keep, met.distance_m, 0.0)
        intensity = np.exp(-float(attributes["atmosphere_attenuation_rate"]) * distance)
        limit, at_zero = float(attributes["dropoff_intensity_limit"]), float(attributes["dropoff_zero_intensity"])
        chance = np.where(intensity > limit, 1.0, 1.0 - at_zero + at_zero * intensity / max(limit, 1e-6))
        chance = chance * (1.0 - float(attributes["dropoff_general_rate"]))
        keep = keep & (self.random.random(len(distance)) < chance)
        deviation_m = abs(float(attributes["noise_stddev"]))
        if deviation_m > 0.0:
            distance = distance + self.random.normal(0.0, deviation_m, len(distance))
        points = np.column_stack([directions * distance[:, None], intensity])
        return points.astype("<f4"), keep


class SemanticLidarSensor(LidarSensor):
    """sensor.lidar.ray_cast_semantic: x, y, z, cosine of incidence, actor's id and semantic tag."""

    sensor_type = wire.SEMANTIC_LIDAR

    def measured(self, directions: np.ndarray, met: rays.Met, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = np.zeros(len(directions), dtype=wire.SEMANTIC_POINT)
        points["xyz"] = directions * np.where(keep, met.distance_m, 0.0)[:, None]
        points["cosine"], points["actor_id"], points["tag"] = met.cosine, met.actor_id, met.tag
        return points, keep


class RadarSensor(RaySensor):
    """sensor.other.radar: rays at random within a cone; what comes back tells how fast it comes nearer."""

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.number("points_per_second", 0.0, 1e8)
        self.half_width = math.radians(0.5 * self.number("horizontal_fov", 0.0, 179.0))
        self.half_height = math.radians(0.5 * self.number("vertical_fov", 0.0, 179.0))

    def publish(self, world: World) -> None:
        count = self.points_in(world.last_step_s, 1)
        radius, angle = self.random.random(count), self.random.random(count) * math.tau
        azimuth, altitude = self.half_width * radius * np.cos(angle), self.half_height * radius * np.sin(angle)
        level = np.cos(altitude)
        local = np.column_stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(altitude)])
        met = self.cast(world, local)
        hit = np.isfinite(met.distance_m)
        own = np.array(self.parent.velocity if self.parent is not None else ZERO)
        others = np.array([self._velocity(world, actor_id) for actor_id in met.actor_id[hit]]).reshape(-1, 3)
        directions = local[hit] @ np.array(axes(*self.pose[3:]))
        nearing = ((others - own) * directions).sum(axis=1)
        table = np.column_stack([nearing, azimuth[hit], altitude[hit], met.distance_m[hit]]).astype("<f4")
        self.send_bytes(world, wire.RADAR, table.tobytes())

    @staticmethod
    def _velocity(world: World, actor_id: int) -> tuple:
        solid = world.solids.get(int(actor_id))
        return ZERO if solid is None else solid.velocity


class ObstacleSensor(RaySensor):
    """sensor.other.obstacle: the nearest thing that a sphere meets on its way straight ahead, in every tick."""

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.radius_m = self.number("hit_radius", 0.0, MAX_RANGE_M)
        self.only_dynamic = attributes["only_dynamics"].lower() == "true"

    def publish(self, world: World) -> None:
        ahead = np.array(axes(*self.pose[3:])[:1])
        nearest_m, other = self.range_m, None
        for box in world.drawn_boxes(self):
            actor = world.solids[box.actor_id]
            if actor is self.parent or (self.only_dynamic and actor.type_id in PROPS):
                continue
            distance, _ = rays.enter_box(box, np.array(self.pose[:3]), ahead, self.radius_m)
            if distance[0] <= nearest_m:
                nearest_m, other = float(distance[0]), actor.to_wire(b"")
        if not self.only_dynamic:
            met = rays.cast(world.ground, (), self.pose[:3], ahead, nearest_m)
            if met.tag[0] == rays.WALL:
                nearest_m, other = float(met.distance_m[0]), WALL_ACTOR
        if other is not None:
            parent: Actor = self.parent or self
            self.send_bytes(world, wire.OBSTACLE, wire.pack((parent.to_wire(b""), other, nearest_m)))


RANGE_SENSORS: dict[str, type[Sensor]] = {
    "sensor.lidar.ray_cast": LidarSensor,
    "sensor.lidar.ray_cast_semantic": SemanticLidarSensor,
    "sensor.other.radar": RadarSensor,
    "sensor.other.obstacle": ObstacleSensor,
}
