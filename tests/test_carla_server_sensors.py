"""What the bundled server's sensors measure, as the unmodified client receives it."""

from __future__ import annotations

import math
import queue

import carla
import pytest

from carla_server_roads import straight

STEP_S = 0.05
GEO = "+proj=tmerc +lat_0=48.1 +lon_0=-11.5 +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m"


@pytest.fixture(scope="module")
def pad(client):
    """A synchronous world on a wide straight road with a geo reference of its own."""
    road = straight(300.0, lanes=((1, 30.0), (-1, 30.0)))
    header = f'<header revMajor="1" revMinor="4" name="pad"><geoReference><![CDATA[{GEO}]]></geoReference></header>'
    world = client.generate_opendrive_world(f"<OpenDRIVE>{header}{road}</OpenDRIVE>")
    world.apply_settings(carla.WorldSettings(True, False, STEP_S))
    return world


@pytest.fixture
def world(client, pad):
    """The pad; what a test leaves behind is removed."""
    yield pad
    left = [actor.id for actor in pad.get_actors() if actor.type_id != "spectator"]
    client.apply_batch_sync([carla.command.DestroyActor(actor_id) for actor_id in left])
    pad.tick()


def spawn_car(world, type_id="vehicle.tesla.model3", x=50.0, y=0.0, yaw=0.0):
    place = carla.Transform(carla.Location(x, y, 0.0), carla.Rotation(yaw=yaw))
    return world.spawn_actor(world.get_blueprint_library().find(type_id), place)


def attach(world, car, type_id, mount=None, **attributes):
    blueprint = world.get_blueprint_library().find(type_id)
    for name, value in attributes.items():
        blueprint.set_attribute(name, value)
    sensor = world.spawn_actor(blueprint, mount or carla.Transform(), attach_to=car)
    heard = queue.Queue()
    sensor.listen(heard.put)
    return sensor, heard


def in_front(x=2.6, z=0.8, **rotation):
    return carla.Transform(carla.Location(x=x, z=z), carla.Rotation(**rotation))


def test_gnss_follows_the_geo_reference_of_the_map(world):
    car = spawn_car(world)
    sensor, heard = attach(world, car, "sensor.other.gnss", in_front())
    for x, y in ((10.0, 0.0), (250.0, 20.0), (120.0, -25.0)):
        car.set_location(carla.Location(x, y, 0.0))
        world.tick()
        data = heard.get(timeout=5.0)
        expected = world.get_map().transform_to_geolocation(sensor.get_location())
        assert data.latitude == pytest.approx(expected.latitude, abs=1e-9)
        assert data.longitude == pytest.approx(expected.longitude, abs=1e-9)
        assert data.altitude == pytest.approx(expected.altitude, abs=1e-4)
        assert data.latitude == pytest.approx(48.1, abs=0.01)
    sensor.stop()


def test_imu_feels_a_steady_turn(world):
    car = spawn_car(world, y=-15.0)
    sensor, heard = attach(world, car, "sensor.other.imu")
    car.set_target_velocity(carla.Vector3D(8.0, 0.0, 0.0))
    for _ in range(50):
        car.apply_control(carla.VehicleControl(throttle=0.12, steer=0.12))
        world.tick()
        data = heard.get(timeout=5.0)
    speed, rate = car.get_velocity().length(), math.radians(car.get_angular_velocity().z)
    assert rate > 0.1
    assert data.gyroscope.z == pytest.approx(rate, rel=1e-3)
    assert data.accelerometer.y == pytest.approx(speed * rate, rel=0.1)
    assert data.accelerometer.z == pytest.approx(9.81, abs=0.05)
    world.set_imui_sensor_gravity(1.62)
    world.tick()
    assert heard.get(timeout=5.0).accelerometer.z == pytest.approx(1.62, abs=0.05)
    world.set_imui_sensor_gravity(9.81)
    sensor.stop()


