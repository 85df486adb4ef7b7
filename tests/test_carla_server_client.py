"""The bundled server as the unmodified carla client sees it, in one synchronous world."""

from __future__ import annotations

import math
import queue
import random

import carla
import numpy as np
import pytest

STEP_S = 0.05


@pytest.fixture(scope="module")
def client(carla_server_port):
    client = carla.Client("127.0.0.1", carla_server_port)
    client.set_timeout(20.0)
    return client


@pytest.fixture
def world(client):
    """A fresh synchronous world on a circuit; whatever a test leaves behind is removed."""
    world = client.load_world("circuit_3")
    settings = world.get_settings()
    settings.synchronous_mode = True
    settings.fixed_delta_seconds = STEP_S
    world.apply_settings(settings)
    yield world
    actors = [a for a in world.get_actors() if a.type_id.startswith(("vehicle.", "sensor."))]
    for actor in actors:
        if actor.type_id.startswith("sensor.") and actor.is_listening:
            actor.stop()
    client.apply_batch_sync([carla.command.DestroyActor(actor.id) for actor in actors])


def spawn_car(world, index=0, **attributes):
    blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
    for name, value in attributes.items():
        blueprint.set_attribute(name, value)
    car = world.spawn_actor(blueprint, world.get_map().get_spawn_points()[index])
    world.tick()
    return car


def spawn_camera(world, parent, width=84, height=84, **attributes):
    blueprint = world.get_blueprint_library().find("sensor.camera.rgb")
    for name, value in {"image_size_x": str(width), "image_size_y": str(height), **attributes}.items():
        blueprint.set_attribute(name, value)
    mount = carla.Transform(carla.Location(x=1.0, z=1.4), carla.Rotation(pitch=-10.0))
    camera = world.spawn_actor(blueprint, mount, attach_to=parent)
    images = queue.Queue()
    camera.listen(images.put)
    return camera, images


def pixels(image):
    return np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4).copy()


# ---- versions, maps, episodes ----


def test_version_and_maps(client):
    assert client.get_server_version() == client.get_client_version() == "0.9.16"
    names = client.get_available_maps()
    assert "/Game/Carla/Maps/circuit_1" in names
    assert len(set(names)) == len(names)


def test_load_world_gives_a_new_episode_with_its_map(client):
    first = client.load_world("circuit_4")
    assert first.get_map().name == "Carla/Maps/circuit_4"
    second = client.load_world("/Game/Carla/Maps/circuit_5")
    assert second.id != first.id
    assert second.get_map().name == "Carla/Maps/circuit_5"
    third = client.reload_world()
    assert third.id != second.id
    assert third.get_map().name == "Carla/Maps/circuit_5"


def test_unknown_map_is_named_in_the_error(client):
    before = client.get_world().id
    with pytest.raises(RuntimeError, match="Map 'Atlantis' not found"):
        client.load_world("Atlantis")
    assert client.get_world().id == before


def test_reload_keeps_settings_only_where_asked(client, world):
    assert client.reload_world(False).get_settings().fixed_delta_seconds == pytest.approx(STEP_S)
    assert client.reload_world(True).get_settings().fixed_delta_seconds is None


def test_reload_destroys_every_actor(client, world):
    car = spawn_car(world)
    new = client.reload_world(False)
    new.tick()
    assert car.id not in [actor.id for actor in new.get_actors()]
    assert [actor.type_id for actor in new.get_actors()] == ["spectator"]


def test_generated_world_is_driven_and_mapped(client, world):
    xodr = client.load_world("circuit_6", False).get_map().to_opendrive()
    parameters = carla.OpendriveGenerationParameters(wall_height=0.8, additional_width=3.0)
    generated = client.generate_opendrive_world(xodr, parameters, False)
    assert generated.get_map().name == "Carla/Maps/OpenDriveMap"
    assert generated.get_map().to_opendrive() == xodr
    assert spawn_car(generated).get_location().z == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize("xodr", ["", "<OpenDRIVE/>", "<OpenDRIVE><road></OpenDRIVE>", "no xml"])
def test_broken_opendrive_is_refused_and_the_world_stays(client, world, xodr):
    before = world.get_map().name
    with pytest.raises(RuntimeError, match="opendrive could not be correctly parsed"):
        client.generate_opendrive_world(xodr, carla.OpendriveGenerationParameters())
    world.tick()
    assert client.get_world().get_map().name == before


