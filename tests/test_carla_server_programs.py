"""Programs of the kinds that people write for CARLA, run against the bundled server with the unmodified client."""

from __future__ import annotations

import contextlib
import math
import queue
import random
import time
import weakref

import carla
import numpy as np
import pytest

STEP_S = 0.05


@pytest.fixture(scope="module")
def port(carla_server_port):
    return carla_server_port


@pytest.fixture
def client(port):
    client = carla.Client("127.0.0.1", port)
    client.set_timeout(60.0)
    return client


@pytest.fixture
def world(client):
    """A new asynchronous world on a circuit, as a server just started has it."""
    return client.load_world("circuit_3")


@contextlib.contextmanager
def synchronous(world, step_s=STEP_S):
    """The mode most programs set, and what they set it back to."""
    before = world.get_settings()
    world.apply_settings(carla.WorldSettings(True, False, step_s))
    try:
        yield
    finally:
        world.apply_settings(before)


def test_tutorial_spawns_vehicles_and_a_camera_and_saves_images(world, tmp_path):
    library = world.get_blueprint_library()
    actors = []
    try:
        blueprint = random.Random(1).choice(library.filter("vehicle.*.*"))
        if blueprint.has_attribute("color"):
            blueprint.set_attribute("color", random.choice(blueprint.get_attribute("color").recommended_values))
        transform = random.Random(2).choice(world.get_map().get_spawn_points())
        vehicle = world.spawn_actor(blueprint, transform)
        actors.append(vehicle)
        camera_blueprint = library.find("sensor.camera.rgb")
        camera_blueprint.set_attribute("image_size_x", "64")
        camera_blueprint.set_attribute("image_size_y", "48")
        mount = carla.Transform(carla.Location(x=1.5, z=2.4))
        camera = world.spawn_actor(
            camera_blueprint, mount, attach_to=vehicle, attachment_type=carla.AttachmentType.Rigid
        )
        actors.append(camera)
        saved = queue.Queue()
        camera.listen(lambda image: saved.put(image.save_to_disk(str(tmp_path / f"{image.frame:06d}.png"))))
        location = vehicle.get_location()
        location.x += 40
        vehicle.set_location(location)
        transform.location += carla.Location(x=0.0, y=3.2)
        transform.rotation.yaw = -180.0
        for _ in range(4):
            transform.location.x += 8.0
            other = world.try_spawn_actor(library.find("vehicle.nissan.patrol"), transform)
            if other is not None:
                actors.append(other)
        for _ in range(5):
            saved.get(timeout=5.0)
        camera.stop()
    finally:
        assert len(actors) >= 3
        destroyed = [actor.destroy() for actor in reversed(actors)]
    assert all(destroyed)
    files = sorted(tmp_path.glob("*.png"))
    assert len(files) >= 5
    assert files[0].read_bytes().startswith(b"\x89PNG")


class SensorOfPlayer:
    """What manual-control programs wrap every sensor in: a weak reference in the callback."""

    def __init__(self, world, parent, type_id, **attributes):
        blueprint = world.get_blueprint_library().find(type_id)
        for name, value in attributes.items():
            blueprint.set_attribute(name, value)
        self.history = []
        self.sensor = world.spawn_actor(blueprint, carla.Transform(carla.Location(x=2.0, z=1.0)), attach_to=parent)
        weak_self = weakref.ref(self)
        self.sensor.listen(lambda event: SensorOfPlayer.on_event(weak_self, event))

    @staticmethod
    def on_event(weak_self, event):
        self = weak_self()
        if self is not None:
            self.history.append(event)


