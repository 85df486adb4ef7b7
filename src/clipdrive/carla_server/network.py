"""One thread, many sockets: the event loop, and connections that never block and never grow without bound."""

from __future__ import annotations

import logging
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
RECEIVE_BYTES = 2**18
PENDING_BYTES = 2**24  # what a connection may leave unread, besides one message
HELD_BYTES = 2**27  # what all connections together may leave unread or send by half
SOCKET_BUFFER_BYTES = 2**20
LATE_S = 0.005  # that may pass before something is sent that nobody waits for
AWAKE_S = 0.0005  # of a wait: a processor that has slept takes a while to be as quick as before
MOST_ASLEEP, FORGIVING = 64.0, 0.9


class HasFileno(Protocol):
    """A socket, or an open file that can be waited for."""

    def fileno(self) -> int: ...


class EventLoop:
    """Sockets, timer and signals of a server whose connections all live on one thread.

    `next_timer` tells the monotonic second at which `on_timer` wants to be called, or None.
    """

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.watched: dict[int, Callable[[int], None]] = {}  # by file descriptor
        self.stopping = False
        self.received = bytearray(RECEIVE_BYTES)  # what the connection that is served now has just read
        self.held_bytes = 0  # in the buffers of all connections, either way
        self.holders: set[Connection] = set()
        self.unfinished: deque[Callable[[], None]] = deque()  # work that was put off for the sake of others
        self.late: deque[Callable[[], None]] = deque()  # what may be sent a little later
        self.late_until_s = 0.0
        self.waits_asleep = 0.0  # before one begins awake again: twice as many after each that was in vain ...
        self.in_vain = 1.0  # ... and a little less after each that was not
        self.next_timer: Callable[[], float | None] = lambda: None
        self.on_timer: Callable[[], None] = lambda: None

    def watch(self, file: HasFileno, events: int, callback: Callable[[int], None]) -> None:
        """Call `callback` with what has happened whenever one of `events` has, an error or the other end's leaving."""
        self.epoll.register(file, events)
        self.watched[file.fileno()] = callback

    def watch_for(self, file: HasFileno, events: int) -> None:
        """Look for other events than before."""
        self.epoll.modify(file, events)

    def ignore(self, file: HasFileno) -> None:
        """Look for nothing any more."""
        self.epoll.unregister(file)
        del self.watched[file.fileno()]

    def call_later(self, function: Callable[[], None]) -> None:
        """Call `function` once, after LATE_S at most."""
        if not self.late:
            self.late_until_s = time.monotonic() + LATE_S
        self.late.append(function)

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
        self.watch(wake_read, READ, lambda _: wake_read.recv(64) and None)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop())

    def run(self) -> None:
        while not self.stopping:
            try:
                self._round()
            except Exception:  # a fault of ours in one round must not end the server
                log.exception("a fault in the server")

    def _round(self) -> None:
        due = self.next_timer()
        if self.unfinished:
            timeout = 0.0
        else:
            timeout = 1.0 if due is None else max(0.0, due - time.monotonic())
            if self.late:
                timeout = min(timeout, LATE_S)
        for descriptor, events in self._events_within(timeout):
            if (callback := self.watched.get(descriptor)) is not None:  # none where an earlier one has closed it
                callback(events)
        for _ in range(len(self.unfinished)):
            self.unfinished.popleft()()
        if self.late and time.monotonic() >= self.late_until_s:
            while self.late:
                self.late.popleft()()
        if due is not None and time.monotonic() >= due:
            self.on_timer()

    def _events_within(self, timeout_s: float) -> list[tuple[int, int]]:
        """What has happened, at the latest after `timeout_s`; awake for the first AWAKE_S where that has paid.

        A client in a quick loop comes back within it. For one that does not, few waits begin awake.
        """
        if timeout_s > AWAKE_S and self.waits_asleep <= 0:
            until_s = time.monotonic() + AWAKE_S
            while time.monotonic() < until_s:
                if events := self.epoll.poll(0.0):
                    self.in_vain = max(FORGIVING * self.in_vain, 1.0)
                    return events
            self.waits_asleep = self.in_vain = min(2.0 * self.in_vain, MOST_ASLEEP)
        self.waits_asleep -= 1.0
        return self.epoll.poll(timeout_s)


