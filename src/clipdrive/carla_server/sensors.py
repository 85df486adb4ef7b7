"""Sensors: what they measure at the end of a tick, and the message that carries it to those who listen."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from clipdrive.carla_server import camera_boxes, wire
from clipdrive.carla_server.actors import ZERO, Actor, Solid
from clipdrive.carla_server.blueprints import Blueprint
from clipdrive.carla_server.camera import Camera
from clipdrive.carla_server.poses import axes, turn_back
from clipdrive.carla_server.rpc import RpcError
from clipdrive.carla_server.vehicle_actor import Vehicle
from clipdrive.carla_server.wire import Pose

if TYPE_CHECKING:
    from clipdrive.carla_server.world import World

MAX_PIXELS = 4096 * 4096
WALL = 4  # semantic tag
WALL_ACTOR = (0, 0, (0, "static.wall", ()), (ZERO, ZERO, ZERO, 0), bytes([WALL]), b"")
SEEN_FROM_M = 1.5  # from its box, what a sensor is mounted on is seen
GRAVITY_MPS2 = 9.81
EARTH_RADIUS_M = 6378137.0


class Sensor(Actor):
    """A sensor with a stream; `order` is its place among the messages of a tick."""

    order = 1

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.interval_s = max(0.0, float(attributes.get("sensor_tick", 0.0)))
        self.due_s = -math.inf

    def attach(self, parent: Actor, relative: Pose) -> None:
        super().attach(parent, relative)
        self._look_back()

    def place(self, pose: Pose) -> None:
        super().place(pose)
        self._look_back()

    def _look_back(self) -> None:
        """In or close to a car's box nothing but the box would be seen; from behind the car, the car is."""
        mount = self.parent
        self.sees_parent = isinstance(mount, Solid) and mount.distance_m(self.relative[:3]) >= SEEN_FROM_M

    def is_due(self, elapsed_s: float) -> bool:
        """Tell whether `sensor_tick` lets this sensor measure now, and if so, set when the next time is."""
        if self.interval_s == 0.0:
            return True
        if elapsed_s < self.due_s - 1e-6:
            return False
        following_s = self.due_s + self.interval_s
        self.due_s = following_s if following_s > elapsed_s else elapsed_s + self.interval_s
        return True

    def publish(self, world: World) -> None:
        """Measure and send, to a stream that somebody listens to."""
        raise NotImplementedError

    def _send(self, world: World, sensor_type: int, value: object) -> None:
        payload = wire.pack(value)
        message = wire.sensor_message(sensor_type, world.frame, world.elapsed_s, self.pose, payload)
        world.streams.publish(self.stream_id, message)


class CameraSensor(Sensor):
    """sensor.camera.rgb; rendered for those who listen only."""

    order = 2
    kind, wire_type = camera_boxes.RGB, wire.CAMERA_RGB

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.width, self.height = (
            int(float(attributes["image_size_x"])),
            int(float(attributes["image_size_y"])),
        )
        self.fov_deg = float(attributes["fov"])
        if self.width < 1 or self.height < 1 or self.width * self.height > MAX_PIXELS:
            raise RpcError(f"image size {self.width} x {self.height}: allowed are 1 to {MAX_PIXELS} pixels")
        if not 1.0 <= self.fov_deg <= 175.0:
            raise RpcError(f"fov {self.fov_deg:g}: allowed are 1 to 175 degrees")
        self.camera = Camera(self.width, self.height, self.fov_deg, self.kind)
        self.constant_pixels = bytes(self.width * self.height * 4)

    def image(self, world: World) -> tuple[bytes, bytes | memoryview]:
        """Draw what the camera sees of `world.scene`: the head of its message, and the pixels."""
        if world.constant_image:
            pixels = self.constant_pixels
        else:
            scene = world.scene
            image = self.camera.render(scene.ground, *self.pose, scene.boxes, scene.mounts(self), scene.weather)
            pixels = memoryview(image).cast("B")
        head = wire.image_head(
            world.frame, world.elapsed_s, self.pose, self.width, self.height, self.fov_deg, self.wire_type
        )
        return head, pixels


class DepthCamera(CameraSensor):
    """sensor.camera.depth: 24 bits of depth along the camera's axis, up to 1000 m."""

    kind, wire_type = camera_boxes.DEPTHS, wire.CAMERA_DEPTH


class SemanticCamera(CameraSensor):
    """sensor.camera.semantic_segmentation: CARLA's tags in red."""

    kind, wire_type = camera_boxes.TAGS, wire.CAMERA_SEMANTIC