def test_spawn_points_lie_on_the_map_in_the_direction_of_travel(world):
    world_map = world.get_map()
    points = world_map.get_spawn_points()
    assert len(points) >= 20
    for point in points:
        waypoint = world_map.get_waypoint(point.location)
        assert waypoint.transform.location.distance(point.location) < 0.6
        turn = math.remainder(waypoint.transform.rotation.yaw - point.rotation.yaw, 360.0)
        assert abs(turn) < 1.0


# ---- settings and ticks ----


def test_settings_come_back(world):
    settings = world.get_settings()
    settings.no_rendering_mode = True
    settings.max_substeps = 7
    settings.max_substep_delta_time = 0.004
    world.apply_settings(settings)
    got = world.get_settings()
    assert (got.no_rendering_mode, got.max_substeps) == (True, 7)
    assert got.max_substep_delta_time == pytest.approx(0.004)
    assert got.fixed_delta_seconds == pytest.approx(STEP_S)


def test_ticks_count_frames_and_time(world):
    frame = world.tick()
    before = world.get_snapshot().timestamp
    for count in range(1, 6):
        assert world.tick() == frame + count
    after = world.get_snapshot().timestamp
    assert after.frame == before.frame + 5
    assert after.elapsed_seconds - before.elapsed_seconds == pytest.approx(5 * STEP_S)
    assert after.delta_seconds == pytest.approx(STEP_S)


def test_asynchronous_world_ticks_by_itself(client, world):
    settings = world.get_settings()
    settings.synchronous_mode = False
    settings.fixed_delta_seconds = None
    world.apply_settings(settings)
    frames = [world.wait_for_tick(10.0).frame for _ in range(5)]
    assert frames == sorted(set(frames))
    assert world.tick() > frames[-1]


def test_asynchronous_world_gives_images_and_moves(client, world):
    settings = world.get_settings()
    settings.synchronous_mode = False
    settings.fixed_delta_seconds = None
    car = spawn_car(world)
    world.apply_settings(settings)
    camera, images = spawn_camera(world, car)
    car.apply_control(carla.VehicleControl(throttle=0.8))
    frames = [images.get(timeout=10.0).frame for _ in range(30)]
    assert frames == sorted(set(frames))
    assert car.get_velocity().length() > 0.3
    camera.stop()


# ---- actors ----


def test_blueprints_have_what_scripts_ask_for(world):
    library = world.get_blueprint_library()
    assert len(library.filter("vehicle.*")) >= 5
    for blueprint in library.filter("vehicle.*"):
        two_wheeled = blueprint.get_attribute("base_type") in ("motorcycle", "bicycle")
        assert int(blueprint.get_attribute("number_of_wheels")) == (2 if two_wheeled else 4)
        assert bool(blueprint.get_attribute("sticky_control"))
        assert two_wheeled or blueprint.get_attribute("base_type") in ("car", "truck", "van", "bus")
        assert blueprint.get_attribute("role_name").recommended_values
        blueprint.set_attribute("color", random.choice(blueprint.get_attribute("color").recommended_values))
    camera = library.find("sensor.camera.rgb")
    assert float(camera.get_attribute("fov")) == 90.0
    assert camera.has_tag("camera")


def test_attributes_and_parents_come_back(carla_server_port, world):
    car = spawn_car(world, role_name="hero", color="1,2,3")
    camera, _ = spawn_camera(world, car)
    other = carla.Client("127.0.0.1", carla_server_port)
    other.set_timeout(10.0)
    world.tick()
    seen = other.get_world().get_actor(car.id)
    assert (seen.attributes["role_name"], seen.attributes["color"]) == ("hero", "1,2,3")
    assert seen.type_id == "vehicle.tesla.model3"
    assert list(seen.semantic_tags) == [14]
    assert other.get_world().get_actor(camera.id).parent.id == car.id
    camera.stop()


