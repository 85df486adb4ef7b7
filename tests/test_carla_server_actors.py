"""Vehicles, walkers and props of the bundled server, put into a world without a client."""

from __future__ import annotations

import math

import pytest

from clipdrive.carla_server.blueprints import LIBRARY
from clipdrive.carla_server.catalogue import PEDESTRIAN, VEHICLES
from clipdrive.carla_server.maps import MapLibrary
from clipdrive.carla_server.rpc import RpcError
from clipdrive.carla_server.settings import EpisodeSettings
from clipdrive.carla_server.world import World

STEP_S = 0.05
MODEL3 = "vehicle.tesla.model3"
CONE = "static.prop.trafficcone01"
PERSON = "walker.pedestrian.0001"


class SilentStreams:
    """Streams that nobody listens to."""

    def open(self):
        return 1

    def shut(self, stream_id):
        pass

    def has_listener(self, stream_id):
        return False

    def publish(self, stream_id, *parts):
        pass


@pytest.fixture(scope="module")
def maps():
    return MapLibrary()


@pytest.fixture
def world(maps):
    world = World(maps, SilentStreams(), "circuit_3")
    world.settings = EpisodeSettings(True, False, STEP_S)
    return world


def place_on_road(world, index=0, ahead_m=0.0, right_m=0.0, yaw_deg=0.0):
    """A pose beside the spawn point of that number."""
    x, y, z, pitch, yaw, roll = world.map.spawn_points[index]
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    return (x + ahead_m * c - right_m * s, y + ahead_m * s + right_m * c, z, pitch, yaw + yaw_deg, roll)


def test_every_blueprint_with_a_body_is_spawned_and_drawn(world):
    names = [name for name, blueprint in LIBRARY.items() if blueprint.body is not None]
    assert len(names) > 90
    for index, name in enumerate(names):
        far = (1e4 + 50.0 * index, 0.0, 0.0, 0.0, 30.0, 0.0)
        actor = world.spawn(name, {}, far)
        box = world.drawn_boxes()[-1]
        assert (box.actor_id, box.pose) == (actor.id, far)
        assert box.half_extents_m == LIBRARY[name].body.half_extents_m
        assert all(0 <= part <= 255 for part in box.color)
        assert actor.bounding_box()[0][2] == (0.0 if name.startswith("walker") else box.half_extents_m[2])
    world.tick()


def test_vehicles_differ_in_size_and_mass():
    bodies = [model.body for model in VEHICLES.values()]
    assert len({body.half_extents_m for body in bodies}) > 25
    assert min(body.mass_kg for body in bodies) < 100.0
    assert max(body.mass_kg for body in bodies) > 10_000.0


def test_the_colour_chosen_is_the_colour_drawn(world):
    world.spawn(MODEL3, {"color": "12,34,56"}, place_on_road(world))
    world.spawn(PERSON, {}, place_on_road(world, 4))
    car, person = world.drawn_boxes()
    assert (car.color, car.tag) == ((12, 34, 56), 14)
    assert (person.tag, person.centre_m) == (PEDESTRIAN, (0.0, 0.0, 0.0))


def test_what_a_camera_is_mounted_on_is_not_drawn(world):
    car = world.spawn(MODEL3, {}, place_on_road(world))
    other = world.spawn(MODEL3, {}, place_on_road(world, 3))
    camera = world.spawn("sensor.camera.rgb", {}, (1.0, 0.0, 1.4, 0.0, 0.0, 0.0), car.id)
    assert [box.actor_id for box in world.drawn_boxes(camera)] == [other.id]
    assert [box.actor_id for box in world.drawn_boxes()] == [car.id, other.id]


@pytest.mark.parametrize(
    ("first", "second", "ahead_m", "free"),
    [
        (MODEL3, MODEL3, 4.7, False),  # bumpers 0.1 m inside each other
        (MODEL3, MODEL3, 4.9, True),
        (CONE, MODEL3, 2.5, False),
        (CONE, MODEL3, 2.7, True),
        (PERSON, MODEL3, 2.5, False),
        (MODEL3, CONE, 0.0, False),
        (CONE, CONE, 0.0, True),
    ],
)
def test_a_place_that_is_taken_is_refused(world, first, second, ahead_m, free):
    world.spawn(first, {}, place_on_road(world))
    if free:
        world.spawn(second, {}, place_on_road(world, ahead_m=ahead_m))
    else:
        with pytest.raises(RpcError, match="Spawn failed because of collision at spawn position"):
            world.spawn(second, {}, place_on_road(world, ahead_m=ahead_m))
    x, y, z, *rotation = place_on_road(world, ahead_m=ahead_m)
    world.spawn(second, {}, (x, y, z + 5.0, *rotation))  # there is room above


def test_ai_walkers_are_refused_by_name(world):
    person = world.spawn(PERSON, {}, place_on_road(world))
    with pytest.raises(RpcError, match="controller.ai.walker is not supported"):
        world.spawn("controller.ai.walker", {}, (0.0,) * 6, person.id)


# ---- walkers ----


def test_a_walker_falls_to_the_ground_and_stands(world):
    person = world.spawn(PERSON, {}, place_on_road(world))
    x, y, z, *_ = person.pose
    for _ in range(30):
        world.tick()
    ground_m = world.ground.height(x, y)
    assert person.pose[:3] == (x, y, pytest.approx(ground_m + person.body.half_extents_m[2]))
    assert person.velocity == (0.0, 0.0, 0.0)


def test_a_walker_walks_as_fast_as_told_and_turns_there(world):
    person = world.spawn(PERSON, {}, place_on_road(world))
    for _ in range(20):
        world.tick()
    x, y, *_ = person.pose
    yaw = person.pose[4]
    heading = math.radians(yaw + 90.0)
    person.apply_control(((2.0 * math.cos(heading), 2.0 * math.sin(heading), 0.0), 1.5, False))
    for _ in range(20):
        world.tick()
    assert math.hypot(person.pose[0] - x, person.pose[1] - y) == pytest.approx(1.5 * 20 * STEP_S)
    assert math.hypot(*person.velocity[:2]) == pytest.approx(1.5)
    assert math.remainder(person.pose[4] - yaw, 360.0) == pytest.approx(90.0)


def test_a_walker_jumps_once(world):
    person = world.spawn(PERSON, {}, place_on_road(world))
    for _ in range(20):
        world.tick()
    stood = person.pose[2]
    person.apply_control(((0.0, 0.0, 0.0), 0.0, True))
    heights = []
    for _ in range(40):
        world.tick()
        heights.append(person.pose[2] - stood)
    assert 0.7 < max(heights) < 1.0  # v^2 / 2g = 0.90 m
    assert heights[-1] == pytest.approx(0.0)
    assert sum(height > 0.05 for height in heights) < 20


def test_a_walker_stops_at_a_wall(world):
    person = world.spawn(PERSON, {}, place_on_road(world))
    heading = math.radians(person.pose[4] + 90.0)
    person.apply_control(((math.cos(heading), math.sin(heading), 0.0), 3.0, False))
    for _ in range(200):
        world.tick()
    assert 0.0 < world.ground.wall_clearance(*person.pose[:2]) < 0.5