def test_manual_control_without_a_display(client, world):
    ticks = []
    tick_id = world.on_tick(lambda snapshot: ticks.append(snapshot.timestamp))
    blueprints = [
        b for b in world.get_blueprint_library().filter("vehicle.*")
        if b.has_attribute("generation") and int(b.get_attribute("generation")) == 2
    ]  # fmt: skip
    blueprint = sorted(blueprints, key=lambda b: b.id)[0]
    blueprint.set_attribute("role_name", "hero")
    if blueprint.has_attribute("terramechanics"):
        blueprint.set_attribute("terramechanics", "true")
    if blueprint.has_attribute("driver_id"):
        blueprint.set_attribute("driver_id", blueprint.get_attribute("driver_id").recommended_values[0])
    if blueprint.has_attribute("is_invincible"):
        blueprint.set_attribute("is_invincible", "true")
    if blueprint.has_attribute("speed"):
        assert len(blueprint.get_attribute("speed").recommended_values) == 3
    player = world.try_spawn_actor(blueprint, world.get_map().get_spawn_points()[0])
    world.wait_for_tick()
    control = player.get_physics_control()
    control.use_sweep_wheel_collision = True
    player.apply_physics_control(control)
    player.show_debug_telemetry(False)
    sensors = [
        SensorOfPlayer(world, player, "sensor.other.collision"),
        SensorOfPlayer(world, player, "sensor.other.lane_invasion"),
        SensorOfPlayer(world, player, "sensor.other.gnss"),
        SensorOfPlayer(world, player, "sensor.other.imu"),
        SensorOfPlayer(world, player, "sensor.other.radar", horizontal_fov="35", vertical_fov="20"),
        SensorOfPlayer(world, player, "sensor.lidar.ray_cast", range="50"),
        SensorOfPlayer(world, player, "sensor.camera.rgb", image_size_x="64", image_size_y="36", gamma="2.2"),
    ]
    presets = [name for name in dir(carla.WeatherParameters) if name[0].isupper()]
    for name in presets:
        world.set_weather(getattr(carla.WeatherParameters, name))
    player.open_door(carla.VehicleDoor.All)
    player.close_door(carla.VehicleDoor.All)
    player.set_light_state(carla.VehicleLightState(carla.VehicleLightState.Position | carla.VehicleLightState.LowBeam))
    command = carla.VehicleControl(throttle=0.8)
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        command.steer = 0.3 * math.sin(time.monotonic())
        player.apply_control(command)
        transform, velocity = player.get_transform(), player.get_velocity()
        hud = [
            f"Map: {world.get_map().name.split('/')[-1]}", f"Speed: {3.6 * velocity.length():15.0f} km/h",
            f"Compass: {sensors[3].history[-1].compass if sensors[3].history else 0.0}", f"{transform.location}",
            f"Gear: {({-1: 'R', 0: 'N'}).get(player.get_control().gear, player.get_control().gear)}",
            f"Vehicles: {len(world.get_actors().filter('vehicle.*'))}",
        ]  # fmt: skip
        world.wait_for_tick()
    assert len(hud) == 6
    assert player.get_velocity().length() > 3.0
    assert player.attributes["role_name"] == "hero"
    for holder in sensors[2:]:
        assert len(holder.history) > 5
    points = np.frombuffer(sensors[5].history[-1].raw_data, dtype="f4").reshape(-1, 4)
    assert len(points) > 10
    assert len(ticks) > 20
    world.remove_on_tick(tick_id)
    with pytest.raises(RuntimeError, match="autopilot and TrafficManager are not supported"):
        player.set_autopilot(True)
    with pytest.raises(RuntimeError, match="start_recorder is not supported"):
        client.start_recorder("manual_recording.rec")
    for holder in sensors:
        holder.sensor.stop()
        assert holder.sensor.destroy()
    assert player.destroy()


class SyncMode:
    """One queue per sensor; a tick returns the snapshot and the data of its frame."""

    def __init__(self, world, *sensors):
        self.world, self.sensors, self.queues = world, sensors, []
        self.settings = world.get_settings()

    def __enter__(self):
        self.world.apply_settings(
            carla.WorldSettings(no_rendering_mode=False, synchronous_mode=True, fixed_delta_seconds=STEP_S)
        )
        for register in [self.world.on_tick, *(sensor.listen for sensor in self.sensors)]:
            waiting = queue.Queue()
            register(waiting.put)
            self.queues.append(waiting)
        return self

    def tick(self, timeout=10.0):
        frame = self.world.tick()
        return [self._of_frame(waiting, frame, timeout) for waiting in self.queues]

    @staticmethod
    def _of_frame(waiting, frame, timeout):
        while True:
            data = waiting.get(timeout=timeout)
            if data.frame == frame:
                return data

    def __exit__(self, *_):
        self.world.apply_settings(self.settings)
        for sensor in self.sensors:
            sensor.stop()


