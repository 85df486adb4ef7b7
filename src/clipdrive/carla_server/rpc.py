"""The RPC port: requests in msgpack, dispatch to the methods, replies and errors as the client wants them."""

from __future__ import annotations

import enum
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgpack

from clipdrive.carla_server import wire
from clipdrive.carla_server.network import Connection, EventLoop, Listener
from clipdrive.carla_server.values import WireError

MAX_PARTIAL_BYTES = 2**21  # of an unfinished request, texts not counted
MAX_READY_BYTES = 2**16  # of replies that are sent together

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


@dataclass(frozen=True)
class Method:
    """A function and the way its result travels."""

    function: Callable
    reply: Reply


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
        self.unpacker: msgpack.Unpacker | None = None  # not before the peer says something: it costs memory
        self.fed_bytes = self.answered_bytes = self.partial_bytes = 0
        self.waiting = False  # for a tick that is held back; later requests keep their order behind it
        super().__init__(loop, peer)

    def received(self, data: bytes) -> None:
        if self.unpacker is None:
            self.unpacker = wire.unpacker()
        try:
            self.unpacker.feed(data)
            self.fed_bytes += len(data)
        except msgpack.BufferFull:
            log.info("a request of more than %d bytes: connection closed", wire.MAX_REQUEST_BYTES)
            self.close()
            return
        self.serve()

    def serve(self) -> None:
        """Answer the requests that have arrived whole, up to one that has to wait."""
        replies, ready_bytes = [], 0
        try:
            for request in self.unpacker:
                self.answered_bytes = self.unpacker.tell()
                reply = self.server.answer(self, request)
                if reply is not None:
                    replies.append(reply)
                    ready_bytes += len(reply)
                    if ready_bytes > MAX_READY_BYTES:
                        self.send(*replies)
                        replies, ready_bytes = [], 0
                if self.waiting or self.closed:
                    break
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
            log.info("not a request (%s): connection closed", type(error).__name__)
            self.close()
            return
        if replies:
            self.send(*replies)
        self._bound_partial_request()

    def _bound_partial_request(self) -> None:
        # A long text waits unread in the unpacker; the rest of an unfinished request is Python objects.
        partial = self.fed_bytes - self.answered_bytes
        if partial or self.partial_bytes:
            if not self.waiting and self.unpacker.tell() - self.answered_bytes > MAX_PARTIAL_BYTES:
                log.info("a request without end: connection closed")
                self.close()
            self.hold(partial - self.partial_bytes)
            self.partial_bytes = partial

    def wait(self) -> None:
        """Leave later requests alone until `go_on`."""
        self.waiting = True
        self.pause_reading(True)

    def go_on(self, reply: bytes) -> None:
        """Send the reply that was held back, and answer what came after it."""
        self.waiting = False
        self.pause_reading(False)
        self.send(reply)
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

    def answer(self, connection: RpcConnection, request: object) -> bytes | None:
        """Return the reply to one request, None where it comes later.

        Raises WireError for what is no request.
        """
        if not isinstance(request, list) or len(request) != 4 or request[0] != 0:
            raise WireError("not a msgpack-rpc request")
        _, message_id, name, arguments = request
        if not isinstance(message_id, int) or not isinstance(name, str) or not isinstance(arguments, list):
            raise WireError("not a msgpack-rpc request")
        connection.proven = True
        method = self.methods.get(name)
        if method is None:
            log.info("%s: not supported", name)
            return wire.reply_error(message_id, f"{name:.80} is not supported by clipdrive's CARLA server")
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s%s", name, repr(arguments[1:])[:200])
        try:
            if method.reply is Reply.LATER:
                return method.function(connection, message_id, *arguments[1:])
            result = method.function(*arguments[1:])
        except RpcError as error:
            log.info("%s: %s", name, error)
            return self._error(method, message_id, str(error))
        except _BAD_ARGUMENTS as error:
            log.info("%s: bad arguments", name, exc_info=True)
            return self._error(method, message_id, f"{name}: {error}")
        except Exception as error:
            log.exception("%s failed", name)
            return self._error(method, message_id, f"{name} failed in the server: {error}")
        if method.reply is Reply.VOID:
            return wire.reply_void(message_id)
        if method.reply is Reply.BARE:
            return wire.reply_bare(message_id, result)
        return wire.reply_value(message_id, result)

    @staticmethod
    def _error(method: Method, message_id: int, text: str) -> bytes:
        if method.reply is Reply.BARE:
            return wire.reply_refusal(message_id, text)
        return wire.reply_error(message_id, text)
