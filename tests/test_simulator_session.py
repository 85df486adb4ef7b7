"""A session with the bundled server, in its own process."""

import atexit
import dataclasses
import math
import os
import signal
import subprocess
import sys
import textwrap

import carla
import numpy as np
import pytest

from clipdrive.simulator.claims import Claim, holder_of
from clipdrive.simulator.deadlines import BUNDLED
from clipdrive.simulator.errors import SimulatorError
from clipdrive.simulator.opening import open_session
from clipdrive.simulator.process import ServerProcess
from clipdrive.simulator.session import ROLE_NAME, Session
from clipdrive.tracks.track import open_track
from fake_world import default_params

PARAMS = default_params()


@pytest.fixture(scope="module")
def track():
    return open_track("circuit:1")


@pytest.fixture(scope="module")
def server():
    with ServerProcess() as process:
        yield process


@pytest.fixture(scope="module")
def session(server, track):
    with open_session(PARAMS, server=server) as session:
        session.load(track)
        yield session


def new_session(at, **options) -> Session:
    arguments = {"verge_m": PARAMS.tracks.verge_m, "wall_height_m": PARAMS.tracks.wall_height_m, "server": at} | options
    return Session(at.address, arguments.pop("camera", PARAMS.camera), PARAMS.vehicle, **arguments)


def test_reset_puts_the_vehicle_where_it_should_be(session, track):
    pose = track.route_forward.pose(120.0, offset_m=1.5, heading_error_rad=0.2)
    reading = session.reset(pose, speed_mps=8.0)
    moved_m = math.hypot(reading.x_m - pose.x_m, reading.y_m - pose.y_m)
    assert moved_m == pytest.approx(8.0 * 0.05, abs=0.05)  # one tick
    assert math.remainder(reading.yaw_rad - pose.yaw_rad, math.tau) == pytest.approx(0.0, abs=0.01)
    assert reading.speed_mps == pytest.approx(8.0, abs=0.3) and not reading.collision
    assert reading.image.shape == (84, 84) and reading.image.dtype == np.uint8 and reading.image.std() > 5.0


def test_an_episode_repeats_to_the_bit_whatever_was_before(session, track):
    def episode(spoil):
        if spoil:
            session.reset(track.route_forward.pose(400.0, 2.0, 1.0), 15.0)
            for _ in range(20):
                session.step(1.0, 0.7, 0.0, 2)
        readings = [session.reset(track.route_forward.pose(50.0, -1.0), 6.0)]
        readings += [session.step(0.6, 0.1 * math.sin(k), 0.0, 2) for k in range(20)]
        return readings

    for one, other in zip(episode(False), episode(True), strict=True):
        assert (one.image == other.image).all()
        same = [dataclasses.replace(reading, frame=0, image=0) for reading in (one, other)]
        assert same[0] == same[1]


def test_frames_follow_each_other(session, track):
    first = session.reset(track.route_forward.pose(0.0)).frame
    assert [session.step(0.5, 0.0, 0.0, repeat).frame for repeat in (1, 2, 5)] == [first + 1, first + 3, first + 8]


def test_the_image_is_of_the_last_tick(session, track):
    pose = track.route_forward.pose(30.0)
    session.reset(pose, 10.0)
    at_once = session.step(0.5, 0.0, 0.0, 6)
    session.reset(pose, 10.0)
    by_ticks = [session.step(0.5, 0.0, 0.0) for _ in range(6)]
    assert (at_once.image == by_ticks[-1].image).all() and at_once.x_m == by_ticks[-1].x_m
    assert (at_once.image != by_ticks[-2].image).any()


def test_steering_right_turns_right_and_braking_slows(session, track):
    before = session.reset(track.route_forward.pose(0.0), 8.0)
    right = session.step(0.3, 0.3, 0.0, 10)
    assert math.remainder(right.yaw_rad - before.yaw_rad, math.tau) > 0.1
    assert right.right_mps2 > 0.5
    braked = session.step(0.0, 0.0, 1.0, 10)
    assert braked.speed_mps < right.speed_mps - 1.0 and braked.forward_mps2 < -1.0


