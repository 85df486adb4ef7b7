"""RPC over a plain socket, without the carla package, for tests."""

from __future__ import annotations

import socket
import struct

import msgpack


def connect(port):
    peer = socket.create_connection(("127.0.0.1", port), timeout=5.0)
    peer.settimeout(5.0)
    return peer


def call(peer, name, *arguments):
    """One RPC without the carla client; returns [error, result]."""
    peer.sendall(msgpack.packb([0, 1, name, [[False], *arguments]]))
    unpacker = msgpack.Unpacker(raw=False)
    while True:
        data = peer.recv(65536)
        if not data:
            raise ConnectionError("closed")
        unpacker.feed(data)
        for reply in unpacker:
            return reply[2:]


def is_closed(peer, seconds=5.0):
    peer.settimeout(seconds)
    try:
        while peer.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def assert_alive(port):
    with connect(port) as peer:
        assert call(peer, "version") == [None, [[1, "0.9.16"]]]


def stream_address(port):
    with connect(port) as peer:
        _, [[_, [_, [token]]]] = call(peer, "get_episode_info")
    return struct.unpack_from("<IH", token)


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) / 1024
