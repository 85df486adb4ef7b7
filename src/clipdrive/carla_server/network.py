"""One thread, many sockets: the event loop, and connections that never block and never grow without bound."""

from __future__ import annotations

import contextlib
import logging
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

RECEIVE_BYTES = 2**18
PENDING_BYTES = 2**24  # what a connection may leave unread before it is closed, besides one message
HELD_BYTES = 2**28  # what all connections together may leave unread or send by half
MAX_CONNECTIONS = 2000  # per port
SOCKET_BUFFER_BYTES = 2**20


class ListenError(OSError):
    """The server cannot listen on the address it was given."""


class EventLoop:
    """Selector, timer and signals of a single-threaded server.

    `next_timer` tells the monotonic second at which `on_timer` wants to be called, or None.
    """

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.stopping = False
        self.held_bytes = 0  # in the buffers of all connections, either way
        self.next_timer: Callable[[], float | None] = lambda: None
        self.on_timer: Callable[[], None] = lambda: None

    def watch(self, file: object, events: int, callback: Callable[[int], None]) -> None:
        self.selector.register(file, events, callback)

    def stop(self) -> None:
        """Make `run` return once the current round is over."""
        self.stopping = True

    def stop_on_signals(self) -> None:
        """Let SIGINT and SIGTERM end `run`, whatever the loop waits for."""
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        self.wake_sockets = (wake_read, wake_write)
        self.watch(wake_read, selectors.EVENT_READ, lambda _: wake_read.recv(64) and None)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop())

    def run(self) -> None:
        select, read = self.selector.select, time.monotonic
        while not self.stopping:
            due = self.next_timer()
            timeout = 1.0 if due is None else max(0.0, due - read())
            for key, mask in select(timeout):
                key.data(mask)
            if due is not None and read() >= due:
                self.on_timer()


class Connection:
    """A non-blocking socket with a bounded buffer of what the peer has not read yet.

    `received(data)` is called with what arrived; `ended()` once, when either side has closed.
    """

    def __init__(self, loop: EventLoop, peer: socket.socket) -> None:
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        self.loop = loop
        self.socket = peer
        self.closed = False
        self.proven = False  # has sent something that a client sends
        self.pending = bytearray()
        self.held_bytes = 0
        self.events = selectors.EVENT_READ
        loop.watch(peer, self.events, self._ready)

    def received(self, data: bytes) -> None:
        raise NotImplementedError

    def ended(self) -> None:
        """Forget whatever refers to this connection."""

    def send(self, *parts: bytes | memoryview) -> None:
        """Send `parts` one after the other, now or as the peer reads; closes where the bound is passed."""
        if self.closed:
            return
        sent = 0
        if not self.pending:
            try:
                sent = self.socket.sendmsg(parts)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == sum(map(len, parts)):
                return
        length = sum(map(len, parts)) - sent
        if self.pending and len(self.pending) + length > PENDING_BYTES:
            self.close()
            return
        if not self.hold(length):
            return
        for part in parts:
            if sent < len(part):
                self.pending += part[sent:] if sent else part
            sent = max(0, sent - len(part))
        self._set_events(self.events | selectors.EVENT_WRITE)

    def hold(self, count: int) -> bool:
        """Count bytes kept for this connection (negative: given back); False where that closed it."""
        if self.closed:
            return False
        self.held_bytes += count
        self.loop.held_bytes += count
        if count > 0 and self.loop.held_bytes > HELD_BYTES:
            self.close()
        return not self.closed

    def pause_reading(self, paused: bool) -> None:
        """Leave what the peer sends in its socket, or read on."""
        if not self.closed:
            rest = self.events & ~selectors.EVENT_READ
            self._set_events(rest if paused else rest | selectors.EVENT_READ)

    def close(self) -> None:
        """Close the socket; what is pending is dropped."""
        if self.closed:
            return
        self.closed = True
        self.loop.held_bytes -= self.held_bytes
        self.pending = bytearray()
        if self.events:
            self.loop.selector.unregister(self.socket)
        self.socket.close()
        self.ended()

    def _set_events(self, events: int) -> None:
        if events == self.events:
            return
        if not events:
            self.loop.selector.unregister(self.socket)
        elif not self.events:
            self.loop.watch(self.socket, events, self._ready)
        else:
            self.loop.selector.modify(self.socket, events, self._ready)
        self.events = events

    def _ready(self, mask: int) -> None:
        try:
            self._move_bytes(mask)
        except Exception:  # a fault of ours costs this connection, never the server
            log.exception("connection closed")
            self.close()

    def _move_bytes(self, mask: int) -> None:
        if self.closed:
            return
        if mask & selectors.EVENT_WRITE and self.pending:
            self._flush()
        if mask & selectors.EVENT_READ and not self.closed:
            try:
                data = self.socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            if data:
                self.received(data)
            else:
                self.close()

    def _flush(self) -> None:
        try:
            with memoryview(self.pending) as view:
                sent = self.socket.send(view[:PENDING_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        del self.pending[:sent]
        self.hold(-sent)
        if not self.pending:
            self._set_events(self.events & ~selectors.EVENT_WRITE)


class Listener:
    """A listening socket that makes a `Connection` of every peer, and keeps their number bounded.

    Where there are too many, the oldest one that has never sent anything sensible goes, else the new one.
    """

    def __init__(self, loop: EventLoop, host: str, port: int, make: Callable[[socket.socket], Connection]) -> None:
        self.make = make
        self.most_connections = connection_limit()
        self.connections: dict[Connection, None] = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind((host, port))
        except (OSError, OverflowError) as error:
            self.socket.close()
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ListenError(f"cannot listen on {host}:{port}: {reason or error}") from error
        self.socket.listen(512)
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        loop.watch(self.socket, selectors.EVENT_READ, self._accept)

    def _accept(self, _mask: int) -> None:
        for _ in range(64):
            try:
                peer, _address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError:  # no file descriptor left, or the peer is gone already
                self._evict()
                return
            if len(self.connections) >= self.most_connections and not self._evict():
                peer.close()
                continue
            try:
                connection = self.make(peer)
            except OSError:
                peer.close()
                continue
            self.connections[connection] = None

    def _evict(self) -> bool:
        for connection in self.connections:
            if not connection.proven:
                connection.close()
                return True
        return False

    def forget(self, connection: Connection) -> None:
        self.connections.pop(connection, None)


def connection_limit() -> int:
    """Allow as many open files as the system lets us have; returns how many connections each port may hold."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 4 * MAX_CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(8, min(MAX_CONNECTIONS, (soft - 64) // 2))