def test_a_wall_is_hit_in_the_same_frame_each_time(session, track):
    route = track.route_forward

    def frames_of_collisions():
        first = session.reset(route.pose(0.0, heading_error_rad=1.2), 10.0)
        readings = [session.step(1.0, 0.0, 0.0) for _ in range(60)]
        return [reading.frame - first.frame for reading in readings if reading.collision]

    hits = [frames_of_collisions() for _ in range(3)]
    assert hits[0] and hits[0] == hits[1] == hits[2]
    # the front corner, 2.4 m ahead of and 1.08 m beside the middle, meets the wall beyond the verge
    to_wall_m = 3.5 + PARAMS.tracks.verge_m - 2.4 * math.sin(1.2) - 1.08 * math.cos(1.2)
    assert hits[0][0] * 0.05 * 10.0 == pytest.approx(to_wall_m / math.sin(1.2), abs=1.0)
    assert not session.reset(route.pose(0.0), 5.0).collision
    assert not session.step(0.3, 0.0, 0.0, 4).collision


def test_loading_the_same_track_does_nothing_and_another_one_works(server, session, track):
    frame = session.reset(track.route_forward.pose(0.0)).frame
    session.load(track)
    assert session.step(0.0, 0.0, 0.0).frame == frame + 1
    other = open_track("circuit:2")
    session.load(other)
    pose = other.route_forward.pose(100.0)
    reading = session.reset(pose)
    assert (reading.x_m, reading.y_m) == pytest.approx((pose.x_m, pose.y_m), abs=0.05)
    session.load(track)


def test_only_one_vehicle_and_two_sensors_live(server, session, track):
    session.reset(track.route_forward.pose(0.0))
    actors = [a.type_id for a in session._world.get_actors() if a.attributes.get("role_name") == ROLE_NAME]
    assert sorted(actors) == ["sensor.camera.rgb", "sensor.other.collision", "vehicle.tesla.model3"]


def test_nothing_of_a_closed_session_stays_on_a_server(track):
    with ServerProcess() as server:
        before = None
        for _ in range(2):
            with new_session(server) as session:
                session.load(track)
                session.reset(track.route_forward.pose(0.0))
                ids = {actor.id for actor in session._world.get_actors() if "spectator" not in actor.type_id}
                assert len(ids) == 3 and ids != before
                before = ids


def test_what_a_killed_client_left_is_removed(track):
    code = textwrap.dedent("""
        import os, sys
        sys.path.insert(0, {tests!r})
        from fake_world import default_params
        from clipdrive.simulator.session import Session
        from clipdrive.tracks.track import open_track
        params = default_params()
        session = Session(("127.0.0.1", {port}), params.camera, params.vehicle, verge_m=2.5, wall_height_m=1.0)
        session.open()
        session.load(open_track("circuit:1"))
        os._exit(0)
    """)
    with ServerProcess() as server:
        code = code.format(tests=os.path.dirname(__file__), port=server.port)
        subprocess.run([sys.executable, "-c", code], check=True)
        with new_session(server) as session:
            session._world.tick()
            left = [a for a in session._world.get_actors() if a.attributes.get("role_name") == ROLE_NAME]
            assert left == []


def test_a_server_that_is_not_ours_gets_its_settings_back(track):
    with ServerProcess() as server:
        client = carla.Client(*server.address)
        settings = client.get_world().get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.02
        client.get_world().apply_settings(settings)
        with new_session(server, server=None) as session:
            inside = client.get_world().get_settings()
            assert inside.synchronous_mode and inside.fixed_delta_seconds == PARAMS.vehicle.step_s
            session.load(track)
            assert session.full_steer_rad == pytest.approx(math.radians(35.0))
        assert client.get_world().get_settings().fixed_delta_seconds == 0.02
        assert server.running


def test_the_settings_that_a_killed_run_found_are_given_back(track):
    with ServerProcess() as server:
        before = carla.Client(*server.address).get_world().get_settings()
        assert not before.synchronous_mode
        dead = Claim.of(server.address)
        session = new_session(server, server=None, claim=dead).open()
        assert Claim.of(server.address) is None and holder_of(server.address) == os.getpid()
        dead.release()  # as the kernel does for a killed process
        atexit.unregister(session.close)

        claim = Claim.of(server.address)
        with new_session(server, server=None, claim=claim):
            assert carla.Client(*server.address).get_world().get_settings().synchronous_mode
        claim.release()
        after = carla.Client(*server.address).get_world().get_settings()
        assert not after.synchronous_mode and after.fixed_delta_seconds == before.fixed_delta_seconds
        session.fault = "dead"
        session._healthy = False
        session.close()


