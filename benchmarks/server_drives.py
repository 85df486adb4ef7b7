"""The loop that measures the bundled server: vehicles with a camera each, driven through the real `carla` client.

One pass of the loop is one tick: a control per vehicle, the tick, of every camera the image of that very tick as a
numpy array, and every vehicle's pose.
"""

from __future__ import annotations

import math
import queue
import time
from pathlib import Path

import carla
import numpy as np

from clipdrive.simulator.process import COMMAND, ServerProcess

STEP_S = 0.05
SPEED_MPS = 8.0
AHEAD_M, SPACING_M, MOST_POINTS = 8.0, 2.0, 2000
STRAYED_M = 4.0  # from the route: a car against a wall sees other things than one that drives
IMAGE_TIMEOUT_S = 10.0


def server(constant_image: bool = False, maps: Path | None = None) -> ServerProcess:
    """A bundled server of its own, not started yet."""
    options = (["--constant-image"] if constant_image else []) + (["--maps", str(maps)] if maps else [])
    return ServerProcess(command=(*COMMAND, *options))


class Drive:
    """`vehicles` cars on one track, 84x84 RGB cameras on them; `images_per_s` measures. Close it before the server."""

    def __init__(self, address: tuple[str, int], map_name: str, vehicles: int, size_px: int = 84) -> None:
        self.client = carla.Client(*address)
        self.client.set_timeout(60.0)
        self.world = self.client.load_world(map_name)
        settings = self.world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, STEP_S
        self.world.apply_settings(settings)
        self.size_px = size_px
        self.route = _route(self.world.get_map())
        self.cars, self.sensors, self.images, self.ahead = [], [], [], []
        library = self.world.get_blueprint_library()
        camera = library.find("sensor.camera.rgb")
        for name in ("image_size_x", "image_size_y"):
            camera.set_attribute(name, str(size_px))
        mount = carla.Transform(carla.Location(1.0, 0.0, 1.4), carla.Rotation(pitch=-10.0))
        for number in range(vehicles):
            index = number * len(self.route) // vehicles
            car = self.world.spawn_actor(library.find("vehicle.tesla.model3"), self.route[index])
            sensor = self.world.spawn_actor(camera, mount, attach_to=car)
            images: queue.SimpleQueue = queue.SimpleQueue()
            sensor.listen(images.put)
            self.cars.append(car)
            self.sensors.append(sensor)
            self.images.append(images)
            self.ahead.append(index)
        self.world.tick()
        self.points = [(place.location.x, place.location.y) for place in self.route]
        self.poses = self.poses_before = [car.get_transform() for car in self.cars]
        self.brightness = 0

    def step(self) -> None:
        """One tick; afterwards `poses` are the vehicles', and every image has been looked at."""
        for number, car in enumerate(self.cars):
            car.apply_control(self._control(number))
        frame = self.world.tick()
        for images in self.images:
            image = images.get(timeout=IMAGE_TIMEOUT_S)
            while image.frame < frame:
                image = images.get(timeout=IMAGE_TIMEOUT_S)
            pixels = np.frombuffer(image.raw_data, np.uint8).reshape(self.size_px, self.size_px, 4)[..., 2::-1]
            self.brightness += int(pixels[0, 0, 0])
        self.poses_before, self.poses = self.poses, [car.get_transform() for car in self.cars]

    def images_per_s(self, ticks: int) -> float:
        """Images a second over so many ticks; raises RuntimeError where a car has left its road."""
        begun = time.perf_counter()
        for _ in range(ticks):
            self.step()
        rate = ticks * len(self.cars) / (time.perf_counter() - begun)
        for number, place in enumerate(self.poses):
            strayed_m = min(math.dist((place.location.x, place.location.y), point) for point in self.points)
            if strayed_m > STRAYED_M:
                raise RuntimeError(f"car {number} is {strayed_m:.1f} m from its route, allowed: {STRAYED_M}")
        return rate

    def close(self) -> None:
        for sensor in self.sensors:
            sensor.stop()
        self.client.apply_batch_sync([carla.command.DestroyActor(actor) for actor in (*self.sensors, *self.cars)])

    def _control(self, number: int) -> carla.VehicleControl:
        """Steer towards the point of the route that lies `AHEAD_M` ahead, at `SPEED_MPS`."""
        place, points = self.poses[number], self.points
        x, y = place.location.x, place.location.y
        for _ in range(3):
            target_x, target_y = points[self.ahead[number]]
            if math.hypot(target_x - x, target_y - y) >= AHEAD_M:
                break
            self.ahead[number] = (self.ahead[number] + 1) % len(points)
        aside = math.remainder(math.atan2(target_y - y, target_x - x) - math.radians(place.rotation.yaw), math.tau)
        too_slow = SPEED_MPS - place.location.distance(self.poses_before[number].location) / STEP_S
        return carla.VehicleControl(throttle=max(0.0, min(0.6, 0.2 * too_slow)), steer=max(-1.0, min(1.0, 1.2 * aside)))


def _route(track: carla.Map) -> list[carla.Transform]:
    """Places every `SPACING_M` along the road from the first spawn point on, at most once round."""
    place = track.get_waypoint(track.get_spawn_points()[0].location)
    first, route = place.transform.location, []
    for number in range(MOST_POINTS):
        route.append(place.transform)
        following = place.next(SPACING_M)
        if not following or (number > 20 and place.transform.location.distance(first) < 1.5 * SPACING_M):
            break
        place = following[0]
    for transform in route:
        transform.location.z += 0.2
    return route