@pytest.mark.parametrize(
    "type_id",
    [
        "sensor.other.imu", "sensor.other.gnss", "sensor.other.radar", "sensor.other.obstacle",
        "sensor.lidar.ray_cast", "sensor.lidar.ray_cast_semantic",
    ],
)  # fmt: skip
def test_sensor_tick_sets_how_often(world, type_id):
    car = spawn_car(world)
    spawn_car(world, x=57.0)
    attributes = {"distance": "20"} if type_id.endswith("obstacle") else {}
    sensor, heard = attach(world, car, type_id, in_front(), sensor_tick="0.2", **attributes)
    frames = [world.tick() for _ in range(21)]
    sensor.stop()
    got = [heard.get(timeout=5.0).frame for _ in range(5)]
    assert {later - earlier for earlier, later in zip(got, got[1:], strict=False)} == {4}
    assert set(got) <= set(frames)


def test_lidar_turns_with_its_frequency_and_sees_what_stands_around(world):
    car = spawn_car(world)
    wall = spawn_car(world, "vehicle.mitsubishi.fusorosa", x=65.0)
    sensor, heard = attach(
        world, car, "sensor.lidar.ray_cast", in_front(x=0.0, z=2.0), channels="4", range="40", upper_fov="0",
        lower_fov="-30", points_per_second="40000", rotation_frequency="5", dropoff_general_rate="0",
        dropoff_intensity_limit="0",
    )  # fmt: skip
    angles, azimuths = [], []
    for _ in range(8):
        world.tick()
        data = heard.get(timeout=5.0)
        angles.append(data.horizontal_angle)
        azimuths.append([math.atan2(detection.point.y, detection.point.x) for detection in data])
        assert data.channels == 4
        for detection in data:
            distance = math.sqrt(detection.point.x**2 + detection.point.y**2 + detection.point.z**2)
            assert detection.intensity == pytest.approx(math.exp(-0.004 * distance), rel=1e-5)
            on_ground = abs(detection.point.z + 2.0) < 0.01
            on_bus = abs(detection.point.x - (65.0 - 5.14 - 50.0)) < 0.01 or detection.point.x > 9.86
            assert on_ground or on_bus
    steps = [math.remainder(b - a, math.tau) for a, b in zip(angles, angles[1:], strict=False)]
    assert steps == pytest.approx([math.radians(90.0)] * 7, abs=1e-4)  # 5 turns a second, 20 ticks a second
    quarter = [angle for row in azimuths[:1] for angle in row]
    assert max(quarter) - min(quarter) < math.radians(91.0)
    per_tick = [len(row) for row in azimuths]
    assert per_tick[:4] == per_tick[4:]  # the same quarters again
    assert max(per_tick) <= 40000 * STEP_S
    assert wall.is_alive
    sensor.stop()


def test_lidar_loses_the_share_that_it_is_told_to(world):
    car = spawn_car(world)
    counts = {}
    for rate in ("0.0", "0.45"):
        sensor, heard = attach(
            world, car, "sensor.lidar.ray_cast", in_front(x=0.0, z=2.0), upper_fov="-15", lower_fov="-30",
            dropoff_general_rate=rate, points_per_second="100000",
        )  # fmt: skip
        world.tick()
        counts[rate] = len(heard.get(timeout=5.0))
        sensor.stop()
        sensor.destroy()
    assert counts["0.0"] > 4000
    assert counts["0.45"] / counts["0.0"] == pytest.approx(0.55, abs=0.03)


def test_radar_tells_how_fast_the_car_ahead_comes_nearer(world):
    car, ahead = spawn_car(world), spawn_car(world, "vehicle.carlamotors.firetruck", x=80.0)
    car.set_target_velocity(carla.Vector3D(10.0, 0.0, 0.0))
    ahead.set_target_velocity(carla.Vector3D(4.0, 0.0, 0.0))
    sensor, heard = attach(
        world, car, "sensor.other.radar", in_front(z=1.2), horizontal_fov="10", vertical_fov="4", range="60"
    )
    world.tick()
    data = heard.get(timeout=5.0)
    gap = ahead.get_location().x - 4.23 - sensor.get_location().x
    hits = [detection for detection in data if abs(detection.depth - gap) < 0.5]
    assert len(hits) > 10
    for detection in hits:
        assert detection.velocity == pytest.approx(-6.0, abs=0.2)
        assert abs(detection.azimuth) < math.radians(5.01)
        assert abs(detection.altitude) < math.radians(2.01)
    sensor.stop()