@pytest.mark.parametrize(
    ("type_id", "name", "value", "expected"),
    [
        ("vehicle.tesla.model3", "sticky_control", "1", "true or false"),
        ("vehicle.tesla.model3", "color", "100", "R,G,B of 0 to 255"),
        ("vehicle.tesla.model3", "color", "0,0,256", "R,G,B of 0 to 255"),
        ("vehicle.tesla.model3", "color", "1,2", "R,G,B of 0 to 255"),
        ("walker.pedestrian.0001", "speed", "inf", "a number"),
        ("sensor.camera.rgb", "lens_k", "-1e39", "a number"),
    ],
)
def test_a_value_that_would_spoil_the_actors_of_every_client_is_refused(world, type_id, name, value, expected):
    blueprint = world.get_blueprint_library().find(type_id)
    with pytest.raises(ValueError):
        blueprint.set_attribute(name, value)  # which takes it all the same
    with pytest.raises(RuntimeError, match=f"{name} is '{value}', expected {expected}"):
        world.spawn_actor(blueprint, world.get_map().get_spawn_points()[0])
    world.tick()
    assert [actor.type_id for actor in world.get_actors()] == ["spectator"]


def test_a_place_that_is_taken_is_refused(world):
    car = spawn_car(world)
    blueprint = world.get_blueprint_library().find("vehicle.audi.tt")
    with pytest.raises(RuntimeError, match="Spawn failed because of collision at spawn position"):
        world.spawn_actor(blueprint, car.get_transform())
    assert world.try_spawn_actor(blueprint, car.get_transform()) is None
    assert world.try_spawn_actor(blueprint, world.get_map().get_spawn_points()[1]) is not None


def test_destroyed_actors_leave_the_snapshot(world):
    car = spawn_car(world)
    assert world.get_snapshot().has_actor(car.id)
    assert car.destroy()
    world.tick()
    assert not world.get_snapshot().has_actor(car.id)
    assert not car.is_alive
    assert car.id not in [actor.id for actor in world.get_actors()]


def test_batch_spawns_runs_and_destroys(client, world):
    command = carla.command
    blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
    points = world.get_map().get_spawn_points()[:3]
    push = command.ApplyTargetVelocity(command.FutureActor, carla.Vector3D(1.0, 2.0, 0.0))
    batch = [command.SpawnActor(blueprint, point).then(push) for point in points]
    responses = client.apply_batch_sync([*batch, command.SpawnActor(blueprint, points[0])], True)
    assert [bool(response.error) for response in responses] == [False, False, False, True]
    assert "collision" in responses[3].error
    ids = [response.actor_id for response in responses[:3]]
    assert len(set(ids)) == 3
    assert all(world.get_actor(car_id).get_velocity().length() > 1.0 for car_id in ids)
    gone = client.apply_batch_sync([command.DestroyActor(car_id) for car_id in (*ids, 999_999)], True)
    assert [bool(response.error) for response in gone] == [False, False, False, True]


def test_bounding_box_holds_the_car(world):
    car = spawn_car(world)
    box = car.bounding_box
    assert box.extent.x == pytest.approx(2.40, abs=0.05)
    assert box.extent.y == pytest.approx(1.08, abs=0.05)
    assert box.location.z == pytest.approx(box.extent.z)


def test_physics_control_makes_the_round_trip(world):
    car = spawn_car(world)
    control = car.get_physics_control()
    assert 1700.0 < control.mass < 2000.0
    assert len(control.wheels) == 4
    control.mass = 1600.5
    control.steering_curve = [carla.Vector2D(0.0, 1.0), carla.Vector2D(50.0, 0.5)]
    wheels = control.wheels
    wheels[0].tire_friction = 2.25
    control.wheels = wheels
    car.apply_physics_control(control)
    got = car.get_physics_control()
    assert got.mass == 1600.5
    assert got.wheels[0].tire_friction == 2.25
    assert [(p.x, p.y) for p in got.steering_curve] == [(0.0, 1.0), (50.0, 0.5)]
    assert got == control


def test_lights_weather_and_spectator_are_kept(world):
    car = spawn_car(world)
    lights = carla.VehicleLightState(carla.VehicleLightState.Position | carla.VehicleLightState.Brake)
    car.set_light_state(lights)
    assert car.get_light_state() == lights
    weather = world.get_weather()
    assert weather.sun_altitude_angle == pytest.approx(45.0)
    weather.sun_altitude_angle = -12.5
    weather.fog_density = 33.0
    world.set_weather(weather)
    assert world.get_weather() == weather
    spectator = world.get_spectator()
    spectator.set_transform(carla.Transform(carla.Location(1.0, 2.0, 3.0), carla.Rotation(4.0, 5.0, 6.0)))
    world.tick()
    got = spectator.get_transform()
    assert (got.location.x, got.location.y, got.location.z) == (1.0, 2.0, 3.0)
    assert (got.rotation.pitch, got.rotation.yaw, got.rotation.roll) == (4.0, 5.0, 6.0)


