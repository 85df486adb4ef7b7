"""Cuts the bytes of one connection into msgpack-rpc requests, with bounds on memory in every direction.

A request is first walked over without building anything, and read into Python objects only when it is whole:
half a request costs its bytes, whatever lengths it announces.
"""

from __future__ import annotations

import msgpack

MAX_REQUEST_BYTES = 64 * 2**20  # an OpenDRIVE text of a large town has about 15 MB
MAX_STRUCTURE_BYTES = 2**21  # of one argument that is no text: as Python objects it takes up to 64 times as much
MAX_ARRAY_LENGTH = 2**16
KEPT_BUFFER_BYTES = 2**16

_ARRAY_OF_FOUR = 0x94
_TEXTS = (*range(0xA0, 0xC0), 0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB)  # first bytes of msgpack's str and bin


class RequestError(ValueError):
    """The bytes are no request, or a request past the bounds."""


class RequestReader:
    """Feed it what arrives; `next` gives one whole request at a time, None where there is none yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._walker = _walker()
        self._begin = 0  # of the first request that was not given yet, in the walker's count

    @property
    def held_bytes(self) -> int:
        """Memory that unread bytes take here and in the walker."""
        return 2 * len(self._buffer)

    def feed(self, data: bytes | memoryview) -> None:
        """Take in what arrived; raises RequestError where it is too much."""
        try:
            self._walker.feed(data)
        except msgpack.BufferFull:
            raise RequestError(f"more than {MAX_REQUEST_BYTES} bytes") from None
        self._buffer += data

    def next(self) -> list | None:
        """Return the next request [0, message id, method, arguments]; raises RequestError."""
        if not self._buffer:
            return None
        if self._buffer[0] != _ARRAY_OF_FOUR:
            raise RequestError("no array of four")
        try:
            self._walker.skip()
        except msgpack.OutOfData:
            return None
        except (ValueError, msgpack.UnpackException) as error:
            raise RequestError(type(error).__name__) from None
        end = self._walker.tell()
        message = bytes(self._buffer[: end - self._begin])
        del self._buffer[: end - self._begin]
        self._begin = end
        if len(message) > KEPT_BUFFER_BYTES:
            self._forget_large_buffer()
        return _request(message)

    def _forget_large_buffer(self) -> None:
        self._buffer = bytearray(self._buffer)
        self._walker, self._begin = _walker(), 0
        self._walker.feed(self._buffer)


def _walker() -> msgpack.Unpacker:
    return msgpack.Unpacker(read_size=1024, max_buffer_size=MAX_REQUEST_BYTES)


def _request(message: bytes) -> list:
    if len(message) > MAX_STRUCTURE_BYTES:
        _check_structure(message)
    try:
        request = msgpack.unpackb(message, raw=False, max_array_len=MAX_ARRAY_LENGTH, max_map_len=16, max_ext_len=16)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise RequestError(type(error).__name__) from None
    kind, message_id, name, arguments = request
    if kind != 0 or not isinstance(name, str) or not isinstance(arguments, list):
        raise RequestError("no msgpack-rpc request")
    if not isinstance(message_id, int) or isinstance(message_id, bool):
        raise RequestError("a message id that is no integer")
    return request


def _check_structure(message: bytes) -> None:
    """Refuse a long request unless its length comes from texts: its arguments, one level down."""
    walker = msgpack.Unpacker(max_buffer_size=len(message))
    walker.feed(message)
    try:
        walker.read_array_header()
        for _ in range(3):
            _check_item(walker, message)
        for _ in range(walker.read_array_header()):
            _check_item(walker, message)
    except (ValueError, msgpack.UnpackException) as error:
        raise RequestError(str(error) or type(error).__name__) from None


def _check_item(walker: msgpack.Unpacker, message: bytes) -> None:
    begin = walker.tell()
    walker.skip()
    if walker.tell() - begin > MAX_STRUCTURE_BYTES and message[begin] not in _TEXTS:
        raise RequestError(f"an argument of more than {MAX_STRUCTURE_BYTES} bytes that is no text")