@pytest.mark.parametrize(("only_dynamics", "found"), [("false", "static.prop.streetbarrier"), ("true", "walker")])
def test_obstacle_names_the_nearest_and_its_distance(world, only_dynamics, found):
    car = spawn_car(world)
    for type_id, x in (("static.prop.streetbarrier", 58.0), ("walker.pedestrian.0001", 61.0)):
        spawn_car(world, type_id, x=x)
    sensor, heard = attach(
        world, car, "sensor.other.obstacle", in_front(), distance="15", hit_radius="0.1", only_dynamics=only_dynamics
    )
    world.tick()
    event = heard.get(timeout=5.0)
    assert event.actor.id == car.id
    assert event.other_actor.type_id.startswith(found)
    expected = {"static.prop.streetbarrier": 58.0 - 0.2, "walker": 61.0 - 0.19}[found] - 0.1 - 52.6
    assert event.distance == pytest.approx(expected, abs=1e-3)
    sensor.stop()


def test_every_hit_of_a_tick_names_its_own_actor(world):
    car = spawn_car(world)
    cones = [spawn_car(world, "static.prop.box01", x=57.0, y=y).id for y in (-0.7, 0.7)]
    sensor, heard = attach(world, car, "sensor.other.collision")
    car.set_target_velocity(carla.Vector3D(8.0, 0.0, 0.0))
    for _ in range(30):
        world.tick()
    sensor.stop()
    events = [heard.get_nowait() for _ in range(heard.qsize())]
    assert {event.other_actor.id for event in events} == set(cones)
    assert all(event.actor.id == car.id and event.normal_impulse.x < 0.0 for event in events)
    assert car.get_location().x + 2.4 < 57.0 - 0.33 + 0.05


def test_a_walker_with_a_collision_sensor_tells_who_hit_it(world):
    person = spawn_car(world, "walker.pedestrian.0001", x=70.0)
    car = spawn_car(world)
    sensor, heard = attach(world, person, "sensor.other.collision")
    car.set_target_velocity(carla.Vector3D(12.0, 0.0, 0.0))
    for _ in range(40):
        world.tick()
    event = heard.get(timeout=5.0)
    assert (event.actor.id, event.other_actor.id) == (person.id, car.id)
    assert event.normal_impulse.x > 62.0 * 8.0
    assert person.get_location().x > 71.0
    sensor.stop()


@pytest.mark.parametrize(
    ("type_id", "name", "value"),
    [
        ("sensor.lidar.ray_cast", "channels", "0"), ("sensor.lidar.ray_cast", "range", "nan"),
        ("sensor.lidar.ray_cast_semantic", "horizontal_fov", "1000"), ("sensor.other.radar", "horizontal_fov", "-5"),
        ("sensor.other.obstacle", "distance", "-1"), ("sensor.lidar.ray_cast", "points_per_second", "1000000000"),
    ],
)  # fmt: skip
def test_impossible_sensors_are_refused_by_name(world, type_id, name, value):
    blueprint = world.get_blueprint_library().find(type_id)
    blueprint.set_attribute(name, value)
    with pytest.raises(RuntimeError, match=f"{name} is .*, allowed are"):
        world.spawn_actor(blueprint, carla.Transform())


def test_wheels_are_where_the_car_is(world):
    car = spawn_car(world, x=100.0, y=5.0, yaw=90.0)
    world.tick()
    wheels = car.get_physics_control().wheels
    middle = [sum(getattr(wheel.position, axis) for wheel in wheels) / 400.0 for axis in "xy"]
    assert middle == pytest.approx([100.0, 5.0], abs=0.2)
    assert wheels[0].position.distance(wheels[2].position) == pytest.approx(287.5, abs=0.5)  # wheelbase, cm
    control = car.get_physics_control()
    car.apply_physics_control(control)
    car.set_location(carla.Location(120.0, 5.0, 0.0))
    world.tick()
    assert car.get_physics_control().wheels[0].position.x == pytest.approx(wheels[0].position.x + 2000.0, abs=1.0)
