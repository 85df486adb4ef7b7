"""Listening sockets: who may connect, and how many at a time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import socket
import time
from collections.abc import Callable

from clipdrive.carla_server.network import READ, Connection, EventLoop

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 2000  # per port
WARN_EVERY_S = 10.0
_NO_DESCRIPTOR_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ListenError(OSError):
    """The server cannot listen on the address it was given."""


class Listener:
    """A listening socket that makes a `Connection` of every peer, and keeps their number bounded.

    Where there are too many, the oldest one that has never sent anything sensible goes, else the new one.
    """

    def __init__(self, loop: EventLoop, host: str, port: int, make: Callable[[socket.socket], Connection]) -> None:
        self.make = make
        self.most_connections = connection_limit()
        self.connections: dict[Connection, None] = {}
        self.turned_away = 0
        self.warn_again_s = 0.0
        self.socket = _listening_socket(host, port)
        self.port: int = self.socket.getsockname()[1]
        self.spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # given up to greet and close where all are taken
        loop.watch(self.socket, READ, self._accept)

    def _accept(self, _mask: int) -> None:
        for _ in range(64):
            try:
                peer, _address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR_LEFT:
                    self._make_room()
                return
            if len(self.connections) >= self.most_connections and not self._evict():
                peer.close()
                self._warn()
                continue
            try:
                connection = self.make(peer)
            except OSError:  # the peer is gone already
                peer.close()
                continue
            self.connections[connection] = None

    def _make_room(self) -> None:
        """No file descriptor is left: close a connection that never spoke, or else the one that waits."""
        log.warning("port %d: no file descriptor is left", self.port)
        if self._evict():
            return
        os.close(self.spare)
        with contextlib.suppress(OSError):
            self.socket.accept()[0].close()
        self.spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _evict(self) -> bool:
        for connection in self.connections:
            if not connection.proven:
                connection.close()
                self._warn()
                return True
        return False

    def _warn(self) -> None:
        self.turned_away += 1
        now = time.monotonic()
        if now >= self.warn_again_s:
            self.warn_again_s = now + WARN_EVERY_S
            log.warning(
                "port %d has %d connections, the most it takes: %d closed so far, first those that never spoke",
                self.port, self.most_connections, self.turned_away,
            )  # fmt: skip

    def close(self) -> None:
        """Close the listening socket and all connections that it made."""
        for connection in tuple(self.connections):
            connection.close()
        self.socket.close()
        os.close(self.spare)

    def forget(self, connection: Connection) -> None:
        self.connections.pop(connection, None)


def _listening_socket(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(512)
    except (OSError, OverflowError, UnicodeError) as error:
        listening.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ListenError(f"cannot listen on {host}:{port}: {reason or error}") from error
    listening.setblocking(False)
    return listening


def connection_limit() -> int:
    """Allow as many open files as the system lets us have; returns how many connections each port may hold."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 4 * MAX_CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(8, min(MAX_CONNECTIONS, (soft - 64) // 2))
