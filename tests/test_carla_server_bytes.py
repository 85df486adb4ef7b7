"""Every stream message and RPC value with random fields, as the unmodified carla package reads it.

The package runs in a process of its own: a malformed message would kill it, and so fail the test that sent it.
"""

from __future__ import annotations

import hashlib
import itertools
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipdrive.carla_server import wire
from clipdrive.carla_server.actors import Actor
from clipdrive.carla_server.blueprints import BOOL, COLOR, FLOAT, INT, STRING, Attribute, Blueprint
from clipdrive.carla_server.rpc import Method, Reply
from clipdrive.carla_server.server import Server, ServerOptions
from clipdrive.carla_server.settings import EpisodeSettings
from clipdrive.carla_server.warm_up import warm_up
from wheel_process import Wheel

many = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

f32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
f64 = st.floats(allow_nan=False, allow_infinity=False)
vectors = st.tuples(f32, f32, f32)
poses = st.tuples(f32, f32, f32, f32, f32, f32)
i32 = st.integers(-(2**31), 2**31 - 1)
u32 = st.integers(0, 2**32 - 1)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
words = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=20)
vehicle_controls = st.tuples(f32, f32, f32, st.booleans(), st.booleans(), st.booleans(), i32)
walker_controls = st.tuples(vectors, f32, st.booleans())

SPAWNED = (
    "vehicle.tesla.model3", "walker.pedestrian.0001", "sensor.camera.rgb", "sensor.other.collision",
    "sensor.other.imu", "sensor.other.gnss", "sensor.other.obstacle", "sensor.other.radar", "sensor.lidar.ray_cast",
    "sensor.lidar.ray_cast_semantic", "sensor.camera.depth", "sensor.camera.semantic_segmentation",
    "sensor.camera.instance_segmentation",
)  # fmt: skip


ALWAYS_MEASURE = [name for name in SPAWNED[2:] if name not in ("sensor.other.collision", "sensor.other.obstacle")]


class Scripted:
    """A server of ours whose ticks send what a test has put into `messages` and `records`."""

    def __init__(self) -> None:
        warm_up()  # the client waits a few seconds only
        self.server = server = Server(ServerOptions(port=0))
        server.world.settings = EpisodeSettings(synchronous_mode=True, fixed_delta_seconds=0.05)
        self.true_tick = server.world.tick
        server.world.tick = self._tick
        self.script = None
        self.thread = threading.Thread(target=server.loop.run, daemon=True)
        self.thread.start()
        self.wheel = Wheel(server.port)
        self.ids = []
        for type_id in SPAWNED:
            parent = self.ids[0] if type_id.startswith("sensor.") else None
            place = [0.0, 50.0 * len(self.ids), 20.0]
            self.ids += self.wheel.ask("spawn", type_id=type_id, parent=parent, place=place)
        self.wheel.ask("tick", events=len(ALWAYS_MEASURE))

    def _tick(self, step_s=None):
        if self.script is None:
            self.true_tick(step_s)
        else:
            self.script()

    def id_of(self, type_id):
        return self.ids[SPAWNED.index(type_id)]

    def tick(self, elapsed_s, records, messages=(), step_s=0.05, wall_s=0.0, flags=0, frames=1):
        """Have the wheel tick once; the tick sends `messages` (type id, parts), then a snapshot of `records`."""
        world = self.server.world

        def script():
            world.frame += frames
            for type_id, parts in messages:
                world.streams.publish(world.actors[self.id_of(type_id)].stream_id, *parts)
            world.news = wire.snapshot(world.frame, elapsed_s, world.episode_id, wall_s, step_s, flags, records)

        self.script = script
        seen = self.wheel.ask("tick", events=len(messages))
        assert seen["answer"] == seen["frame"] == world.frame
        return seen

    def event(self, type_id, parts, elapsed_s=1.0):
        seen = self.tick(elapsed_s, [], [(type_id, parts)])
        return seen["events"][str(self.id_of(type_id))]

    def answer(self, method, value):
        """Have the server answer a call with that value."""
        self.server.rpc.methods[method] = Method(lambda *_: value, Reply.VALUE)

    def close(self):
        code = self.wheel.close()
        self.server.loop.stop()
        self.thread.join(10.0)
        self.server.close()
        return code


@pytest.fixture(scope="module")
def scripted():
    result = Scripted()
    yield result
    assert result.close() == 0


# ---- streams ----


