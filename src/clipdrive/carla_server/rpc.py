"""The RPC port: dispatch of requests to the methods, replies and errors as the client wants them."""

from __future__ import annotations

import enum
import inspect
import logging
import reprlib
import socket
import time
from collections.abc import Callable, Mapping

from clipdrive.carla_server import wire
from clipdrive.carla_server.listening import Listener
from clipdrive.carla_server.network import Connection, EventLoop
from clipdrive.carla_server.requests import RequestError, RequestReader
from clipdrive.carla_server.values import WireError

MAX_READY_BYTES = 2**16  # of replies that are sent together
UNREAD_BYTES = 2**20  # of replies, while which a client's further requests are left alone
TURN_S = 0.01  # after which the others get their turn, between two requests

NOBODY_WAITS = [[True]]  # what a client sends before the arguments of a call that it does not wait for

log = logging.getLogger(__name__)

# Wrong shapes of arguments come out of a method as one of these; the client gets a text, the server lives on.
_BAD_ARGUMENTS = (WireError, TypeError, ValueError, IndexError, KeyError, OverflowError)


class RpcError(Exception):
    """Something that the client shall see as RuntimeError(text)."""


class Reply(enum.Enum):
    """How a method's result is wrapped."""

    VALUE = enum.auto()
    VOID = enum.auto()
    BARE = enum.auto()
    LATER = enum.auto()  # the method gets (connection, message id) and replies by itself


class Method:
    """A function, the way its result travels, and how many arguments a client may send."""

    def __init__(self, function: Callable, reply: Reply) -> None:
        self.function, self.reply = function, reply
        own = 2 if reply is Reply.LATER else 0
        parameters = list(inspect.signature(function).parameters.values())[own:]
        self.least = sum(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters)
        self.most = None if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(parameters)

    def check_count(self, name: str, count: int) -> None:
        """Raise WireError where a client sent a wrong number of arguments."""
        if count < self.least or (self.most is not None and count > self.most):
            allowed = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
            raise WireError(f"{name}: got {count} arguments, expected {allowed}")


def value(function: Callable) -> Callable:
    """Mark a function as an RPC method that returns a value."""
    function.reply = Reply.VALUE
    return function


def void(function: Callable) -> Callable:
    """Mark a function as an RPC method that returns nothing."""
    function.reply = Reply.VOID
    return function


def methods_of(owner: object) -> dict[str, Method]:
    """Return the bound functions of `owner` that are marked as RPC methods, by their names."""
    functions = {name: getattr(owner, name) for name in dir(owner)}
    return {name: Method(f, f.reply) for name, f in functions.items() if hasattr(f, "reply")}