def test_random_poses_and_controls_come_back(world):
    rng = random.Random(5)
    car = spawn_car(world)
    car.set_simulate_physics(False)
    spectator = world.get_spectator()
    for _ in range(50):
        numbers = [rng.uniform(-1e5, 1e5) for _ in range(3)] + [rng.uniform(-180, 180) for _ in range(3)]
        place = carla.Transform(carla.Location(*numbers[:3]), carla.Rotation(*numbers[3:]))
        spectator.set_transform(place)
        control = carla.VehicleControl(
            rng.random(), rng.uniform(-1, 1), rng.random(), rng.random() < 0.5, rng.random() < 0.5,
            rng.random() < 0.5, rng.randrange(-1, 7),
        )  # fmt: skip
        car.apply_control(control)
        world.tick()
        assert spectator.get_transform() == place
        assert car.get_control() == control


# ---- driving ----


def test_throttle_brake_and_snapshot_fields(world):
    car = spawn_car(world)
    for _ in range(40):
        car.apply_control(carla.VehicleControl(throttle=0.6))
        world.tick()
    velocity, forward = car.get_velocity(), car.get_transform().get_forward_vector()
    assert velocity.length() > 3.0
    assert velocity.dot(forward) == pytest.approx(velocity.length(), rel=0.02)
    assert car.get_acceleration().dot(forward) > 0.5
    for _ in range(100):
        car.apply_control(carla.VehicleControl(brake=1.0))
        world.tick()
    assert car.get_velocity().length() < 0.05


def test_steering_right_turns_right(world):
    car = spawn_car(world)
    yaw = car.get_transform().rotation.yaw
    for _ in range(30):
        car.apply_control(carla.VehicleControl(throttle=0.4, steer=0.3))
        world.tick()
    assert math.remainder(car.get_transform().rotation.yaw - yaw, 360.0) > 3.0
    assert car.get_angular_velocity().z > 1.0


@pytest.mark.parametrize(
    ("control", "gear", "way"),
    [
        ({"throttle": 0.6}, 1, 1),
        ({"throttle": 0.6, "reverse": True}, -1, -1),
        ({"throttle": 0.6, "manual_gear_shift": True, "gear": 2}, 2, 1),
        ({"throttle": 0.6, "manual_gear_shift": True, "gear": 0}, 0, 0),
        ({"throttle": 0.6, "manual_gear_shift": True, "gear": -1}, -1, -1),
    ],
)
def test_the_gear_says_which_way_and_is_shown(world, control, gear, way):
    car = spawn_car(world)
    car.apply_control(carla.VehicleControl(**control))
    for _ in range(20):
        world.tick()
    speed = car.get_velocity().dot(car.get_transform().get_forward_vector())
    assert speed * way > 1.0 if way else abs(speed) < 0.2
    shown = car.get_control()
    assert (shown.gear, shown.reverse) == (gear, gear < 0)
    assert car.get_telemetry_data().gear == gear


def test_a_torque_of_a_batch_turns_for_one_tick(client, world):
    car = spawn_car(world)
    turns = []
    for command in (carla.command.ApplyTorque, carla.command.ApplyAngularImpulse):
        car.set_simulate_physics(False)
        car.set_simulate_physics(True)  # forgets every motion
        car.set_location(carla.Location(0.0, 0.0, 50.0))  # where no tyre holds it back
        client.apply_batch_sync([command(car, carla.Vector3D(0.0, 0.0, 1e5))])
        world.tick()
        turns.append(car.get_angular_velocity().z)
    assert turns[0] == pytest.approx(STEP_S * turns[1], rel=1e-3)
    assert turns[0] > 0.1


def test_control_without_sticky_control_counts_for_one_tick(world):
    car = spawn_car(world, sticky_control="false")
    control = carla.VehicleControl(throttle=0.7)
    car.apply_control(control)
    world.tick()
    assert car.get_control().throttle == pytest.approx(0.7)
    world.tick()
    assert car.get_control().throttle == 0.0