ALL_SENSORS = {
    "sensor.camera.rgb": {"image_size_x": "48", "image_size_y": "32"},
    "sensor.other.gnss": {},
    "sensor.other.imu": {"noise_accel_stddev_x": "0.01"},
    "sensor.lidar.ray_cast": {"channels": "16", "range": "30", "dropoff_general_rate": "0.0"},
    "sensor.lidar.ray_cast_semantic": {"channels": "8", "range": "30", "rotation_frequency": "20"},
    "sensor.other.radar": {"points_per_second": "4000"},
}


def test_synchronous_loop_with_a_queue_for_every_sensor(world, tmp_path):
    library, road = world.get_blueprint_library(), world.get_map()
    start = road.get_spawn_points()[5]
    waypoint = road.get_waypoint(start.location)
    vehicle = world.spawn_actor(library.find("vehicle.lincoln.mkz_2020"), start)
    vehicle.set_simulate_physics(False)
    ahead = waypoint.next(15.0)[0].transform
    ahead.location.z += 0.5
    truck = world.spawn_actor(library.find("vehicle.carlamotors.firetruck"), ahead)
    sensors = []
    for type_id, attributes in ALL_SENSORS.items():
        blueprint = library.find(type_id)
        for name, value in attributes.items():
            blueprint.set_attribute(name, value)
        mount = carla.Transform(carla.Location(x=2.5, z=1.6))
        sensors.append(world.spawn_actor(blueprint, mount, attach_to=vehicle))
    with SyncMode(world, *sensors) as mode:
        for _ in range(20):
            snapshot, image, gnss, imu, lidar, semantic, radar = mode.tick()
            waypoint = waypoint.next(0.2)[0]
            vehicle.set_transform(waypoint.transform)
            assert {data.frame for data in (image, gnss, imu, lidar, semantic, radar)} == {snapshot.frame}
            assert 1.0 / snapshot.timestamp.delta_seconds == pytest.approx(20.0)
    assert snapshot.has_actor(vehicle.id)
    assert lidar.channels == 16
    assert lidar.get_point_count(0) >= 0
    assert len(lidar) == sum(lidar.get_point_count(channel) for channel in range(16)) > 200
    for detection in lidar:
        assert detection.point.x**2 + detection.point.y**2 + detection.point.z**2 < 30.1**2
        assert 0.8 < detection.intensity <= 1.0
    lidar.save_to_disk(str(tmp_path / "cloud.ply"))
    assert (tmp_path / "cloud.ply").stat().st_size > 1000
    by_object = {(point.object_idx, point.object_tag) for point in semantic}
    assert (truck.id, 15) in by_object  # a truck
    assert {tag for _, tag in by_object} <= {1, 4, 10, 15}
    to_truck = [point.point.x for point in semantic if point.object_idx == truck.id]
    gap = ahead.location.distance(sensors[0].get_location())
    assert gap - 5.2 < min(to_truck) < gap - 3.2  # its tail is 4.2 m behind its middle
    assert any(abs(detection.velocity) < 50.0 and detection.depth < 100.0 for detection in radar)
    for sensor in sensors:
        assert sensor.destroy()


