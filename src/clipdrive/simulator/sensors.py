"""The vehicle's camera and collision sensor: what comes from the client's threads, matched to a frame."""

from __future__ import annotations

import math
import queue
import time

import carla
import numpy as np

from clipdrive.params import CameraParams
from clipdrive.simulator.images import gray_of_bgra, rgb_of_bgra

# A vehicle's acceleration passes this only in a frame with a collision: the bundled server sees to that, and
# no tyre can do it.
IMPACT_MPS2 = 15.0


class Camera:
    """An RGB camera on the vehicle, and the queue its images arrive in."""

    def __init__(self, world: carla.World, vehicle: carla.Vehicle, camera: CameraParams, role_name: str) -> None:
        blueprint = world.get_blueprint_library().find("sensor.camera.rgb")
        for name, value in (
            ("role_name", role_name),
            ("image_size_x", camera.width_px),
            ("image_size_y", camera.height_px),
            ("fov", camera.fov_deg),
        ):
            blueprint.set_attribute(name, str(value))
        mount = carla.Transform(
            carla.Location(x=camera.forward_m, z=camera.up_m), carla.Rotation(pitch=camera.pitch_deg)
        )
        self._convert = gray_of_bgra if camera.color == "gray" else rgb_of_bgra
        self._shape = camera.height_px, camera.width_px
        self._images: queue.SimpleQueue = queue.SimpleQueue()
        self.sensor = world.spawn_actor(blueprint, mount, attach_to=vehicle)
        self.sensor.listen(self._images.put)

    def forget(self) -> None:
        """Drop what has come: before a tick, no image can be of that tick, whatever its number says."""
        while not self._images.empty():
            self._images.get_nowait()

    def image(self, frame: int, within_s: float) -> np.ndarray | None:
        """The pixels of `frame`, images of other frames dropped; None when they do not come in time."""
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0.0:
            try:
                image = self._images.get(timeout=left_s)
            except queue.Empty:
                break
            if image.frame == frame:
                return self._pixels(image)
        return None

    def _pixels(self, image: carla.Image) -> np.ndarray | None:
        """The image's pixels; None for one that is cut short, which the client does not notice."""
        try:
            return self._convert(image.raw_data, *self._shape)
        except ValueError:
            return None


class CollisionSensor:
    """A collision sensor on the vehicle, and the frames of the collisions it told of."""

    def __init__(self, world: carla.World, vehicle: carla.Vehicle, role_name: str) -> None:
        blueprint = world.get_blueprint_library().find("sensor.other.collision")
        blueprint.set_attribute("role_name", role_name)
        self._frames: queue.SimpleQueue = queue.SimpleQueue()
        self._episode_frame = 0
        self.sensor = world.spawn_actor(blueprint, carla.Transform(), attach_to=vehicle)
        frames = self._frames  # the client holds the callback, which must not hold us
        self.sensor.listen(lambda event: frames.put(event.frame))

    def begin_episode(self, frame: int) -> None:
        """Count nothing up to `frame`, where the vehicle was put in place."""
        self._episode_frame = frame

    def heard(self, frame: int, state: carla.ActorSnapshot, within_s: float) -> bool:
        """Whether a collision of this episode, up to `frame`, was told of and not yet counted.

        The message comes on another connection than the snapshot: after an impact it is waited for, so that
        what we say does not depend on which was quicker.
        """
        acceleration = state.get_acceleration()
        impact_mps2 = math.hypot(acceleration.x, acceleration.y, acceleration.z)
        waits = impact_mps2 > IMPACT_MPS2
        deadline = time.monotonic() + within_s
        collision = False
        while True:
            left_s = deadline - time.monotonic() if waits else 0.0
            try:
                of_frame = self._frames.get(timeout=left_s) if left_s > 0.0 else self._frames.get_nowait()
            except queue.Empty:
                return collision
            collision |= of_frame > self._episode_frame
            waits &= of_frame < frame