def test_teleport_keeps_the_velocity(world):
    car = spawn_car(world)
    target = world.get_map().get_spawn_points()[8]
    for _ in range(20):
        car.apply_control(carla.VehicleControl(throttle=0.7))
        world.tick()
    before = car.get_velocity()
    assert before.length() > 1.0
    car.set_transform(target)
    car.apply_control(carla.VehicleControl())
    world.tick()
    assert car.get_location().distance(target.location) < 2.0
    assert car.get_velocity().length() == pytest.approx(before.length(), rel=0.6)


def begin_episode(client, world, car, place, velocity):
    command = carla.command
    client.apply_batch_sync(
        [
            command.SetSimulatePhysics(car, False),
            command.ApplyTransform(car, place),
            command.SetSimulatePhysics(car, True),
            command.ApplyTargetVelocity(car, velocity),
            command.ApplyTargetAngularVelocity(car, carla.Vector3D()),
            command.ApplyVehicleControl(car, carla.VehicleControl()),
        ]
    )
    return world.tick()


def pose_of(actor):
    place, velocity, turn = actor.get_transform(), actor.get_velocity(), actor.get_angular_velocity()
    where = (place.location.x, place.location.y, place.location.z)
    how = (place.rotation.pitch, place.rotation.yaw, place.rotation.roll)
    return (*where, *how, velocity.x, velocity.y, velocity.z, turn.z)


def test_an_episode_does_not_depend_on_what_was_before(client, world):
    car = spawn_car(world)
    camera, images = spawn_camera(world, car)
    place = world.get_map().get_spawn_points()[4]
    forward = place.get_forward_vector()
    velocity = carla.Vector3D(6.0 * forward.x, 6.0 * forward.y, 0.0)
    runs = []
    for wild in (0.0, 1.0, -1.0):
        for _ in range(15):  # something else before
            car.apply_control(carla.VehicleControl(throttle=abs(wild), steer=wild))
            world.tick()
        begin_episode(client, world, car, place, velocity)
        run = [pose_of(car)]
        for step in range(20):
            car.apply_control(carla.VehicleControl(throttle=0.5, steer=0.1 * math.sin(step)))
            frame = world.tick()
            run.append(pose_of(car))
        image = next(i for i in iter(lambda: images.get(timeout=2.0), None) if i.frame == frame)
        run.append(bytes(image.raw_data))
        runs.append(run)
    assert runs[0] == runs[1] == runs[2]
    camera.stop()


# ---- sensors ----


def test_every_tick_gives_the_image_of_its_frame(world):
    car = spawn_car(world)
    camera, images = spawn_camera(world, car, 84, 60, fov="100")
    for _ in range(50):
        frame = world.tick()
        image = images.get(timeout=2.0)
        assert (image.frame, image.width, image.height) == (frame, 84, 60)
        assert image.fov == 100.0
        assert image.timestamp == pytest.approx(world.get_snapshot().timestamp.elapsed_seconds)
        assert image.transform == camera.get_transform()
    assert len(pixels(image)) == 60
    assert pixels(image).std() > 5.0  # there is something to see
    assert images.empty()
    camera.stop()


def test_first_image_is_never_lost(world):
    car = spawn_car(world)
    for _ in range(20):
        camera, images = spawn_camera(world, car, 16, 16)
        frame = world.tick()
        assert images.get(timeout=2.0).frame == frame
        camera.stop()
        camera.destroy()


def test_cameras_are_drawn_in_a_world_without_rendering_as_by_carla_0_9_16(world):
    settings = world.get_settings()
    settings.no_rendering_mode = True
    world.apply_settings(settings)
    car = spawn_car(world)
    _, images = spawn_camera(world, car)
    frame = world.tick()
    image = images.get(timeout=5.0)
    assert image.frame == frame
    assert pixels(image).std() > 5.0


def test_camera_moves_with_its_mount(world):
    car = spawn_car(world)
    camera, _ = spawn_camera(world, car)
    world.tick()
    place = car.get_transform()
    expected = place.transform(carla.Location(x=1.0, z=1.4))
    assert camera.get_location().distance(expected) < 1e-3
    assert camera.get_transform().rotation.pitch == pytest.approx(place.rotation.pitch - 10.0, abs=1e-3)
    assert math.remainder(camera.get_transform().rotation.yaw - place.rotation.yaw, 360.0) == pytest.approx(
        0.0, abs=1e-3
    )
    camera.stop()


