"""Vehicles, walkers and props of the bundled server, put into a world without a client."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clipdrive.carla_server import contacts
from clipdrive.carla_server.blueprints import LIBRARY
from clipdrive.carla_server.catalogue import PEDESTRIAN, VEHICLES
from clipdrive.carla_server.maps import MapLibrary
from clipdrive.carla_server.rpc import RpcError
from clipdrive.carla_server.settings import EpisodeSettings
from clipdrive.carla_server.world import KINDS, World

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

    def publish(self, stream_id, *parts, earlier=None):
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


def test_what_is_far_off_a_place_costs_its_spawn_next_to_nothing(world, monkeypatch):
    world.spawn(MODEL3, {}, place_on_road(world))
    asked = []
    monkeypatch.setattr("clipdrive.carla_server.actors.footprints_overlap", lambda *boxes: asked.append(boxes))
    world.spawn(MODEL3, {}, place_on_road(world, ahead_m=20.0))
    assert asked == []
    world.spawn(MODEL3, {}, place_on_road(world, ahead_m=4.0))
    assert len(asked) == 1


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


# ---- contacts ----


@pytest.fixture(scope="module")
def pad():
    """A square of asphalt, 600 m wide, without walls."""
    from carla_server_roads import ground, straight

    return ground(straight(600.0, lanes=((1, 300.0), (-1, 300.0))), wall_height_m=0.0)


class Scene:
    """Solid actors on the pad, moved without a world."""

    def __init__(self, ground):
        self.ground, self.solids = ground, []

    def add(self, name, x, y=0.0, yaw=0.0, speed=0.0):
        blueprint = LIBRARY[name]
        kind = KINDS[name.split(".")[0]]
        actor = kind(len(self.solids) + 1, blueprint, blueprint.values({}), (x, y, 0.0, 0.0, yaw, 0.0))
        heading = math.radians(yaw)
        actor.set_velocity((speed * math.cos(heading), speed * math.sin(heading), 0.0))
        self.solids.append(actor)
        return actor

    def run(self, ticks):
        """Tick; returns who hit whom, as (tick, id, id of the other)."""
        told = []
        for tick in range(ticks):
            for solid in self.solids:
                solid.step(self.ground, STEP_S)
            contacts.settle(self.solids)
            told += [(tick, solid.id, other.id) for solid in self.solids for other, _ in solid.hits]
        return told


def gap(a, b):
    """Distance between the boxes of two actors that stand in line along x."""
    return abs(a.pose[0] - b.pose[0]) - a.body.half_extents_m[0] - b.body.half_extents_m[0]


@pytest.mark.parametrize(
    ("name", "after_3_s", "after_20_s"),
    [
        ("vehicle.bh.crossbike", (2.0, 5.0), (6.0, 11.7)),  # 4.2 W/kg: sqrt(2 * 4.2 * 3) = 5.0 at most; its top speed
        ("vehicle.carlamotors.firetruck", (3.0, 8.0), (18.0, 29.0)),  # 20 W/kg: v = sqrt(2 * 20 * 20) = 28 at most
        ("vehicle.kawasaki.ninja", (14.0, 21.0), (45.0, 65.0)),
        (MODEL3, (14.0, 21.0), (45.0, 65.0)),
    ],
)
def test_a_bicycle_and_a_fire_engine_gather_speed_as_such_do(pad, name, after_3_s, after_20_s):
    scene = Scene(pad)
    rider = scene.add(name, 0.0)
    rider.apply_control((1.0, 0.0, 0.0, False, False, False, 0))
    for ticks, (least, most) in ((round(3.0 / STEP_S), after_3_s), (round(17.0 / STEP_S), after_20_s)):
        scene.run(ticks)
        assert least < math.hypot(*rider.velocity) < most


def test_a_moving_car_pushes_a_standing_one_and_momentum_stays(pad):
    scene = Scene(pad)
    fast, standing = scene.add(MODEL3, 100.0, speed=10.0), scene.add(MODEL3, 106.0)
    told = scene.run(4)
    assert told[:2] == [(told[0][0], 1, 2), (told[0][0], 2, 1)]
    after = [actor.velocity[0] for actor in (fast, standing)]
    assert sum(after) == pytest.approx(10.0, abs=0.3)  # equal masses; tyres and air take a little
    assert after[1] - after[0] == pytest.approx(contacts.REBOUND_MAX_MPS, rel=0.2)
    assert gap(fast, standing) > -1e-3


def test_a_hit_reports_the_impulse_both_ways_and_is_felt(pad):
    scene = Scene(pad)
    car, van = scene.add(MODEL3, 100.0, speed=4.0), scene.add("vehicle.mercedes.sprinter", 105.7)
    while not car.hits:
        scene.run(1)
    ((other, back),), ((_, forth),) = car.hits, van.hits
    assert other is van
    assert back[0] == pytest.approx(-forth[0])
    reduced_kg = 1845.0 * 2300.0 / (1845.0 + 2300.0)
    assert forth[0] == pytest.approx(reduced_kg * 4.0 * (1.0 + contacts.RESTITUTION), rel=0.02)
    assert car.model.acceleration[0] == pytest.approx(back[0] / 1845.0 / contacts.TOUCH_S)


@pytest.mark.parametrize("speed", [3.0, 15.0, 40.0])
@pytest.mark.parametrize("aside", [0.0, 0.5, 1.2])
def test_a_barrier_stays_and_stops_a_car_at_any_speed(pad, speed, aside):
    scene = Scene(pad)
    car = scene.add(MODEL3, 100.0, y=aside, speed=speed)
    barrier = scene.add("static.prop.streetbarrier", 105.0)
    place = barrier.pose
    told = scene.run(60)
    assert told
    assert barrier.pose == place
    assert car.pose[0] < 105.0 - 0.2 - 2.0 or abs(car.pose[1]) > 1.6  # in front of it, or past it on its side
    if aside == 0.0:
        assert -1e-3 < gap(car, barrier) < 1.5
        assert abs(car.pose[1]) < 0.05


def test_a_car_that_keeps_pushing_a_container_stays_outside_and_keeps_telling(pad):
    scene = Scene(pad)
    car, container = scene.add(MODEL3, 100.0), scene.add("static.prop.container", 110.0)
    car.apply_control((1.0, 0.0, 0.0, False, False, False, 0))
    told = scene.run(100)
    assert gap(car, container) == pytest.approx(0.0, abs=0.05)
    assert len([entry for entry in told if entry[1] == car.id]) > 20
    assert abs(car.pose[1]) < 0.05


def test_a_hit_off_the_middle_turns_both_the_way_it_must(pad):
    scene = Scene(pad)
    car, other = scene.add(MODEL3, 100.0, y=-1.5, speed=12.0), scene.add(MODEL3, 106.0)
    scene.run(6)
    assert car.model.motion()[2] > 0.05  # held back on its right side
    assert other.model.motion()[2] > 0.05  # pushed forward on its left side


def test_a_walker_who_is_run_over_is_thrown_ahead_and_hardly_slows_the_car(pad):
    scene = Scene(pad)
    car, person = scene.add(MODEL3, 100.0, speed=12.0), scene.add(PERSON, 105.0)
    told = scene.run(20)
    assert (car.id, person.id) in {entry[1:] for entry in told}
    assert person.pose[0] > 108.0
    assert 10.0 < car.velocity[0] < 12.0


def test_a_walker_is_stopped_by_a_parked_car_and_does_not_move_it(pad):
    scene = Scene(pad)
    car, person = scene.add(MODEL3, 100.0), scene.add(PERSON, 104.0)
    person.apply_control(((-1.0, 0.0, 0.0), 1.4, False))
    scene.run(80)
    assert gap(car, person) == pytest.approx(0.0, abs=0.1)
    assert car.pose[0] == pytest.approx(100.0, abs=0.3)


def test_what_does_not_collide_or_is_above_is_driven_through(pad):
    scene = Scene(pad)
    car = scene.add(MODEL3, 100.0, speed=10.0)
    ghost, bridge = scene.add(MODEL3, 110.0), scene.add("static.prop.container", 120.0)
    ghost.collides = False
    bridge.place((120.0, 0.0, 5.0, 0.0, 0.0, 0.0))
    assert scene.run(60) == []
    assert car.pose[0] > 120.0


def test_a_frozen_car_is_as_hard_as_a_wall(pad):
    scene = Scene(pad)
    scene.add(MODEL3, 100.0, speed=10.0)
    frozen = scene.add(MODEL3, 106.0)
    frozen.simulate_physics(False)
    assert scene.run(20)
    assert frozen.pose[0] == 106.0


def test_a_heap_of_cars_comes_apart_and_to_rest(pad):
    scene = Scene(pad)
    for index in range(12):
        scene.add(MODEL3, 200.0 + 3.0 * (index % 4), y=1.5 * (index // 4), yaw=37.0 * index)
    scene.run(100)
    pairs = [(a, b) for a in scene.solids for b in scene.solids if a.id < b.id]
    depths = [contacts.overlap(contacts.rectangle(a), contacts.rectangle(b)) for a, b in pairs]
    assert max((depth[0] for depth in depths if depth is not None), default=0.0) < 0.01
    assert max(math.hypot(*solid.velocity[:2]) for solid in scene.solids) < 0.5


def test_near_pairs_are_the_same_by_either_way_of_looking():
    rng = np.random.default_rng(2)
    for _ in range(20):
        count = int(rng.integers(2, 40))
        poses = [(x, y, 0.0, 0.0, 0.0, 0.0) for x, y in rng.uniform(-20.0, 20.0, (count, 2)).tolist()]
        radii = rng.uniform(0.2, 4.0, count).tolist()
        movers = sorted(rng.choice(count, max(1, count // 2), replace=False).tolist())
        few, many = contacts._near_few(poses, radii, movers), contacts._near_many(poses, radii, movers)
        expected = [
            (i, j) for i in range(count) for j in range(i + 1, count)
            if math.dist(poses[i][:2], poses[j][:2]) < radii[i] + radii[j] and {i, j} & set(movers)
        ]  # fmt: skip
        assert few == many == expected
