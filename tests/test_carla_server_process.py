"""Start, end and hardship of the bundled server's process: signals, parents, ports, garbage, greedy clients."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
import time

import msgpack
import pytest

from clipdrive.carla_server.streams import MAX_EARLIER_IDS, STALLED_S
from clipdrive.carla_server.wire import MAP_CHANGED
from plain_client import assert_alive, call, connect, is_closed, listen, resident_mb, snapshot, stream_address
from server_process import running_server, start

COMMAND = [sys.executable, "-m", "clipdrive.carla_server"]


# ---- start and end ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_well(number):
    process, port = start()
    with connect(port) as peer:
        call(peer, "version")
        process.send_signal(number)
        assert process.wait(5.0) == 0
    process.stdin.close()
    process.stdout.close()


def test_it_ends_with_its_stdin():
    process, _ = start()
    process.stdin.close()
    assert process.wait(5.0) == 0
    process.stdout.close()


@pytest.mark.parametrize("when", ["ready", "starting"])
def test_it_ends_when_its_parent_is_killed(when):
    script = """if True:
        import subprocess, sys, time
        command = [sys.executable, "-m", "clipdrive.carla_server", "--port", "0", "--stop-with-parent"]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if sys.argv[1] == "ready":
            server.stdout.readline()
        while "numpy" not in open(f"/proc/{server.pid}/maps").read():  # it has begun to load what it needs
            time.sleep(0.01)
        print(server.pid, flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", script, when], stdout=subprocess.PIPE, text=True)
    server = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(200):
        time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            if _state(server) != "Z":
                continue
        return
    os.kill(server, signal.SIGKILL)
    pytest.fail("the server outlived its parent")


def _state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None


def test_port_in_use_is_one_sentence():
    with running_server() as port:
        result = subprocess.run([*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=30)
    assert result.returncode == 1
    assert result.stderr.strip().count("\n") == 0
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr


def test_maps_of_a_folder_are_offered(tmp_path):
    from clipdrive.opendrive.circuit import circuit_xodr

    (tmp_path / "Village.xodr").write_text(circuit_xodr(77))
    (tmp_path / "Broken.xodr").write_text("<OpenDRIVE>")
    with running_server("--maps", str(tmp_path)) as port, connect(port) as peer:
        assert "/Game/Carla/Maps/Village" in call(peer, "get_available_maps")[1][0][1]
        assert call(peer, "load_new_episode", "Village", True, 65535) == [None, [[False]]]
        assert call(peer, "get_map_info")[1][0][1][0] == "Carla/Maps/Village"
        error = call(peer, "load_new_episode", "Broken", True, 65535)[1]
        assert "opendrive could not be correctly parsed" in error[0][1][0]
        assert call(peer, "get_map_info")[1][0][1][0] == "Carla/Maps/Village"


def test_unknown_first_map_is_one_sentence():
    result = subprocess.run([*COMMAND, "--port", "0", "--map", "Atlantis"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.strip() == "clipdrive-carla-server: Map 'Atlantis' not found"


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--port", "x"], ["--maps", "/no/such/folder"], ["--what"]])
def test_wrong_arguments_are_refused(arguments):
    result = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30)
    assert result.returncode == 2
    assert "error:" in result.stderr


def test_verbose_says_what_happens_and_a_quiet_server_says_nothing():
    def told(*options):
        command = [*COMMAND, "--port", "0", "--stop-with-parent", *options]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = process.stdout.readline()
        with connect(int(line.rsplit(":", 1)[1])) as peer:
            stream_id, stream_port = stream_address(int(line.rsplit(":", 1)[1]))
            with listen(stream_id, stream_port) as listener:
                assert listener.recv(4)
            call(peer, "load_new_episode", "circuit_2", True, 65535)
            call(peer, "spawn_actor", [1, "vehicle.tesla.model3", []], [[0.0, 0.0, 5.0], [0.0, 0.0, 0.0]])
            call(peer, "destroy_actor", 77)
            call(peer, "open_portal")
            address = "{}:{}".format(*peer.getsockname())
        output, errors = process.communicate(timeout=20)  # closes its stdin
        assert output == ""
        return errors, address

    errors, address = told("-v")
    for words in (
        f"client {address} is here", f"client {address} left", "listens", f"{address} calls load_new_episode",
        "on Carla/Maps/circuit_2", "is a vehicle.tesla.model3", "calls 'open_portal', which is not supported",
    ):  # fmt: skip
        assert words in errors
    assert "destroy_actor[77]" in told("-vv")[0]
    assert told()[0] == ""


def test_help_names_every_option_ports_and_exit_codes():
    text = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    for words in ("--host", "--port", "--map ", "--maps", "--stop-with-parent", "--verbose", "-vv", "Exit code 1"):
        assert words in text


# ---- hardship; more of it in test_carla_server_hostile.py ----


@pytest.mark.parametrize("seed", range(3))
def test_random_arguments_get_an_answer(carla_server_port, seed):
    rng = random.Random(seed)
    names = (
        "spawn_actor", "spawn_actor_with_parent", "destroy_actor", "apply_control_to_vehicle", "apply_batch",
        "set_actor_transform", "set_episode_settings", "get_sensor_token", "get_actors_by_id",
        "load_new_episode", "copy_opendrive_to_file", "apply_physics_control", "set_weather_parameters",
        "get_required_files", "project_point", "no_such_method", "get_actor_bounding_box", "tick_cue",
    )  # fmt: skip

    def value(depth=0):
        kinds = [None, True, -1, 0, 1, 2**40, 1.5, float("nan"), float("inf"), "", "vehicle.tesla.model3", b"x"]
        if depth < 3 and rng.random() < 0.5:
            return [value(depth + 1) for _ in range(rng.randrange(4))]
        return rng.choice(kinds)

    with connect(carla_server_port) as peer:
        for _ in range(300):
            error, result = call(peer, rng.choice(names), *(value() for _ in range(rng.randrange(5))))
            assert error is None or isinstance(error, str)
            assert error is not None or isinstance(result, list)
    assert_alive(carla_server_port)


def test_an_unknown_stream_stays_open_and_silent(carla_server_port):
    stream_id, stream_port = stream_address(carla_server_port)
    with listen(stream_id ^ 0x5555, stream_port) as peer:
        peer.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.recv(1)


def test_every_episode_has_its_own_stream_of_snapshots_and_an_earlier_one_leads_to_it(carla_server_port):
    with contextlib.ExitStack() as open_until_the_end:
        peer = open_until_the_end.enter_context(connect(carla_server_port))
        settings = call(peer, "get_episode_settings")[1][0][1]
        call(peer, "set_episode_settings", [True, *settings[1:]])
        ids, listeners = [], []
        for _ in range(MAX_EARLIER_IDS + 2):
            call(peer, "load_new_episode", "circuit_1", False, 0)
            stream_id, stream_port = stream_address(carla_server_port)
            ids.append(stream_id)
            listeners.append(open_until_the_end.enter_context(listen(stream_id, stream_port)))
            assert snapshot(listeners[-1])[2] == 0
        assert len(set(ids)) == len(ids)
        late = open_until_the_end.enter_context(listen(ids[1], stream_port))
        assert snapshot(late)[2] == 0
        unknown = open_until_the_end.enter_context(listen(ids[0], stream_port))
        listeners[1].close()
        frame = call(peer, "tick_cue")[1][0][1]
        episode = call(peer, "get_episode_info")[1][0][1][0]
        for listener in (listeners[0], *listeners[2:-1], late):
            assert snapshot(listener) == (frame, episode, MAP_CHANGED)  # their clients know of an earlier map
        assert snapshot(listeners[-1]) == (frame, episode, 0)
        call(peer, "tick_cue")
        for listener in (listeners[0], *listeners[2:], late):
            assert snapshot(listener) == (frame + 1, episode, 0)
        unknown.settimeout(0.2)
        with pytest.raises(TimeoutError):
            unknown.recv(1)
        call(peer, "set_episode_settings", settings)


def test_a_subscriber_that_talks_is_closed(carla_server_port):
    stream_id, stream_port = stream_address(carla_server_port)
    with listen(stream_id, stream_port) as peer:
        assert peer.recv(4)
        peer.sendall(b"more")
        assert is_closed(peer)


def test_a_listener_that_never_reads_loses_images_then_its_connection_and_memory_stays_bounded():
    process, port = start("--constant-image")
    try:
        with connect(port) as peer:
            transform = [[0.0, 0.0, 5.0], [0.0, 0.0, 0.0]]
            attributes = [["image_size_x", 2, "1024"], ["image_size_y", 2, "1024"]]
            settings = call(peer, "get_episode_settings")[1][0][1]
            settings[0], settings[2] = True, [True, 0.05]
            call(peer, "set_episode_settings", settings)
            _, [[_, actor]] = call(peer, "spawn_actor", [1, "sensor.camera.rgb", attributes], transform)
            stream_id, stream_port = struct.unpack_from("<IH", actor[5])
            with listen(stream_id, stream_port) as lazy:
                for _ in range(40):  # 160 MB
                    call(peer, "tick_cue")
                assert resident_mb(process.pid) < 350
                time.sleep(STALLED_S + 0.1)
                call(peer, "tick_cue")
                assert is_closed(lazy)
            assert_alive(port)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_cameras_have_a_bound_on_pixels_together():
    def spawn(peer):
        size = [["image_size_x", 2, "4096"], ["image_size_y", 2, "4096"]]
        return call(peer, "spawn_actor", [1, "sensor.camera.rgb", size], [[0.0, 0.0, 5.0], [0.0, 0.0, 0.0]])[1][0]

    with running_server() as port, connect(port) as peer:
        first, second, third = (spawn(peer) for _ in range(3))
        assert (first[0], second[0]) == (1, 1)
        assert third == [0, ["Spawn failed: all cameras have 50331648 pixels together, allowed are 33554432"]]
        assert call(peer, "destroy_actor", first[1][0]) == [None, [[1, True]]]
        assert spawn(peer)[0] == 1


def test_calls_whose_answers_are_not_read_wait_and_cost_little():
    process, port = start()
    try:
        with connect(port) as peer:
            length = len(msgpack.packb(call(peer, "get_actor_definitions"))) + 3  # the reply has two more fields
            before_mb = resident_mb(process.pid)
            peer.sendall(msgpack.packb([0, 1, "get_actor_definitions", [[False]]]) * 1000)
            assert_alive(port)
            time.sleep(0.5)
            assert resident_mb(process.pid) < before_mb + 20  # all answers have about 60 MB
            left = 1000 * (length - 1)
            while left > 0:
                left -= len(peer.recv(2**20))
            assert left == 0
            assert call(peer, "version") == [None, [[1, "0.9.16"]]]
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