def test_rgb_and_gray_show_the_same(server, session, track):
    pose = track.route_forward.pose(77.0)
    gray = session.reset(pose).image
    camera = dataclasses.replace(PARAMS.camera, color="rgb")
    with ServerProcess() as another, new_session(another, camera=camera) as rgb_session:
        rgb_session.load(track)
        rgb = rgb_session.reset(pose).image
    assert rgb.shape == (84, 84, 3)
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma - gray).max() <= 1.0


def test_trap_13_a_server_that_dies_is_an_error_with_its_cause(track):
    with ServerProcess() as server:
        deadlines = dataclasses.replace(BUNDLED, call_s=1.0)
        with new_session(server, deadlines=deadlines) as session:
            session.load(track)
            session.reset(track.route_forward.pose(0.0))
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(SimulatorError, match=r"driving: time-out of 1000ms.*ended with code -9"):
                session.step(0.5, 0.0, 0.0)
            with pytest.raises(SimulatorError, match="allowed: load"):
                session.step(0.5, 0.0, 0.0)


def test_nobody_answers():
    deadlines = dataclasses.replace(BUNDLED, connect_s=0.5)
    session = Session(("127.0.0.1", 9), PARAMS.camera, PARAMS.vehicle, verge_m=1, wall_height_m=1, deadlines=deadlines)
    with pytest.raises(SimulatorError, match="no CARLA server answers at 127.0.0.1:9"):
        session.open()


def test_another_version_is_refused(server, monkeypatch):
    monkeypatch.setattr("clipdrive.simulator.connection.metadata.version", lambda name: "0.9.15")
    with pytest.raises(SimulatorError, match="has version 0.9.16, the carla package is 0.9.15; allowed: equal"):
        new_session(server).open()


def test_an_unknown_vehicle_is_refused(track):
    vehicle = dataclasses.replace(PARAMS.vehicle, blueprint="vehicle.tesla.model9")
    with open_session(dataclasses.replace(PARAMS, vehicle=vehicle)) as session:
        with pytest.raises(SimulatorError, match="got 'vehicle.tesla.model9', which the server has not; allowed"):
            session.load(track)


def test_a_town_that_the_server_has_not(server):
    with open_session(PARAMS) as session, pytest.raises(SimulatorError, match="loading the map Town99"):
        session.opendrive_of_town("Town99")


def test_step_before_load_and_reset():
    session = Session(("127.0.0.1", 9), PARAMS.camera, PARAMS.vehicle, verge_m=2.5, wall_height_m=1.0)
    with pytest.raises(SimulatorError, match="allowed: load"):
        session.step(0.0, 0.0, 0.0)
    session.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_server_survives_an_interrupted_driver(number, tmp_path):
    code = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from fake_world import default_params
        from clipdrive.simulator.opening import open_session
        from clipdrive.tracks.track import open_track
        track = open_track("circuit:1")
        with open_session(default_params()) as session:
            session.load(track)
            session.reset(track.route_forward.pose(0.0))
            print(session._server.pid, flush=True)
            while True:
                session.step(0.1, 0.0, 0.0)
    """)
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pid = int(driver.stdout.readline())
    driver.send_signal(number)
    driver.communicate(timeout=20)
    assert driver.returncode == {signal.SIGTERM: 143, signal.SIGINT: -2, signal.SIGKILL: -9}[number]
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            break
        signal.sigtimedwait([], 0.05)
    assert not os.path.exists(f"/proc/{pid}")


def test_a_program_that_closes_nothing_ends_well():
    code = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from fake_world import default_params
        from clipdrive.driving.environment import DriveEnv
        env = DriveEnv(default_params())
        env.reset()
        env.step([0.0, 0.5])
        print(env._session._server.pid)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    assert not os.path.exists(f"/proc/{int(done.stdout)}")