class Connection:
    """A non-blocking socket with a bounded buffer of what the peer has not read yet.

    `received(data)` is called with what arrived, which is overwritten afterwards; `drained()` when
    the peer has read all that was pending, `ended()` once, when either side has closed.
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
        self.events = READ
        loop.watch(peer, self.events, self._ready)

    def received(self, data: memoryview) -> None:
        raise NotImplementedError

    def ended(self) -> None:
        """Forget whatever refers to this connection."""

    def drained(self) -> None:
        """The peer has read all that was pending."""

    def send(self, *parts: bytes | memoryview) -> None:
        """Send `parts` one after the other, now or as the peer reads; closes where the bound is passed."""
        if self.closed:
            return
        length = sum(map(len, parts))
        sent = 0
        if not self.pending:
            try:
                sent = self.socket.sendmsg(parts)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == length:
                return
        elif len(self.pending) + length > PENDING_BYTES:
            log.info("%s does not read: connection closed", self.name)
            self.close()
            return
        self.add(*parts, sent=sent)

    def add(self, *parts: bytes | memoryview, sent: int = 0) -> None:
        """Keep `parts`, but for the `sent` first bytes, until the peer reads."""
        if not self.hold(sum(map(len, parts)) - sent):
            return
        for part in parts:
            if sent < len(part):
                self.pending += part[sent:] if sent else part
            sent = max(0, sent - len(part))
        self._set_events(self.events | WRITE)

    @property
    def name(self) -> str:
        """The peer's address, for the log."""
        try:
            host, port, *_ = self.socket.getpeername()
        except OSError:
            return "a peer that has gone"
        return f"{host}:{port}"

    def hold(self, count: int) -> bool:
        """Count bytes kept for this connection (negative: given back); False where it is closed by now.

        Where all connections together hold too much, those that hold most are closed.
        """
        if self.closed:
            return False
        loop = self.loop
        self.held_bytes += count
        loop.held_bytes += count
        if not self.held_bytes:
            loop.holders.discard(self)
        elif count > 0:
            loop.holders.add(self)
            while loop.held_bytes > HELD_BYTES:
                greediest = max(loop.holders, key=lambda holder: holder.held_bytes)
                log.warning("too much is unread or half sent: %s is closed, which holds most", greediest.name)
                greediest.close()
        return not self.closed

    def pause_reading(self, paused: bool) -> None:
        """Leave what the peer sends in its socket, or read on."""
        if not self.closed:
            rest = self.events & ~READ
            self._set_events(rest if paused else rest | READ)

    def close(self) -> None:
        """Close the socket; what is pending is dropped."""
        if self.closed:
            return
        self.closed = True
        self.loop.held_bytes -= self.held_bytes
        self.loop.holders.discard(self)
        self.pending = bytearray()
        if self.events:
            self.loop.ignore(self.socket)
        self.socket.close()
        self.ended()

    def _set_events(self, events: int) -> None:
        if events == self.events:
            return
        if not events:
            self.loop.ignore(self.socket)
        elif not self.events:
            self.loop.watch(self.socket, events, self._ready)
        else:
            self.loop.watch_for(self.socket, events)
        self.events = events

    def _ready(self, happened: int) -> None:
        try:
            self._move_bytes(happened)
        except Exception:  # a fault of ours costs this connection, never the server
            log.exception("connection closed")
            self.close()

    def _move_bytes(self, happened: int) -> None:
        if self.closed:
            return
        if happened != READ and self.pending:  # an error shows when it is written to
            self._flush()
        if happened != WRITE and self.events & READ and not self.closed:
            try:
                count = self.socket.recv_into(self.loop.received)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            if count:
                self.received(memoryview(self.loop.received)[:count])
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
            self._set_events(self.events & ~WRITE)
            self.drained()
