"""Malformed and hostile clients: each costs the server its own connection, while a real client drives on."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

import msgpack
import pytest

from clipdrive.carla_server.listening import MAX_CONNECTIONS
from clipdrive.carla_server.server import Server, ServerOptions
from good_client import good_client
from plain_client import assert_alive, call, connect, is_closed, resident_mb, stream_address

TICK_CUE = msgpack.packb([0, 1, "tick_cue", [[False]]])


class Live:
    """A server of its own, its log, and a real client that drives in its world."""

    def __init__(self, process, port, log):
        self.process, self.port, self.log = process, port, log
        self.good = None

    @property
    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def memory_mb(self):
        return resident_mb(self.process.pid)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with open(log, "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "clipdrive.carla_server", "--port", "0", "--stop-with-parent"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    try:
        result = Live(process, int(process.stdout.readline().rsplit(":", 1)[1]), log)
        with good_client(result.port) as result.good:
            yield result
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture(autouse=True)
def undisturbed(live):
    """After each attack the good client goes on with every image, memory is bounded and no file stays open."""
    live.good.drives_on()
    files, memory_mb = live.files, live.memory_mb
    yield
    live.good.drives_on()
    assert live.process.poll() is None
    deadline = time.monotonic() + 5.0
    while live.files > files and time.monotonic() < deadline:
        time.sleep(0.05)
    assert live.files <= files
    assert live.memory_mb < memory_mb + 160.0  # of 128 MB that all may hold, the allocator keeps some
    assert "Traceback" not in live.log.read_text()


@contextlib.contextmanager
def crowd(port, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(port)) for _ in range(count)]


def send_quietly(peer, data):
    with contextlib.suppress(OSError):
        peer.sendall(data)


# ---- bytes ----

NOT_REQUESTS = {
    "not msgpack": b"\xc1\xc1\xc1",
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tls hello": bytes.fromhex("16030100c8010000c40303"),
    "a map": msgpack.packb({"a": 1}),
    "an array of two billion": b"\xdd\x7f\xff\xff\xff",
    "a short request": msgpack.packb([0, 1, "version"]),
    "a reply": msgpack.packb([1, 1, None, None]),
    "a notification": msgpack.packb([2, "version", []]),
    "a message id that is true": msgpack.packb([0, True, "version", [[False]]]),
    "a message id that is a fraction": msgpack.packb([0, 1.5, "version", [[False]]]),
    "a method that is no text": msgpack.packb([0, 1, b"version", [[False]]]),
    "arguments that are a map": msgpack.packb([0, 1, "version", {}]),
    "bad utf-8": b"\x94\x00\x01\xa2\xff\xfe\x90",
    "a map with a list for a key": b"\x94\x00\x01\xa1x\x91\x81\x90\x90",
    "nesting without end": b"\x94\x00\x01\xa1x" + b"\x91" * 5000,
    "an extension out of bounds": b"\x94\x00\x01\xa1x\x91\xc8\x00\x20\x05" + bytes(32),
    "too many items": b"\x94\x00\x01\xa1x\x91\xdd\x00\x01\x00\x01" + b"\xc0" * 65537,
    "too much structure": b"\x94\x00\x01\xa1x\x91\xdc\x00\x21" + (b"\xdc\xff\xff" + b"\xc0" * 65535) * 33,
}


@pytest.mark.parametrize("name", NOT_REQUESTS)
def test_what_is_no_request_ends_its_connection(live, name):
    with crowd(live.port, 3) as peers:
        for peer in peers:
            send_quietly(peer, NOT_REQUESTS[name])
        assert all(is_closed(peer) for peer in peers)


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_and_broken_requests(live, seed):
    rng = random.Random(seed)
    request = msgpack.packb([0, 7, "set_actor_transform", [[True], 99, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
    for _ in range(50):
        data = bytearray(request * 3) if rng.random() < 0.5 else bytearray(rng.randbytes(rng.randrange(1, 3000)))
        for _ in range(3):
            data[rng.randrange(len(data))] = rng.randrange(256)
        for port in (live.port, stream_address(live.port)[1]):
            with connect(port) as peer:
                send_quietly(peer, data)


LONG_LENGTHS = {
    "arrays in arrays": b"\x94\x00\x01\xa1x" + b"\xdc\xff\xff" * 1000,
    "arrays of billions": b"\x94\x00\x01\xa1x" + b"\xdd\xff\xff\xff\xff" * 900,
    "maps of billions": b"\x94\x00\x01\xa1x" + b"\xdf\xff\xff\xff\xff\xa1k" * 400,
    "a text of billions": b"\x94\x00\x01\xdb\xff\xff\xff\xff" + b"a" * 1000,
    "bytes of billions": b"\x94\x00\x01\xa1x\x91\xc6\xff\xff\xff\xff",
    "many small lists": b"\x94\x00\x01\xa1x\xdc\xff\xff" + b"\x90" * 60000,
}


@pytest.mark.parametrize("name", LONG_LENGTHS)
def test_announced_lengths_cost_no_memory(live, name):
    before_mb = live.memory_mb
    with crowd(live.port, 100) as peers:
        for peer in peers:
            send_quietly(peer, LONG_LENGTHS[name])
        live.good.drives_on()
        assert live.memory_mb < before_mb + 60.0


def test_requests_past_the_bounds_are_cut_off(live):
    with connect(live.port) as peer:
        send_quietly(peer, b"\x94\x00\x01\xa1x\x91\xdb\x7f\xff\xff\xff")
        for _ in range(100):
            send_quietly(peer, b"a" * 2**20)
        assert is_closed(peer)


def test_many_large_halves_together_are_bounded_and_the_largest_go(live):
    before_mb = live.memory_mb
    with crowd(live.port, 8) as peers:
        for peer in peers:
            send_quietly(peer, b"\x94\x00\x01\xa1x\x91\xdb\x03\x00\x00\x00" + b"a" * (30 * 2**20))
        assert live.memory_mb < before_mb + 250.0
        live.good.drives_on()
        open_ones = sum(not is_closed(peer, 0.3) for peer in peers)
        assert 1 <= open_ones <= 4
    assert "which holds most" in live.log.read_text()


def test_slow_senders(live):
    with crowd(live.port, 50) as peers, crowd(stream_address(live.port)[1], 50) as listeners:
        for byte in TICK_CUE[:-1]:
            for peer in peers:
                send_quietly(peer, bytes([byte]))
            for listener in listeners:
                send_quietly(listener, b"\x07"[: byte % 2])
        live.good.drives_on()


def test_requests_that_arrive_byte_by_byte_are_answered(live):
    with connect(live.port) as peer:
        for byte in msgpack.packb([0, 1, "version", [[False]]]):
            peer.sendall(bytes([byte]))
            time.sleep(0.001)
        assert msgpack.unpackb(peer.recv(1000)) == [1, 1, None, [[1, "0.9.16"]]]


# ---- calls ----


def deep(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


WRONG_VALUES = (
    None, "x", b"\xff", 2**63, -(2**63), float("nan"), float("inf"), [], [[]], {}, deep(400), "y" * 5000, [None] * 5000,
    msgpack.ExtType(5, b"z"),
)  # fmt: skip


@pytest.fixture(scope="module")
def methods():
    """The methods of a server that never runs, by name."""
    server = Server(ServerOptions(port=0))
    yield server.rpc.methods
    server.close()


def test_every_call_answers_wrong_counts_with_a_clear_error(live, methods):
    with connect(live.port) as peer:
        for name, method in methods.items():
            for count in {method.least - 1, (method.most or 0) + 1, 30}:
                if count < 0 or method.most is None or method.least <= count <= method.most:
                    continue
                error, result = call(peer, name, *[None] * count)
                if name == "apply_batch":  # its answer has no place for a text
                    assert f"got {count} arguments" in error
                else:
                    assert f"{name}: got {count} arguments, expected" in result[0][1][0]


def test_every_call_answers_wrong_types(live, methods):
    with connect(live.port) as peer:
        for name, method in methods.items():
            if not method.least:
                continue
            for value in WRONG_VALUES:
                error, result = call(peer, name, *[value] * method.least)
                assert "failed in the server" not in str(result), name
                assert isinstance(error, str) if error is not None else isinstance(result, list)


def test_unknown_calls_are_named(live):
    with connect(live.port) as peer:
        for name in ("open_portal", "__class__", "x" * 10_000, "", "a\nb"):
            error, [[kind, [text]]] = call(peer, name, 1, 2)
            assert (error, kind) == (None, 0)
            assert text == f"{name[:80]} is not supported by clipdrive's CARLA server"
        assert call(peer, "version") == [None, [[1, "0.9.16"]]]


def test_a_flood_of_costly_calls_leaves_the_others_their_turn(live):
    flood = msgpack.packb([0, 1, "get_actor_definitions", [[True]]]) * 5000
    with crowd(live.port, 3) as peers:
        for peer in peers:
            send_quietly(peer, flood)
        assert live.good.drives_on(20)["slowest_s"] < 2.0


def test_promises_to_listen_hold_up_nobody_else(live):
    stream_id, _ = stream_address(live.port)
    live.good.report()
    with connect(live.port) as peer:
        begun = time.monotonic()
        for _ in range(20):
            call(peer, "get_sensor_token", stream_id)
            time.sleep(0.05)
        seconds = time.monotonic() - begun
    assert live.good.drives_on()["ticks"] > 5 * seconds  # two a second where each waits half a second


ROAD = """<road name="" length="{0}" id="1" junction="-1">
<planView><geometry s="0" x="0" y="0" hdg="0" length="{0}"><line/></geometry></planView>
<lanes><laneSection s="0"><center><lane id="0" type="none"/></center><right><lane id="-1" type="driving">
<width sOffset="0" a="{1}" b="0" c="0" d="0"/></lane></right></laneSection></lanes></road>"""
ROADS = {
    "too long": ROAD.format(1e9, 3.5),
    "too wide": ROAD.format(100, 1e6),
    "of no number": ROAD.format("nan", 3.5),
    "never closed": "<a>" * 100_000,
}
ENTITIES = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize("name", [*ROADS, "entities in entities"])
def test_hostile_roads_are_refused_at_once(live, name):
    xodr = f'<OpenDRIVE><header revMajor="1" revMinor="4"/>{ROADS.get(name, "&e9;")}</OpenDRIVE>'
    if name not in ROADS:
        xodr = f'<!DOCTYPE x [<!ENTITY e0 "aaaaaaaaaa">{ENTITIES}]>{xodr}'
    with connect(live.port) as peer:
        error, [[kind, [text]]] = call(peer, "copy_opendrive_to_file", xodr, [2.0, 50.0, 1.0, 0.6, True, True, True])
    assert (error, kind) == (None, 0)
    assert "opendrive could not be correctly parsed" in text


# ---- connections ----


def test_thousands_of_connections(live):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + 700
    if hard != resource.RLIM_INFINITY and hard < 2 * wanted:
        pytest.skip("this system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    before_mb = live.memory_mb
    try:
        with crowd(live.port, wanted):
            assert live.files < MAX_CONNECTIONS + 100
            assert_alive(live.port)
            live.good.drives_on()
            assert live.memory_mb < before_mb + 40.0
        with crowd(stream_address(live.port)[1], wanted):
            live.good.drives_on()
            assert live.files < MAX_CONNECTIONS + 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert f"port {live.port} has {MAX_CONNECTIONS} connections, the most it takes" in live.log.read_text()


def test_connections_that_come_and_go(live):
    for port in (live.port, stream_address(live.port)[1]):
        for _ in range(500):
            peer = connect(port)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()  # a reset


def test_listeners_that_never_read(live):
    stream_id, stream_port = stream_address(live.port)
    with connect(live.port) as peer:
        with crowd(stream_port, 100) as listeners:
            for listener in listeners:
                listener.sendall(struct.pack("<I", stream_id))
            peer.sendall(msgpack.packb([0, 1, "get_actor_definitions", [[False]]]) * 500)  # some 60 KB each
            live.good.drives_on(50)


# ---- ends in the middle ----


def test_clients_that_end_in_the_middle_of_a_tick(live):
    stream_id, _ = stream_address(live.port)
    token = msgpack.packb([0, 2, "get_sensor_token", [[False], stream_id]])
    for data in (TICK_CUE, TICK_CUE[:-2], token + TICK_CUE, token + TICK_CUE * 3 + token[:5]):
        for _ in range(5):
            with connect(live.port) as peer:
                peer.sendall(data)
    live.good.drives_on(20)


def test_a_real_client_that_is_killed_in_the_middle_of_its_ticks(live):
    script = (
        "import carla, sys; client = carla.Client('127.0.0.1', int(sys.argv[1])); client.set_timeout(20.0);"
        " world = client.get_world(); print(flush=True)\nwhile True: world.tick()"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(live.port)], stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGSTOP)
        live.good.drives_on(20)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    live.good.drives_on(20)
