"""RPC over a plain socket, without the carla package, for tests."""

from __future__ import annotations

import socket
import struct

import msgpack

SNAPSHOT = struct.Struct("<8xQ32xQ24xI")  # head of its message, behind the length: frame, episode, flags


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


def listen(stream_id, stream_port):
    """A connection that has asked for a stream."""
    listener = connect(stream_port)
    listener.sendall(struct.pack("<I", stream_id))
    return listener


def snapshot(listener):
    """Frame, episode and flags of the next snapshot that a listener to the world gets."""
    (length,) = struct.unpack("<I", listener.recv(4, socket.MSG_WAITALL))
    return SNAPSHOT.unpack_from(listener.recv(length, socket.MSG_WAITALL))


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) / 1024