def test_sensor_tick_is_kept(world):
    car = spawn_car(world)
    camera, images = spawn_camera(world, car, 16, 16, sensor_tick="0.2")
    frames = [world.tick() for _ in range(40)]
    got = [images.get(timeout=2.0).frame for _ in range(10)]
    assert {b - a for a, b in zip(got, got[1:], strict=False)} == {4}
    assert set(got) <= set(frames)
    camera.stop()
    assert images.qsize() <= 1


def test_wall_is_hit_and_reported_in_its_tick(world):
    car = spawn_car(world)
    sensor = world.spawn_actor(
        world.get_blueprint_library().find("sensor.other.collision"), carla.Transform(), attach_to=car
    )
    events = queue.Queue()
    sensor.listen(events.put)
    place = car.get_transform()
    place.rotation.yaw += 90.0
    car.set_transform(place)
    hits, peaks = [], []
    for _ in range(60):
        car.apply_control(carla.VehicleControl(throttle=1.0))
        frame = world.tick()
        if car.get_acceleration().length() > 15.0:
            peaks.append(frame)
        while not events.empty():
            hits.append(events.get())
    assert hits
    assert hits[0].actor.id == car.id
    assert hits[0].other_actor.type_id == "static.wall"
    assert hits[0].normal_impulse.length() > 1000.0
    assert sorted({event.frame for event in hits}) == peaks
    sensor.stop()


def test_lane_invasion_is_seen(world):
    car = spawn_car(world)
    sensor = world.spawn_actor(
        world.get_blueprint_library().find("sensor.other.lane_invasion"), carla.Transform(), attach_to=car
    )
    events = queue.Queue()
    sensor.listen(events.put)
    place = car.get_transform()
    place.rotation.yaw -= 15.0
    car.set_transform(place)
    for _ in range(60):
        car.apply_control(carla.VehicleControl(throttle=0.5))
        world.tick()
    event = events.get(timeout=2.0)
    assert event.crossed_lane_markings[0].type == carla.LaneMarkingType.Broken
    sensor.stop()


def test_imu_and_gnss_measure(world):
    car = spawn_car(world)
    library = world.get_blueprint_library()
    imu_events, gnss_events = queue.Queue(), queue.Queue()
    imu = world.spawn_actor(library.find("sensor.other.imu"), carla.Transform(), attach_to=car)
    gnss = world.spawn_actor(library.find("sensor.other.gnss"), carla.Transform(), attach_to=car)
    imu.listen(imu_events.put)
    gnss.listen(gnss_events.put)
    for _ in range(20):
        world.tick()
        measured, place = imu_events.get(timeout=2.0), gnss_events.get(timeout=2.0)
    assert measured.accelerometer.z == pytest.approx(9.81, abs=0.2)
    yaw = math.radians(car.get_transform().rotation.yaw)
    assert math.remainder(measured.compass - yaw - math.pi / 2.0, math.tau) == pytest.approx(0.0, abs=1e-4)
    expected = world.get_map().transform_to_geolocation(car.get_location())
    assert place.latitude == pytest.approx(expected.latitude, abs=1e-8)
    assert place.longitude == pytest.approx(expected.longitude, abs=1e-8)
    imu.stop()
    gnss.stop()


# ---- errors ----


def test_autopilot_says_that_there_is_none(world):
    with pytest.raises(RuntimeError, match="TrafficManager are not supported"):
        spawn_car(world).set_autopilot(True)
    world.tick()


def test_unknown_call_names_itself(client, world):
    with pytest.raises(RuntimeError, match="start_recorder is not supported by clipdrive's CARLA server"):
        client.start_recorder("log.rec")
    world.tick()


def test_impossible_cameras_are_refused(world):
    blueprint = world.get_blueprint_library().find("sensor.camera.rgb")
    for name, value in (("image_size_x", "1000000"), ("fov", "400"), ("image_size_y", "0")):
        broken = world.get_blueprint_library().find(blueprint.id)
        broken.set_attribute(name, value)
        with pytest.raises(RuntimeError, match="allowed are"):
            world.spawn_actor(broken, carla.Transform())