@many
@given(
    elapsed_s=f64, wall_s=f64, step_s=f32, frames=st.integers(1, 2**33), pose=poses, velocity=vectors, turn=vectors,
    push=vectors, control=vehicle_controls, limit=f32, walk=walker_controls, other=poses, walker_velocity=vectors,
    more=st.lists(st.tuples(st.integers(1000, 2**32 - 1), poses, vectors), max_size=5, unique_by=lambda item: item[0]),
)  # fmt: skip
def test_snapshots(
    scripted, elapsed_s, wall_s, step_s, frames, pose, velocity, turn, push, control, limit, walk, other,
    walker_velocity, more,
):  # fmt: skip
    car, walker = scripted.ids[:2]
    records = [
        wire.vehicle_record(car, pose, velocity, turn, push, control, limit),
        wire.walker_record(walker, other, walker_velocity, walk),
        *(wire.actor_record(*item) for item in more),
    ]
    seen = scripted.tick(elapsed_s, records, step_s=step_s, wall_s=wall_s, frames=frames)
    assert seen["times"] == [elapsed_s, step_s, wall_s]
    still = [0.0] * 3
    motions = {car: [*pose, *velocity, *turn, *push], walker: [*other, *walker_velocity, *still, *still]}
    motions.update({actor_id: [*place, *speed, *still, *still] for actor_id, place, speed in more})
    assert {int(key): value for key, value in seen["actors"].items()} == motions
    assert seen["controls"][str(car)] == [*control, limit, "Green"]
    direction, speed, jump = walk
    assert seen["controls"][str(walker)] == [*direction, speed, jump]


CAMERAS = {
    "rgb": wire.CAMERA_RGB,
    "depth": wire.CAMERA_DEPTH,
    "semantic_segmentation": wire.CAMERA_SEMANTIC,
    "instance_segmentation": wire.CAMERA_INSTANCE,
}