class InstanceCamera(CameraSensor):
    """sensor.camera.instance_segmentation: the tag in red, the actor's id in green and blue."""

    kind, wire_type = camera_boxes.INSTANCES, wire.CAMERA_INSTANCE


class CollisionSensor(Sensor):
    """sensor.other.collision: in each tick one message for everything that hit the parent."""

    order = 0

    def publish(self, world: World) -> None:
        parent = self.parent
        if not isinstance(parent, Solid):
            return
        for other, impulse in parent.hits:
            other_actor = WALL_ACTOR if other is None else other.to_wire(b"")
            self._send(world, wire.COLLISION, (parent.to_wire(b""), other_actor, tuple(map(float, impulse))))


class ImuSensor(Sensor):
    """sensor.other.imu: acceleration with gravity and turn rates in the sensor's axes, and the compass."""

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.noise = _Noise(attributes)

    def publish(self, world: World) -> None:
        vehicle = self.parent
        moving = isinstance(vehicle, Vehicle) and vehicle.simulated
        ax, ay, az = vehicle.model.acceleration if moving else ZERO
        rates = vehicle.model.angular_velocity_deg if moving else ZERO
        frame = axes(*self.pose[3:])
        acceleration = turn_back(frame, (ax, ay, az + world.gravity_mps2))
        gyroscope = turn_back(frame, tuple(math.radians(rate) for rate in rates))
        compass = (math.radians(self.pose[4]) + math.pi / 2.0) % (2.0 * math.pi)
        value = (
            self.noise.added(acceleration, "noise_accel_stddev_{}"),
            self.noise.added(gyroscope, "noise_gyro_stddev_{}", "noise_gyro_bias_{}"),
            compass,
        )
        self._send(world, wire.IMU, value)


class GnssSensor(Sensor):
    """sensor.other.gnss: latitude, longitude (degrees) and altitude, by the client's projection."""

    def __init__(self, actor_id: int, blueprint: Blueprint, attributes: dict[str, str], pose: Pose) -> None:
        super().__init__(actor_id, blueprint, attributes, pose)
        self.noise = _Noise(attributes)

    def publish(self, world: World) -> None:
        place = geolocation(self.pose[0], self.pose[1], self.pose[2], *world.map.origin_deg)
        value = self.noise.added(place, "noise_{}_stddev", "noise_{}_bias", ("lat", "lon", "alt"))
        self._send(world, wire.GNSS, value)


class LaneInvasionSensor(Actor):
    """sensor.other.lane_invasion: the client computes it from the snapshots, so there is no stream."""


SENSORS: dict[str, type[Actor]] = {
    "sensor.camera.rgb": CameraSensor,
    "sensor.camera.depth": DepthCamera,
    "sensor.camera.semantic_segmentation": SemanticCamera,
    "sensor.camera.instance_segmentation": InstanceCamera,
    "sensor.other.collision": CollisionSensor,
    "sensor.other.lane_invasion": LaneInvasionSensor,
    "sensor.other.imu": ImuSensor,
    "sensor.other.gnss": GnssSensor,
}


def geolocation(
    x_m: float, y_m: float, z_m: float, latitude_deg: float, longitude_deg: float
) -> tuple[float, float, float]:
    """Return latitude, longitude (degrees) and altitude of a point in the world, as `carla.Map` does.

    A spherical transverse Mercator projection with k = 0.9996.
    """
    scale = EARTH_RADIUS_M * 0.9996
    d = y_m / scale + math.radians(latitude_deg)
    latitude = math.asin(math.sin(d) / math.cosh(x_m / scale))
    longitude = math.radians(longitude_deg) + math.atan2(math.sinh(x_m / scale), math.cos(d))
    return math.degrees(latitude), math.degrees(longitude), z_m


class _Noise:
    """Gaussian noise by a sensor's attributes, repeatable by its noise_seed."""

    def __init__(self, attributes: dict[str, str]) -> None:
        self.random = random.Random(int(float(attributes["noise_seed"])))
        self.attributes = attributes

    def added(self, vector: tuple, deviation: str, bias: str | None = None, names: tuple = ("x", "y", "z")) -> tuple:
        noisy = []
        for value, name in zip(vector, names, strict=True):
            sigma = float(self.attributes[deviation.format(name)])
            offset = float(self.attributes[bias.format(name)]) if bias else 0.0
            noisy.append(value + offset + (self.random.gauss(0.0, sigma) if sigma else 0.0))
        return tuple(noisy)