class LaneEnv:
    """A gym-like environment: reset and step, everything spawned anew in every episode."""

    def __init__(self, client):
        self.client = client
        self.world = client.load_world("circuit_3")
        self.world.set_weather(carla.WeatherParameters.ClearNoon)
        self.settings = self.world.get_settings()
        self.random = random.Random(7)

    def reset(self):
        self.settings.synchronous_mode = False
        self.world.apply_settings(self.settings)
        self._clear("sensor.other.collision", "sensor.camera.rgb", "vehicle.*", "controller.ai.walker", "walker.*")
        library, points = self.world.get_blueprint_library(), list(self.world.get_map().get_spawn_points())
        self.random.shuffle(points)
        self.others = [
            vehicle for point in points[1:4]
            if (vehicle := self.world.try_spawn_actor(self.random.choice(library.filter("vehicle.*")), point))
        ]  # fmt: skip
        blueprint = library.find("vehicle.lincoln.mkz_2017")
        blueprint.set_attribute("color", "49,8,8")
        self.ego = self.world.spawn_actor(blueprint, points[0])
        polygons = {}
        for vehicle in self.world.get_actors().filter("vehicle.*"):
            extent = vehicle.bounding_box.extent
            polygons[vehicle.id] = np.array([[extent.x, extent.y], [-extent.x, extent.y]])
        self.collisions, self.images = [], queue.Queue()
        self.collision_sensor = self.world.spawn_actor(
            library.find("sensor.other.collision"), carla.Transform(), attach_to=self.ego
        )
        self.collision_sensor.listen(lambda event: self.collisions.append(event.normal_impulse.length()))
        camera = library.find("sensor.camera.rgb")
        for name, value in {"image_size_x": "32", "image_size_y": "32", "fov": "110", "sensor_tick": "0.02"}.items():
            camera.set_attribute(name, value)
        self.camera = self.world.spawn_actor(camera, carla.Transform(carla.Location(x=0.8, z=1.7)), attach_to=self.ego)
        self.camera.listen(self.images.put)
        self.settings.synchronous_mode, self.settings.fixed_delta_seconds = True, 0.1
        self.world.apply_settings(self.settings)
        return self._observe(self.world.tick())

    def step(self, throttle, steer):
        self.ego.apply_control(carla.VehicleControl(throttle=float(throttle), steer=float(-steer), brake=0.0))
        spectator = self.world.get_spectator()
        transform = self.ego.get_transform()
        above = carla.Transform(transform.location + carla.Location(z=40), carla.Rotation(pitch=-90))
        spectator.set_transform(above)
        frame = self.world.tick()
        return self._observe(frame), self.ego.get_velocity().length(), bool(self.collisions)

    def _observe(self, frame):
        while True:
            image = self.images.get(timeout=10.0)
            if image.frame >= frame:
                # a copy: the bytes are the image's, which is gone with it
                return np.frombuffer(image.raw_data, np.uint8).reshape(32, 32, 4)[:, :, :3].copy()

    def _clear(self, *filters):
        for pattern in filters:
            for actor in self.world.get_actors().filter(pattern):
                if actor.is_alive:
                    if actor.type_id.startswith("sensor"):
                        actor.stop()
                    actor.destroy()

    def close(self):
        self.settings.synchronous_mode = False
        self.world.apply_settings(self.settings)
        self._clear("sensor.*", "vehicle.*")


def test_gym_like_environment_runs_episode_after_episode(client):
    env = LaneEnv(client)
    for _ in range(3):
        first = env.reset()
        assert first.shape == (32, 32, 3)
        for _ in range(25):
            observation, speed, _crashed = env.step(0.7, 0.0)
        assert speed > 3.0
        assert not np.array_equal(first, observation)
        assert len(env.world.get_actors().filter("vehicle.*")) == len(env.others) + 1
    env.close()
    env.world.wait_for_tick()
    assert len(env.world.get_actors().filter("vehicle.*")) == 0