class RpcConnection(Connection):
    """One `carla.Client`: its requests are answered in their order."""

    def __init__(self, loop: EventLoop, peer: socket.socket, server: RpcServer) -> None:
        self.server = server
        self.reader: RequestReader | None = None  # not before the peer says something: it costs memory
        self.reader_bytes = 0
        self.ready: list[bytes] = []  # replies that are sent together
        self.late = False  # replies are ready that nobody waits for
        self.waiting = False  # for a tick that is held back; later requests keep their order behind it
        self.put_off = False  # the rest of what has arrived, until the others had their turn
        self.called: set[str] = set()  # for the log
        super().__init__(loop, peer)
        self.peer = self.name
        log.debug("%s connected", self.peer)

    def received(self, data: memoryview) -> None:
        if self.reader is None:
            self.reader = RequestReader()
        try:
            self.reader.feed(data)
        except RequestError as error:
            self._refuse(error)
            return
        self.serve()

    def serve(self) -> None:
        """Answer the requests that have arrived whole, up to one that has to wait, and for a turn at most."""
        ready_bytes, until_s, awaited = 0, time.monotonic() + TURN_S, False
        over = False
        while not (over or self.waiting or self.closed or self._does_not_read()):
            try:
                request = self.reader.next()
            except RequestError as error:
                self._refuse(error)
                return
            if request is None:
                break
            reply = self.server.answer(self, request)
            if reply is not None:
                self.ready.append(reply)
                ready_bytes += len(reply)
                awaited = awaited or request[3][:1] != NOBODY_WAITS
                if ready_bytes > MAX_READY_BYTES:
                    self.answer_now()
                    ready_bytes = 0
            over = time.monotonic() > until_s
        if awaited or over:
            self.answer_now()
        elif self.ready and not self.late:
            self.late = True
            self.loop.call_later(self._answer_late)
        self._count_held_bytes()
        if over and self.reader_bytes and not self.put_off:
            self.put_off = True
            self.loop.unfinished.append(self._go_on_after_others)
        if not self.waiting:
            self.pause_reading(self.put_off or self._does_not_read())

    def answer_now(self, *replies: bytes) -> None:
        """Send the replies that are ready, and `replies` behind them, before the next request is looked at."""
        ready, self.ready = (*self.ready, *replies), []
        if ready:
            self.send(*ready)

    def _answer_late(self) -> None:
        self.late = False
        self.answer_now()

    def _does_not_read(self) -> bool:
        return len(self.pending) > UNREAD_BYTES

    def _go_on_after_others(self) -> None:
        self.put_off = False
        if not (self.closed or self.waiting):
            self.serve()

    def drained(self) -> None:
        if not (self.closed or self.waiting or self.put_off):
            self.serve()

    def _count_held_bytes(self) -> None:
        held_bytes = self.reader.held_bytes
        if held_bytes != self.reader_bytes:
            self.hold(held_bytes - self.reader_bytes)
            self.reader_bytes = held_bytes

    def _refuse(self, error: RequestError) -> None:
        log.info("%s: not a request (%s): connection closed", self.peer, error)
        self.close()

    def wait(self) -> None:
        """Leave later requests alone until `go_on`."""
        self.waiting = True
        self.pause_reading(True)

    def go_on(self) -> None:
        """Answer what came after the request whose reply was held back, and has been sent by now."""
        self.waiting = False
        if not (self.put_off or self.closed):
            self.serve()

    def ended(self) -> None:
        self.server.ended(self)


class RpcServer:
    """Accepts clients on one port and answers from a table of methods."""

    def __init__(self, loop: EventLoop, host: str, port: int) -> None:
        self.methods: Mapping[str, Method] = {}
        self.listener = Listener(loop, host, port, lambda peer: RpcConnection(loop, peer, self))
        self.port = self.listener.port

    def ended(self, connection: RpcConnection) -> None:
        self.listener.forget(connection)
        if connection.proven:
            log.info("client %s left", connection.peer)

    def answer(self, connection: RpcConnection, request: list) -> bytes | None:
        """Return the reply to one request, None where it comes later."""
        _, message_id, name, arguments = request
        if not connection.proven:
            connection.proven = True
            log.info("client %s is here", connection.peer)
        method = self.methods.get(name)
        if method is None:
            log.info("%s calls %.80r, which is not supported", connection.peer, name)
            return wire.reply_error(message_id, f"{name:.80} is not supported by clipdrive's CARLA server")
        if name not in connection.called:
            connection.called.add(name)
            log.info("%s calls %s", connection.peer, name)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s%s", connection.peer, name, reprlib.repr(arguments[1:]))
        try:
            return self._called(connection, message_id, name, method, arguments[1:])
        except RpcError as error:
            log.info("%s: %s", name, error)
            return self._error(method, message_id, str(error))
        except _BAD_ARGUMENTS as error:
            log.info("%s: bad arguments", name, exc_info=not isinstance(error, WireError))
            return self._error(method, message_id, f"{name}: {error}")
        except Exception as error:
            log.exception("%s failed", name)
            return self._error(method, message_id, f"{name} failed in the server: {error}")

    @staticmethod
    def _called(
        connection: RpcConnection, message_id: int, name: str, method: Method, arguments: list
    ) -> bytes | None:
        method.check_count(name, len(arguments))
        if method.reply is Reply.LATER:
            return method.function(connection, message_id, *arguments)
        result = method.function(*arguments)
        if method.reply is Reply.VOID:
            return wire.reply_void(message_id)
        if method.reply is Reply.BARE:
            return wire.reply_bare(message_id, result)
        return wire.reply_value(message_id, result)

    @staticmethod
    def _error(method: Method, message_id: int, text: str) -> bytes:
        if method.reply is Reply.BARE:
            return wire.reply_refusal(message_id, text)
        return wire.reply_error(message_id, text.encode(errors="replace").decode())
