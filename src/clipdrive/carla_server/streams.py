"""The stream port: who listens to which sensor, and the messages that go to them."""

from __future__ import annotations

import secrets
import socket
import time

from clipdrive.carla_server import wire
from clipdrive.carla_server.network import Connection, EventLoop, Listener

SUBSCRIPTION_WAIT_S = 0.5


class StreamConnection(Connection):
    """One subscription: the client sends the stream's id, and nothing else ever."""

    def __init__(self, loop: EventLoop, peer: socket.socket, server: StreamServer) -> None:
        self.server = server
        self.first = b""
        self.stream_id = 0
        super().__init__(loop, peer)

    def received(self, data: bytes) -> None:
        if self.proven:
            self.close()  # a client has nothing more to say
            return
        self.first += data
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
        self.awaited: list[tuple[int, float]] = []  # (stream id, monotonic second until which a tick waits for it)
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

    def shut(self, stream_id: int) -> None:
        """End a stream; its connections stay open and silent until the client leaves."""
        self.subscribers.pop(stream_id, None)
        self.awaited = [entry for entry in self.awaited if entry[0] != stream_id]

    def token(self, stream_id: int) -> bytes:
        """Return the 24 bytes by which a client finds the stream."""
        return wire.token(stream_id, self.port)

    def announce(self, stream_id: int) -> bytes:
        """Return the token of a stream that a client is about to connect to, and wait for that before a tick.

        `listen()` returns before it has connected: without the wait the first image would be lost.
        """
        self.awaited.append((stream_id, time.monotonic() + SUBSCRIPTION_WAIT_S))
        del self.awaited[:-1000]
        return self.token(stream_id)

    def awaited_until(self) -> float | None:
        """Return the monotonic second until which the next tick has to wait, None where nobody is awaited."""
        if self.awaited:
            now = time.monotonic()
            self.awaited = [entry for entry in self.awaited if entry[1] > now]
        return max(until for _, until in self.awaited) if self.awaited else None

    def has(self, stream_id: object) -> bool:
        """Tell whether there is a stream of that id."""
        return isinstance(stream_id, int) and stream_id in self.subscribers

    def has_listener(self, stream_id: int) -> bool:
        """Tell whether anybody reads the stream."""
        return bool(self.subscribers.get(stream_id))

    def publish(self, stream_id: int, *parts: bytes | memoryview) -> None:
        """Send one message to everybody who listens."""
        for connection in tuple(self.subscribers.get(stream_id, ())):
            connection.send(*parts)

    def subscribe(self, connection: StreamConnection) -> None:
        """Take in a connection that has named its stream."""
        stream_id = connection.stream_id
        if stream_id not in self.subscribers:
            return
        connection.proven = True
        self.subscribers[stream_id].append(connection)
        for index, (awaited_id, _) in enumerate(self.awaited):
            if awaited_id == stream_id:
                del self.awaited[index]
                break
        self.on_subscribe(connection)

    def unsubscribe(self, connection: StreamConnection) -> None:
        """Forget a connection."""
        self.listener.forget(connection)
        subscribers = self.subscribers.get(connection.stream_id, [])
        if connection in subscribers:
            subscribers.remove(connection)