def test_lane_invasions_collisions_and_obstacles_are_logged_by_name(world):
    library, road = world.get_blueprint_library(), world.get_map()
    start = road.get_spawn_points()[2]
    car = world.spawn_actor(library.find("vehicle.tesla.model3"), start)
    place = road.get_waypoint(start.location).next(18.0)[0].transform
    place.location.z += 0.1
    barrier = world.spawn_actor(library.find("static.prop.container"), place)
    lines, hits, ahead = [], [], []
    with synchronous(world):
        sensors = []
        for name, log in (("lane_invasion", lines), ("collision", hits), ("obstacle", ahead)):
            blueprint = library.find(f"sensor.other.{name}")
            if name == "obstacle":
                blueprint.set_attribute("distance", "12")
                blueprint.set_attribute("hit_radius", "0.3")
            sensor = world.spawn_actor(blueprint, carla.Transform(carla.Location(x=2.5, z=0.8)), attach_to=car)
            sensor.listen(log.append)
            sensors.append(sensor)
        for _ in range(100):
            car.apply_control(carla.VehicleControl(throttle=0.6))
            world.tick()
        stopped = car.get_velocity().length()
        car.set_target_velocity(carla.Vector3D())
        car.set_transform(start)
        for _ in range(60):
            car.apply_control(carla.VehicleControl(throttle=0.5, steer=-0.25))
            world.tick()
        for sensor in sensors:
            sensor.stop()
    assert {event.other_actor.id for event in hits if event.other_actor.id} == {barrier.id}
    first = hits[0]
    assert (first.actor.id, first.other_actor.type_id) == (car.id, "static.prop.container")
    assert first.normal_impulse.length() > 1845.0 * 3.0  # it came with more than 3 m/s
    assert stopped < 1.0
    assert barrier.get_location().distance(place.location) < 1e-3
    assert {event.other_actor.id for event in ahead} >= {barrier.id}
    distances = [event.distance for event in ahead if event.other_actor.id == barrier.id and event.frame < first.frame]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] == pytest.approx(12.0, abs=1.0)
    crossed = {str(mark.type) for event in lines for mark in event.crossed_lane_markings}
    assert crossed & {"Broken", "Solid", "NONE"}


def test_crowd_by_batch_drives_walks_and_is_destroyed(client, world):
    command, rng = carla.command, random.Random(3)
    library, points = world.get_blueprint_library(), list(world.get_map().get_spawn_points())
    rng.shuffle(points)
    cars = [b for b in library.filter("vehicle.*") if int(b.get_attribute("number_of_wheels")) == 4]
    batch = []
    for point in points[:20]:
        blueprint = rng.choice(cars)
        blueprint.set_attribute("role_name", "autopilot")
        drive = command.ApplyVehicleControl(command.FutureActor, carla.VehicleControl(throttle=0.4))
        batch.append(command.SpawnActor(blueprint, point).then(drive))
    with synchronous(world):
        results = client.apply_batch_sync(batch, True)
        vehicles = [response.actor_id for response in results if not response.error]
        assert len(vehicles) > 12
        walkers, speeds = [], []
        for point in points[20:40]:
            blueprint = rng.choice(library.filter("walker.pedestrian.*"))
            if blueprint.has_attribute("is_invincible"):
                blueprint.set_attribute("is_invincible", "false")
            speeds.append(float(blueprint.get_attribute("speed").recommended_values[1]))
            walkers.append(command.SpawnActor(blueprint, point))
        people = [response.actor_id for response in client.apply_batch_sync(walkers, True) if not response.error]
        assert len(people) > 12
        world.tick()
        before = {actor.id: actor.get_location() for actor in world.get_actors([*vehicles, *people])}
        walk = carla.WalkerControl(carla.Vector3D(1.0, 0.0, 0.0), 1.4, False)
        client.apply_batch([command.ApplyWalkerControl(person, walk) for person in people])
        for _ in range(20):
            world.tick()
        moved = [actor.get_location().distance(before[actor.id]) for actor in world.get_actors(vehicles)]
        assert sum(distance > 1.0 for distance in moved) > 10
        walked = [actor.get_location().distance(before[actor.id]) for actor in world.get_actors(people)]
        assert sum(abs(distance - 1.4) < 0.3 for distance in walked) > 8
        client.apply_batch_sync([command.DestroyActor(actor_id) for actor_id in (*vehicles, *people)], True)
        assert [actor.type_id for actor in world.get_actors()] == ["spectator"]


