"""More programs of the kinds that people write for CARLA: what sensors say must agree, and clients come and go."""

from __future__ import annotations

import math
import queue
import signal
import subprocess
import sys
import time

import carla
import numpy as np
import pytest

STEP_S = 0.05
WIDTH, HEIGHT = 320, 240  # with a field of view of 90 degrees: a focal length of half the width
SEMANTIC_POINT = np.dtype([("xyz", "<f4", 3), ("cosine", "<f4"), ("actor_id", "<u4"), ("tag", "<u4")])


@pytest.fixture
def world(client):
    """A new synchronous world on a circuit, as its programs leave it to the next."""
    world = client.load_world("circuit_6")
    world.apply_settings(carla.WorldSettings(True, False, STEP_S))
    yield world
    world.apply_settings(carla.WorldSettings(False, False, 0.0))


def spawn(world, type_id, place, parent=None, **attributes):
    blueprint = world.get_blueprint_library().find(type_id)
    for name, value in attributes.items():
        blueprint.set_attribute(name, str(value))
    return world.spawn_actor(blueprint, place, attach_to=parent)


def listening(world, type_id, place, parent, **attributes):
    sensor = spawn(world, type_id, place, parent, **attributes)
    measured = queue.SimpleQueue()
    sensor.listen(measured.put)
    return sensor, measured


def of_frame(measured, frame):
    while True:
        data = measured.get(timeout=10.0)
        if data.frame == frame:
            return data


def ahead_of(world, metres, right=0.0, up=0.3):
    start = world.get_map().get_spawn_points()[0]
    place = world.get_map().get_waypoint(start.location).next(metres)[0].transform
    place.location += right * place.get_right_vector() + carla.Location(z=up)
    return place


@pytest.mark.parametrize(
    "mount",
    [
        carla.Transform(carla.Location(x=1.0, z=2.4)),
        carla.Transform(carla.Location(x=-4.0, y=1.0, z=3.0), carla.Rotation(pitch=-12.0, yaw=9.0, roll=7.0)),
    ],
)
def test_points_of_lidar_and_radar_lie_where_the_depth_image_says(world, mount):
    car = spawn(world, "vehicle.lincoln.mkz_2020", world.get_map().get_spawn_points()[0])
    van = spawn(world, "vehicle.mercedes.sprinter", ahead_of(world, 12.0))
    walker = spawn(world, "walker.pedestrian.0010", ahead_of(world, 7.0, right=2.5, up=1.0))
    size = {"image_size_x": WIDTH, "image_size_y": HEIGHT, "fov": 90}
    turned = carla.Transform(mount.location, carla.Rotation(pitch=5.0, yaw=30.0, roll=-4.0))
    sensors = [
        listening(world, "sensor.camera.depth", mount, car, **size),
        listening(world, "sensor.camera.instance_segmentation", mount, car, **size),
        listening(
            world, "sensor.lidar.ray_cast_semantic", turned, car, range=100, channels=64, points_per_second=300000,
            rotation_frequency=1.0 / STEP_S, upper_fov=20, lower_fov=-40,
        ),
        listening(world, "sensor.other.radar", mount, car, points_per_second=20000, horizontal_fov=60, vertical_fov=40),
    ]  # fmt: skip
    for _ in range(15):
        frame = world.tick()
    depth, instances, lidar, radar = (of_frame(measured, frame) for _, measured in sensors)
    blue, green, red = np.moveaxis(_bgra(depth)[..., :3].astype(float), -1, 0)
    depth_m = 1000.0 * (red + 256.0 * green + 65536.0 * blue) / (2.0**24 - 1.0)

    points = np.frombuffer(lidar.raw_data, SEMANTIC_POINT)
    ahead, row, column, seen = _in_the_image(points["xyz"], sensors[2][0], sensors[0][0])
    assert seen.sum() > 500
    near = np.abs(depth_m[row, column] / ahead - 1.0) < 0.03
    assert near.mean() > 0.9  # all but those beside an edge
    pixels = _bgra(instances)[row, column].astype(int)
    same = pixels[:, 1] + 256 * pixels[:, 0] == points["actor_id"][seen]
    assert same.mean() > 0.98
    own = [car.id] if mount.location.x < 0.0 else []  # seen from behind
    assert set(points["actor_id"][seen]) == {0, van.id, walker.id, *own}

    _, azimuth, altitude, distance = np.frombuffer(radar.raw_data, "<f4").reshape(-1, 4).T
    level = distance * np.cos(altitude)
    places = np.column_stack([level * np.cos(azimuth), level * np.sin(azimuth), distance * np.sin(altitude)])
    ahead, row, column, seen = _in_the_image(places, sensors[3][0], sensors[0][0])
    assert seen.sum() > 200
    assert (np.abs(depth_m[row, column] / ahead - 1.0) < 0.03).mean() > 0.9
    for sensor, _ in sensors:
        sensor.stop()


def _bgra(image):
    return np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)


