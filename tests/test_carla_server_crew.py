"""The crew that shares the end of a tick: everything is done, in time, and the same bytes leave as without it."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict

import pytest

from clipdrive.carla_server import sensors
from clipdrive.carla_server.crew import Crew
from clipdrive.carla_server.maps import MapLibrary
from clipdrive.carla_server.server import Server, ServerOptions
from clipdrive.carla_server.settings import EpisodeSettings
from clipdrive.carla_server.world import World

PATIENCE_S = 10.0
CAMERAS = ("rgb", "depth", "semantic_segmentation", "rgb", "instance_segmentation", "rgb")


class RecordedStreams:
    """Streams that everybody listens to; `sent` holds what went where, in order."""

    def __init__(self):
        self.sent: list[tuple[object, bytes]] = []
        self.opened = 0

    def open(self):
        self.opened += 1
        return self.opened

    def shut(self, stream_id):
        pass

    def has_listener(self, stream_id):
        return True

    def publish(self, stream_id, *parts, earlier=None):
        self.sent.append((stream_id, b"".join(bytes(part) for part in parts)))


@pytest.fixture(scope="module")
def maps():
    return MapLibrary()


def world_of_cameras(maps, helpers, cameras=CAMERAS):
    world = World(maps, RecordedStreams(), "circuit_3")
    world.settings = EpisodeSettings(True, False, 0.05)
    world.crew = Crew(helpers)
    cars = [world.spawn("vehicle.tesla.model3", {}, world.map.spawn_points[number]) for number in (0, 1)]
    cars[0].apply_control((0.8, 0.1, 0.0, False, False, False, 0))
    for number, kind in enumerate(cameras):
        attributes = {"image_size_x": "48", "image_size_y": "32"}
        mount = (1.0, 0.0, 1.4, -5.0, 20.0 * number, 0.0)
        world.spawn(f"sensor.camera.{kind}", attributes, mount, cars[number % 2].id)
    return world


@pytest.mark.parametrize("helpers", [0, 1, 3])
def test_every_job_is_done_once(helpers):
    crew, done = Crew(helpers), []
    for turn in range(300):
        crew.share(lambda: done.append("own"), [lambda n=n: done.append(n) for n in range(turn % 5)])
        assert sorted(map(str, done)) == sorted(["own", *map(str, range(turn % 5))])
        done.clear()


def test_a_helper_begins_while_this_thread_is_busy():
    begun, seen = threading.Event(), []
    Crew(1).share(lambda: seen.append(begun.wait(PATIENCE_S)), [begun.set])
    assert seen == [True]


def test_a_helper_that_never_gets_time_holds_nothing_up():
    crew, done = Crew(1), []
    crew._start = lambda: None
    crew.share(lambda: done.append("own"), [lambda: done.append(1), lambda: done.append(2)])
    assert done == ["own", 1, 2]


def test_a_job_under_way_is_waited_for():
    begun, finished = threading.Event(), []

    def slow():
        begun.set()
        threading.Event().wait(0.2)
        finished.append(True)

    Crew(1).share(lambda: begun.wait(PATIENCE_S), [slow])
    assert finished == [True]


@pytest.mark.parametrize("helpers", [0, 2])
def test_a_job_that_fails_is_logged_and_stops_no_other(helpers, caplog):
    done = []
    with caplog.at_level(logging.ERROR):
        Crew(helpers).share(lambda: 1 / 0, [lambda: done.append(1), lambda: {}["no"], lambda: done.append(2)])
    assert sorted(done) == [1, 2]
    assert len(caplog.records) == 2


@pytest.mark.parametrize("helpers", [1, 3])
def test_a_crew_sends_the_bytes_that_one_thread_sends(maps, helpers):
    streams = []
    for count in (0, helpers):
        world = world_of_cameras(maps, count)
        for _ in range(12):
            world.tick()
            world.send()
        by_stream = defaultdict(list)
        for stream_id, message in world.streams.sent:
            if stream_id != world.stream_id:  # a snapshot holds the time of day
                by_stream[stream_id].append(message)
        streams.append(by_stream)
    assert {len(messages) for messages in streams[0].values()} == {12}
    assert len(streams[0]) == len(CAMERAS)
    assert streams[0] == streams[1]


def test_snapshot_and_answer_leave_while_the_image_is_drawn(maps, monkeypatch):
    world, answered = world_of_cameras(maps, 1, ("rgb",)), threading.Event()
    drawn = sensors.Camera.render

    def render(*arguments):
        assert answered.wait(PATIENCE_S)
        return drawn(*arguments)

    monkeypatch.setattr(sensors.Camera, "render", render)
    world.tick()
    world.send(lambda: (world.streams.sent.append(("answer", b"")), answered.set()))
    (camera,) = world.sensors
    assert [where for where, _ in world.streams.sent] == [world.stream_id, "answer", camera.stream_id]


def test_with_one_helper_the_images_leave_when_all_are_drawn(maps, monkeypatch):
    world = world_of_cameras(maps, 1, ("rgb", "rgb", "rgb"))
    render = sensors.Camera.render

    def noted(*arguments):
        image = render(*arguments)
        world.streams.sent.append(("drawn", b""))
        return image

    monkeypatch.setattr(sensors.Camera, "render", noted)
    world.tick()
    world.send()
    images = {sensor.stream_id for sensor in world.sensors}
    happened = [where for where, _ in world.streams.sent if where != world.stream_id]
    assert happened[:3] == ["drawn"] * 3 and sorted(happened[3:]) == sorted(images)


def test_with_more_helpers_an_image_leaves_while_others_are_drawn(maps, monkeypatch):
    world, gone, seen = world_of_cameras(maps, 2, ("rgb", "rgb")), threading.Event(), []
    first, second = world.sensors
    render, publish = second.camera.render, world.streams.publish

    def waiting(*arguments):
        seen.append(gone.wait(PATIENCE_S))
        return render(*arguments)

    def noted(stream_id, *parts, earlier=None):
        publish(stream_id, *parts)
        if stream_id == first.stream_id:
            gone.set()

    monkeypatch.setattr(second.camera, "render", waiting)
    monkeypatch.setattr(world.streams, "publish", noted)
    world.tick()
    world.send()
    assert seen == [True]


def test_a_camera_that_cannot_draw_costs_its_image_alone(maps, monkeypatch, caplog):
    world, answers = world_of_cameras(maps, 1, ("rgb", "rgb")), []
    first, second = world.sensors
    monkeypatch.setattr(first.camera, "render", lambda *_: 1 / 0)
    world.tick()
    with caplog.at_level(logging.ERROR):
        world.send(lambda: answers.append(True))
    assert answers == [True] and len(caplog.records) == 1
    assert {where for where, _ in world.streams.sent} == {world.stream_id, second.stream_id}


def test_no_image_comes_before_its_answer_even_if_the_helper_is_late(maps):
    world = world_of_cameras(maps, 1, ("rgb", "rgb"))
    world.crew._start = lambda: None
    world.tick()
    world.send(lambda: world.streams.sent.append(("answer", b"")))
    first, second = (sensor.stream_id for sensor in world.sensors)
    assert [where for where, _ in world.streams.sent] == [world.stream_id, "answer", first, second]


def test_the_first_tick_of_an_episode_answers_before_its_snapshot_leaves_and_every_other_one_after_it(monkeypatch):
    class Client:
        def answer_now(self, _reply):
            happened.append("answer")

    happened, server = [], Server(ServerOptions(port=0))
    try:
        monkeypatch.setattr(server.streams, "publish", lambda *_, **__: happened.append(server.world.frame))
        server.world.settings = EpisodeSettings(synchronous_mode=True)
        client, frame = Client(), server.world.frame
        server._tick_cue(client, 1)
        assert happened == ["answer"]
        server.loop.late.popleft()()
        assert happened == ["answer", frame + 1]
        server._tick_cue(client, 2)
        assert happened[2:] == [frame + 2, "answer"]
        server.world.load("", False)
        server._tick_cue(client, 3)
        server._tick_cue(client, 4)  # does not overtake the one before
        assert happened[4:] == ["answer", frame + 3, frame + 4, "answer"]
        server.loop.late.popleft()()
        assert len(happened) == 8
    finally:
        server.close()