def test_a_second_client_watches_and_follows(port, world):
    watcher = carla.Client("127.0.0.1", port)
    watcher.set_timeout(20.0)
    library = world.get_blueprint_library()
    blueprint = library.find("vehicle.ford.mustang")
    blueprint.set_attribute("role_name", "hero")
    car = world.spawn_actor(blueprint, world.get_map().get_spawn_points()[1])
    seen_world = watcher.get_world()
    seen_world.wait_for_tick()
    hero = next(a for a in seen_world.get_actors().filter("vehicle.*") if a.attributes.get("role_name") == "hero")
    car.apply_control(carla.VehicleControl(throttle=1.0))
    track = []
    for _ in range(30):
        snapshot = seen_world.wait_for_tick()
        track.append(snapshot.find(hero.id).get_transform().location)
        seen_world.get_spectator().set_transform(carla.Transform(track[-1] + carla.Location(z=30.0)))
    assert track[0].distance(track[-1]) > 0.3
    assert hero.get_velocity().length() == pytest.approx(car.get_velocity().length(), rel=0.5, abs=0.5)
    camera_blueprint = library.find("sensor.camera.rgb")
    camera_blueprint.set_attribute("image_size_x", "16")
    camera_blueprint.set_attribute("image_size_y", "16")
    images = queue.Queue()
    camera = seen_world.spawn_actor(camera_blueprint, carla.Transform(carla.Location(x=-5.0, z=3.0)), attach_to=hero)
    camera.listen(images.put)
    assert images.get(timeout=5.0).width == 16
    camera.stop()
    assert camera.destroy()
    assert car.destroy()


def test_asynchronous_world_with_a_fixed_step_runs_in_real_time(world):
    settings = world.get_settings()
    settings.fixed_delta_seconds = 0.02
    world.apply_settings(settings)
    first, begin = world.wait_for_tick().timestamp, time.monotonic()
    while time.monotonic() < begin + 1.0:
        last = world.wait_for_tick().timestamp
    assert last.delta_seconds == pytest.approx(0.02)
    elapsed_s = last.elapsed_seconds - first.elapsed_seconds
    assert elapsed_s == pytest.approx(0.02 * (last.frame - first.frame))
    assert 0.3 < elapsed_s < 1.3  # not faster than the clock, whatever else the machine does


def test_asynchronous_world_goes_on_after_a_crowd_was_spawned(world):
    """Each spawn shows itself in a tick of its own, which must not be taken from the ticks of the next seconds."""
    cone = world.get_blueprint_library().find("static.prop.trafficcone01")
    for number in range(150):
        place = carla.Location(x=500.0 + 3.0 * (number % 10), y=3.0 * (number // 10), z=0.5)
        world.spawn_actor(cone, carla.Transform(place))
    assert world.wait_for_tick(2.5).frame > 150


def test_boxes_of_actors_project_into_the_image(world):
    library, road = world.get_blueprint_library(), world.get_map()
    start = road.get_spawn_points()[5]
    ego = world.spawn_actor(library.find("vehicle.tesla.model3"), start)
    ahead = road.get_waypoint(start.location).next(14.0)[0].transform
    ahead.location.z += 0.3
    other = world.spawn_actor(library.find("vehicle.volkswagen.t2"), ahead)
    with synchronous(world):
        for _ in range(15):
            world.tick()
        view = carla.Transform(
            ego.get_transform().transform(carla.Location(x=1.0, z=1.5)), ego.get_transform().rotation
        )
        inverse = np.array(view.get_inverse_matrix())
        focal = 400.0  # of an image 800 pixels wide with 90 degrees
        columns = []
        for vertex in other.bounding_box.get_world_vertices(other.get_transform()):
            x, y, z, _ = inverse @ np.array([vertex.x, vertex.y, vertex.z, 1.0])
            assert x > 0.0
            columns.append(400.0 + focal * y / x)
        assert 0.0 < min(columns) < max(columns) < 800.0
        assert max(columns) - min(columns) > 40.0
        forward = view.get_forward_vector()
        assert forward.dot(other.get_location() - view.location) > 5.0