def _in_the_image(points, sensor, camera):
    """Depth, row and column of those points of a sensor that the camera has in its image, and which (n,) those are."""
    there = np.array(sensor.get_transform().get_matrix())
    back = np.array(camera.get_transform().get_inverse_matrix())
    ahead, right, up, _ = back @ there @ np.column_stack([points, np.ones(len(points))]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        column, row = WIDTH / 2.0 * (1.0 + right / ahead), HEIGHT / 2.0 - WIDTH / 2.0 * up / ahead
    seen = (ahead > 0.5) & (column > 1) & (column < WIDTH - 1) & (row > 1) & (row < HEIGHT - 1)
    return ahead[seen], row[seen].astype(int), column[seen].astype(int), seen


def test_imu_and_gnss_logged_over_a_drive_add_up_to_its_motion(world):
    car = spawn(world, "vehicle.tesla.model3", world.get_map().get_spawn_points()[0])
    imu, turns = listening(world, "sensor.other.imu", carla.Transform(), car)
    gnss, places = listening(world, "sensor.other.gnss", carla.Transform(carla.Location(x=1.0, z=2.0)), car)
    for _ in range(20):
        world.tick()
    begin = car.get_transform()
    speed = heading = 0.0
    for tick in range(60):
        car.apply_control(carla.VehicleControl(throttle=0.5, steer=0.1 if tick > 30 else 0.0))
        frame = world.tick()
        measured = of_frame(turns, frame)
        speed += STEP_S * measured.accelerometer.x
        heading += STEP_S * math.degrees(measured.gyroscope.z)
        fix = of_frame(places, frame)
        expected = world.get_map().transform_to_geolocation(gnss.get_transform().location)
        assert fix.latitude == pytest.approx(expected.latitude, abs=1e-9)
        assert fix.longitude == pytest.approx(expected.longitude, abs=1e-9)
    turned = math.remainder(car.get_transform().rotation.yaw - begin.rotation.yaw, 360.0)
    assert turned > 2.0
    assert heading == pytest.approx(turned, rel=0.1)
    assert speed == pytest.approx(car.get_velocity().length(), rel=0.03)
    for sensor in (imu, gnss):
        sensor.stop()


def test_a_route_of_waypoints_is_followed_by_pure_pursuit(world):
    start = world.get_map().get_spawn_points()[0]
    route = [world.get_map().get_waypoint(start.location)]
    for _ in range(60):
        route.append(route[-1].next(2.0)[0])
    car = spawn(world, "vehicle.lincoln.mkz_2020", start)
    bumper, hits = listening(world, "sensor.other.collision", carla.Transform(), car)
    reached, off_m = 0, []
    for _ in range(600):
        world.tick()
        place, speed = car.get_transform(), car.get_velocity().length()
        while reached < len(route) and route[reached].transform.location.distance(place.location) < 6.0:
            reached += 1
        if reached == len(route):
            break
        target = place.inverse_transform(carla.Location(route[reached].transform.location))
        steer = max(-1.0, min(1.0, 1.2 * math.atan2(target.y, target.x)))
        car.apply_control(carla.VehicleControl(throttle=0.5 if speed < 7.0 else 0.0, steer=steer))
        off_m.append(world.get_map().get_waypoint(place.location).transform.location.distance(place.location))
    assert reached == len(route)
    assert max(off_m) < 1.0
    assert hits.empty()
    bumper.stop()


def test_a_sensor_is_stopped_and_destroyed_in_its_own_callback(world):
    car = spawn(world, "vehicle.audi.tt", world.get_map().get_spawn_points()[0])
    camera = spawn(world, "sensor.camera.rgb", carla.Transform(), car, image_size_x=16, image_size_y=16)
    world.tick()
    frames = queue.SimpleQueue()

    def once(image):
        camera.stop()
        camera.destroy()
        frames.put(image.frame)

    camera.listen(once)
    frame = world.tick()
    assert frames.get(timeout=10.0) == frame
    for _ in range(3):
        world.tick()
    assert frames.empty()
    assert [actor.type_id for actor in world.get_actors().filter("sensor.*")] == []


LOOP = """
import queue, sys, carla
client = carla.Client("127.0.0.1", int(sys.argv[1]))
client.set_timeout(20.0)
world = client.get_world()
world.apply_settings(carla.WorldSettings(True, False, 0.05))
library = world.get_blueprint_library()
car = world.spawn_actor(library.find("vehicle.audi.tt"), world.get_map().get_spawn_points()[0])
camera = world.spawn_actor(library.find("sensor.camera.rgb"), carla.Transform(), attach_to=car)
images = queue.Queue()
camera.listen(images.put)
while True:
    world.tick()
    print(images.get(timeout=5.0).frame, flush=True)
"""


def test_after_a_client_was_killed_in_its_loop_the_next_one_cleans_up_and_goes_on(carla_server_port, client):
    client.load_world("circuit_4")
    for _ in range(2):
        command = [sys.executable, "-c", LOOP, str(carla_server_port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            while int(process.stdout.readline()) < 5:
                pass
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            process.stdout.close()
        other = carla.Client("127.0.0.1", carla_server_port)
        other.set_timeout(20.0)
        world = other.get_world()
        assert world.get_settings().synchronous_mode  # as its last client left it
        frame = world.tick()
        left = [actor for actor in world.get_actors() if actor.type_id != "spectator"]
        assert sorted(actor.type_id for actor in left) == ["sensor.camera.rgb", "vehicle.audi.tt"]
        other.apply_batch_sync([carla.command.DestroyActor(actor) for actor in left])
        assert world.tick() == frame + 1
        world.apply_settings(carla.WorldSettings(False, False, 0.0))
        begin = time.monotonic()
        assert world.wait_for_tick(5.0).frame > frame
        assert time.monotonic() - begin < 2.0
