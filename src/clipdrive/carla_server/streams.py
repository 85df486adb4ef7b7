"""The stream port: who listens to which sensor, and the messages that go to them."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections import deque

from clipdrive.carla_server import wire
from clipdrive.carla_server.listening import Listener
from clipdrive.carla_server.network import PENDING_BYTES, Connection, EventLoop

SUBSCRIPTION_WAIT_S = 0.5
MAX_SUBSCRIBERS = 64  # per stream
MAX_AWAITED = 1000
MAX_EARLIER_IDS = 16  # of renewed streams, under which a client that has been slow may still come
STALLED_S = 5.0  # without a byte read, before a full connection is closed

log = logging.getLogger(__name__)


class StreamConnection(Connection):
    """One subscription: the client sends the stream's id, and nothing else ever."""

    def __init__(self, loop: EventLoop, peer: socket.socket, server: StreamServer) -> None:
        self.server = server
        self.first = b""
        self.stream_id = 0
        self.fellows: list[StreamConnection] = []  # all subscribers of its stream, itself among them
        self.dropped = 0
        self.full_bytes = 0  # that were pending at `full_since_s`
        self.full_since_s = 0.0
        super().__init__(loop, peer)

    def offer(self, parts: tuple[bytes | memoryview, ...]) -> None:
        """Send a message, or drop it where the peer has not read earlier ones; closes where it reads nothing."""
        waiting = len(self.pending)
        if not waiting:
            self.send(*parts)
            return
        length = sum(map(len, parts))
        if waiting + length <= max(PENDING_BYTES, 2 * length):
            self.add(*parts)
            return
        now = time.monotonic()
        self.dropped += 1
        if self.dropped == 1:
            log.info("stream %d: %s is slow, messages are dropped", self.stream_id, self.name)
        if waiting != self.full_bytes:
            self.full_bytes, self.full_since_s = waiting, now
        elif now - self.full_since_s > STALLED_S:
            log.info("stream %d: %s has stopped reading: connection closed", self.stream_id, self.name)
            self.close()

    def received(self, data: memoryview) -> None:
        if self.proven:
            self.close()  # a client has nothing more to say
            return
        self.first += bytes(data[: wire.STREAM_ID.size + 1])
        if len(self.first) > wire.STREAM_ID.size:
            self.close()
        elif len(self.first) == wire.STREAM_ID.size:
            (self.stream_id,) = wire.STREAM_ID.unpack(self.first)
            self.server.subscribe(self)

    def ended(self) -> None:
        self.server.unsubscribe(self)


class StreamServer:
    """Streams by id, with ids that no other run of the server uses.

    A client that was connected to an earlier server on this port reconnects by itself and asks for the old
    ids: a connection for an unknown id is kept open and silent, for a closed one would come back at once.
    """

    def __init__(self, loop: EventLoop, host: str, port: int) -> None:
        self.subscribers: dict[int, list[StreamConnection]] = {}
        self.earlier_ids: deque[int] = deque()  # of renewed streams, which lead to the same subscribers
        self.awaited: list[tuple[int, float, object]] = []  # stream id, until when a tick waits for it, whose tick
        self.on_subscribe = lambda connection: None
        self.listener = Listener(loop, host, port, lambda peer: StreamConnection(loop, peer, self))
        self.port = self.listener.port

    def open(self) -> int:
        """Make a stream and return its id."""
        while True:
            stream_id = secrets.randbelow(2**32 - 2) + 1
            if stream_id not in self.subscribers:
                self.subscribers[stream_id] = []
                return stream_id

    def renew(self, stream_id: int) -> int:
        """Give a stream a new id and return it; who listens by an earlier one goes on listening.

        A client ends its subscription from another thread than the one that begins the next: of two by one id it
        might end the wrong one, which costs the client its process.
        """
        new_id = self.open()
        self.subscribers[new_id] = self.subscribers[stream_id]
        self.earlier_ids.append(stream_id)
        if len(self.earlier_ids) > MAX_EARLIER_IDS:
            del self.subscribers[self.earlier_ids.popleft()]
        return new_id

    def shut(self, stream_id: int) -> None:
        """End a stream; its connections stay open and silent until the client leaves."""
        self.subscribers.pop(stream_id, None)
        self.awaited = [entry for entry in self.awaited if entry[0] != stream_id]

    def token(self, stream_id: int) -> bytes:
        """Return the 24 bytes by which a client finds the stream."""
        return wire.token(stream_id, self.port)

    def announce(self, stream_id: int, client: object) -> bytes:
        """Return the token of a stream that a client is about to connect to; its own next tick waits for that.

        `listen()` returns before it has connected: without the wait the first image would be lost.
        """
        self.awaited.append((stream_id, time.monotonic() + SUBSCRIPTION_WAIT_S, client))
        del self.awaited[:-MAX_AWAITED]
        return self.token(stream_id)

    def awaited_until(self, client: object) -> float | None:
        """Return the monotonic second until which a tick of `client` has to wait, None where it need not."""
        if not self.awaited:
            return None
        now = time.monotonic()
        self.awaited = [entry for entry in self.awaited if entry[1] > now]
        return max((until for _, until, whose in self.awaited if whose is client), default=None)

    def has(self, stream_id: object) -> bool:
        """Tell whether there is a stream of that id."""
        return isinstance(stream_id, int) and stream_id in self.subscribers

    def has_listener(self, stream_id: int) -> bool:
        """Tell whether anybody reads the stream."""
        return bool(self.subscribers.get(stream_id))

    def publish(self, stream_id: int, *parts: bytes | memoryview, earlier: bytes | None = None) -> None:
        """Send one message to everybody who listens; `earlier`, if any, to those who came by an earlier id instead."""
        for connection in tuple(self.subscribers.get(stream_id, ())):
            connection.offer(parts if earlier is None or connection.stream_id == stream_id else (earlier,))

    def subscribe(self, connection: StreamConnection) -> None:
        """Take in a connection that has named its stream."""
        stream_id = connection.stream_id
        subscribers = self.subscribers.get(stream_id)
        if subscribers is None:
            return
        if len(subscribers) >= MAX_SUBSCRIBERS:
            log.warning("stream %d has %d listeners, the most it takes", stream_id, MAX_SUBSCRIBERS)
            return
        connection.proven = True
        connection.fellows = subscribers
        subscribers.append(connection)
        log.info("stream %d: %s listens", stream_id, connection.name)
        for index, (awaited_id, _, _) in enumerate(self.awaited):
            if awaited_id == stream_id:
                del self.awaited[index]
                break
        self.on_subscribe(connection)

    def unsubscribe(self, connection: StreamConnection) -> None:
        """Forget a connection."""
        self.listener.forget(connection)
        if connection in connection.fellows:
            connection.fellows.remove(connection)
            log.info("stream %d: a listener left, %d messages dropped", connection.stream_id, connection.dropped)