@pytest.mark.parametrize("camera", CAMERAS)
@many
@given(pose=poses, elapsed_s=f64, size=st.tuples(st.integers(1, 60), st.integers(1, 60)), fov=f32, seed=st.binary())
def test_images(scripted, camera, pose, elapsed_s, size, fov, seed):
    width, height = size
    pixels = bytearray((hashlib.sha256(seed).digest() * (width * height * 4 // 32 + 1))[: width * height * 4])
    frame = scripted.server.world.frame + 1
    head = wire.image_head(frame, elapsed_s, pose, width, height, fov, CAMERAS[camera])
    pixels[3::4] = b"\xff" * (width * height)  # the client sets alpha
    digest = hashlib.sha256(pixels).hexdigest()
    seen = scripted.event(f"sensor.camera.{camera}", (head, memoryview(bytes(pixels))))
    assert seen == ["Image", frame, elapsed_s, list(pose), width, height, fov, digest]


attribute_values = st.lists(st.tuples(words, texts), max_size=4, unique_by=lambda item: item[0])


def actor_with(actor_id, type_id, values, tags, token=b""):
    """An Actor as the server encodes it, and as the wheel shows it."""
    attributes = tuple(Attribute(name, STRING, value) for name, value in values)
    actor = Actor(actor_id, Blueprint(7, type_id, attributes), dict(values), (0.0,) * 6)
    actor.semantic_tags = bytes(tags)
    return actor.to_wire(token), [actor_id, type_id, sorted(map(list, values)), list(tags)]


other_actors = st.builds(
    actor_with, u32, st.sampled_from(["static.wall", "static.prop.barrel", "vehicle.x", "walker.y", "z"]),
    attribute_values, st.lists(st.integers(0, 28), max_size=3),
)  # fmt: skip


@many
@given(one=other_actors, two=other_actors, impulse=vectors, pose=poses, elapsed_s=f64)
def test_collisions(scripted, one, two, impulse, pose, elapsed_s):
    payload = wire.pack((one[0], two[0], impulse))
    message = wire.sensor_message(wire.COLLISION, 5, elapsed_s, pose, payload)
    seen = scripted.event("sensor.other.collision", (message,))
    assert seen == ["CollisionEvent", 5, elapsed_s, list(pose), one[1], two[1], list(impulse)]


@many
@given(acceleration=vectors, turn=vectors, compass=f32, pose=poses, elapsed_s=f64)
def test_imu(scripted, acceleration, turn, compass, pose, elapsed_s):
    message = wire.sensor_message(wire.IMU, 6, elapsed_s, pose, wire.pack((acceleration, turn, compass)))
    seen = scripted.event("sensor.other.imu", (message,))
    assert seen == ["IMUMeasurement", 6, elapsed_s, list(pose), *acceleration, *turn, compass]


@many
@given(place=st.tuples(f64, f64, f64), pose=poses, elapsed_s=f64)
def test_gnss(scripted, place, pose, elapsed_s):
    message = wire.sensor_message(wire.GNSS, 2**63, elapsed_s, pose, wire.pack(place))
    seen = scripted.event("sensor.other.gnss", (message,))
    assert seen == ["GnssMeasurement", 2**63, elapsed_s, list(pose), *place]


@many
@given(one=other_actors, two=other_actors, distance=f32, pose=poses, elapsed_s=f64)
def test_obstacles(scripted, one, two, distance, pose, elapsed_s):
    payload = wire.pack((one[0], two[0], distance))
    message = wire.sensor_message(wire.OBSTACLE, 8, elapsed_s, pose, payload)
    seen = scripted.event("sensor.other.obstacle", (message,))
    assert seen == ["ObstacleDetectionEvent", 8, elapsed_s, list(pose), one[1], two[1], distance]


@many
@given(angle=f32, counts=st.lists(st.integers(0, 5), min_size=1, max_size=6), data=st.data(), pose=poses)
def test_lidars(scripted, angle, counts, data, pose):
    size = sum(counts)
    points = data.draw(st.lists(st.tuples(*[f32] * 4), min_size=size, max_size=size))
    tagged = data.draw(st.lists(st.tuples(vectors, f32, u32, u32), min_size=size, max_size=size))
    plain = np.array(points, np.float32).reshape(size, 4)
    semantic = np.array(tagged, wire.SEMANTIC_POINT)
    for type_id, kind, name, values, shown in (
        ("sensor.lidar.ray_cast", wire.LIDAR, "LidarMeasurement", plain, points),
        (
            "sensor.lidar.ray_cast_semantic", wire.SEMANTIC_LIDAR, "SemanticLidarMeasurement", semantic,
            [(*xyz, *rest) for xyz, *rest in tagged],
        ),
    ):  # fmt: skip
        payload = wire.lidar_payload(angle, np.array(counts), values)
        seen = scripted.event(type_id, (wire.sensor_message(kind, 9, 2.0, pose, payload),))
        assert seen == [name, 9, 2.0, list(pose), angle, counts, as_lists(shown)]


@many
@given(detections=st.lists(st.tuples(*[f32] * 4), max_size=8), pose=poses)
def test_radar(scripted, detections, pose):
    payload = np.array(detections, np.float32).tobytes()
    seen = scripted.event("sensor.other.radar", (wire.sensor_message(wire.RADAR, 9, 2.0, pose, payload),))
    assert seen == ["RadarMeasurement", 9, 2.0, list(pose), as_lists(detections)]


@many
@given(pose=st.tuples(*[st.floats()] * 6), numbers=st.tuples(*[st.floats()] * 9))
def test_no_number_of_ours_is_a_malformed_message(scripted, pose, numbers):
    """Numbers that no float32 holds, infinities and NaN still make messages that the client survives."""
    car, walker = scripted.ids[:2]
    control = (*numbers[:3], False, False, False, 0)
    records = [
        wire.vehicle_record(car, pose, numbers[:3], numbers[3:6], numbers[6:], control, numbers[0]),
        wire.walker_record(walker, pose, numbers[:3], (numbers[3:6], numbers[6], True)),
    ]
    message = wire.sensor_message(wire.IMU, 6, 1.0, pose, wire.pack((numbers[:3], numbers[3:6], numbers[6])))
    seen = scripted.tick(1.0, records, [("sensor.other.imu", (message,))])
    assert len(seen["actors"]) == 2


# ---- calls ----


@many
@given(weather=st.tuples(*[f32] * 14))
def test_weather(scripted, weather):
    scripted.answer("get_weather_parameters", weather)
    assert scripted.wheel.ask("weather") == list(weather)


@many
@given(
    value=st.builds(
        EpisodeSettings, st.booleans(), st.booleans(), f64, st.booleans(), f64, i32, f32, st.booleans(), f32, f32,
        st.booleans(),
    )
)  # fmt: skip
def test_settings(scripted, value):
    scripted.answer("get_episode_settings", value.to_wire())
    fields = [getattr(value, name) for name in EpisodeSettings.__dataclass_fields__]
    assert scripted.wheel.ask("settings") == fields


@many
@given(states=st.dictionaries(u32, u32, max_size=6))
def test_light_states(scripted, states):
    scripted.answer("get_vehicle_light_states", list(states.items()))
    assert sorted(scripted.wheel.ask("lights")) == sorted(map(list, states.items()))


pairs = st.lists(st.tuples(f32, f32), max_size=4)
wheels = st.tuples(*[f32] * 9, vectors)


@many
@given(
    control=st.tuples(
        pairs, f32, f32, f32, f32, f32, st.booleans(), f32, f32, f32, st.lists(vectors, max_size=4), f32, f32, vectors,
        pairs, st.lists(wheels, min_size=2, max_size=6), st.booleans(),
    )
)  # fmt: skip
def test_physics_control(scripted, control):
    scripted.answer("get_physics_control", control)
    assert scripted.wheel.ask("physics", actor=scripted.ids[0]) == as_lists(control)


@many
@given(head=st.tuples(*[f32] * 5, i32, f32), tires=st.lists(st.tuples(*[f32] * 10), max_size=6))
def test_telemetry(scripted, head, tires):
    scripted.answer("get_telemetry_data", (*head, tires))
    # the package shows the normalised lateral force as the lateral one, and the other not at all
    expected = [[*tire[:6], tire[8], tire[7], 0.0, tire[9]] for tire in tires]
    assert scripted.wheel.ask("telemetry", actor=scripted.ids[0]) == [*head, expected]


@many
@given(names=st.lists(texts, max_size=5))
def test_available_maps(scripted, names):
    scripted.answer("get_available_maps", names)
    assert scripted.wheel.ask("maps") == names


@many
@given(actor=other_actors, box=st.tuples(vectors, vectors, vectors))
def test_actors_and_their_boxes(scripted, actor, box):
    (_, *encoded), shown = actor
    actor_id = next(unseen)  # the client keeps what it has been told of an id
    encoded[2] = (*box, actor_id)
    scripted.answer("get_actors_by_id", [(actor_id, *encoded)])
    scripted.answer("get_actor_bounding_box", encoded[2])
    assert scripted.wheel.ask("seen_actor", actor=actor_id) == [actor_id, *shown[1:], as_lists(box)]


unseen = itertools.count(10**6)

numbers = {BOOL: "Bool", INT: "Int", FLOAT: "Float", STRING: "String", COLOR: "RGBColor"}
colors = st.tuples(*[st.integers(0, 255)] * 3)
attributes = st.one_of(
    st.tuples(words, st.just(BOOL), st.booleans().map(lambda b: (str(b), b))),
    st.tuples(words, st.just(INT), i32.map(lambda i: (str(i), i))),
    st.tuples(words, st.just(FLOAT), f32.map(lambda x: (repr(x), x))),
    st.tuples(words, st.just(STRING), texts.map(lambda t: (t, t))),
    st.tuples(words, st.just(COLOR), colors.map(lambda c: (",".join(map(str, c)), list(c)))),
)
blueprints = st.tuples(
    st.lists(words, min_size=1, max_size=4).map(".".join),
    st.lists(st.tuples(attributes, st.booleans(), st.booleans()), max_size=5, unique_by=lambda item: item[0][0]),
)


@many
@given(library=st.lists(blueprints, max_size=4, unique_by=lambda item: item[0]))
def test_blueprints(scripted, library):
    made, expected = [], []
    for uid, (name, items) in enumerate(library, 1):
        fields = [
            Attribute(key, kind, text, (text,) if recommended else (), modifiable)
            for (key, kind, (text, _)), modifiable, recommended in items
        ]
        made.append(Blueprint(uid, name, tuple(fields)).to_wire())
        shown = [[key, numbers[kind], value, *flags] for (key, kind, (_, value)), *flags in items]
        expected.append([name, sorted(set(name.split("."))), sorted(shown)])
    scripted.answer("get_actor_definitions", made)
    assert sorted(scripted.wheel.ask("blueprints")) == sorted(expected)


@many
@given(found=st.booleans(), place=vectors, label=st.integers(0, 28))
def test_points_on_the_ground(scripted, found, place, label):
    scripted.answer("project_point", (found, (place, label)))
    assert scripted.wheel.ask("ground") == [[list(place), label] if found else None]


def as_lists(value):
    return [as_lists(item) for item in value] if isinstance(value, (tuple, list)) else value
