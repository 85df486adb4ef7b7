"""A TCP proxy in front of a CARLA server that does one thing wrong; a process of its own.

    python tests/faulty_proxy.py SERVER_PORT FAULT

Prints its RPC port. FAULT is one of HARMLESS, of ONCE (at camera image number AT), or "version".
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import threading
import time

HARMLESS = ("late", "early", "twice", "lie")
ONCE = ("wrong_frame", "cut_short", "too_late", "no_streams", "mute")
AT = 12
CAMERA, SNAPSHOT = 13, 17
TOO_LATE_S = 4.0


class Proxy:
    def __init__(self, server_port: int, fault: str) -> None:
        self.server_port, self.fault = server_port, fault
        self.images = 0
        self.rpc_connections = 0
        self.gone_wrong = threading.Event()
        self.wrong_since = 0  # the RPC connection that was the newest then
        self.rpc, self.stream = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        ours, theirs = (struct.pack("<H", port) for port in (self.stream.getsockname()[1], server_port + 1))
        self._token = re.compile(rb"(\xc4\x18.{4})" + re.escape(theirs) + rb"(?=\x01)", re.DOTALL)
        self._our_port = ours

    def serve(self) -> None:
        threading.Thread(target=self._accept, args=(self.stream, self._stream), daemon=True).start()
        self._accept(self.rpc, self._rpc)

    def _accept(self, listener: socket.socket, handle) -> None:
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=handle, args=(client,), daemon=True).start()

    def _connect(self, port: int) -> socket.socket:
        server = socket.create_connection(("127.0.0.1", port))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server

    def _broken(self, connection: int) -> bool:
        """Whether something went wrong, and the client has not come with a new connection since."""
        return self.gone_wrong.is_set() and connection <= self.wrong_since

    def _go_wrong(self) -> None:
        self.wrong_since = self.rpc_connections
        self.gone_wrong.set()

    def _rpc(self, client: socket.socket) -> None:
        self.rpc_connections += 1
        number = self.rpc_connections
        server = self._connect(self.server_port)
        threading.Thread(target=self._copy, args=(client, server), daemon=True).start()
        while chunk := _received(server):
            if self.fault == "early":
                time.sleep(0.002)  # what the streams bring comes before the answer
            if self.fault == "version":
                chunk = chunk.replace(b"0.9.16", b"0.9.15")
            if self.fault == "mute" and self._broken(number):
                continue
            chunk = self._token.sub(lambda match: match[1] + self._our_port, chunk)
            if not _sent(client, chunk):
                break
        client.close()
        server.close()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        while (chunk := _received(source)) and _sent(target, chunk):
            pass
        for connection in (source, target):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _stream(self, client: socket.socket) -> None:
        connection = self.rpc_connections
        server = self._connect(self.server_port + 1)
        threading.Thread(target=self._copy, args=(client, server), daemon=True).start()
        file = server.makefile("rb")
        while len(head := file.read(4)) == 4:
            body = file.read(struct.unpack("<I", head)[0])
            if self.fault == "no_streams" and self._broken(connection):
                break
            if not all(_sent(client, struct.pack("<I", len(part)) + part) for part in self._messages(body)):
                break
        client.close()
        server.close()

    def _messages(self, body: bytes) -> list[bytes]:
        """What to send in place of a message."""
        kind, frame = struct.unpack_from("<QQ", body)
        if kind != CAMERA:
            if self.fault == "early" and kind == SNAPSHOT:
                time.sleep(0.002)
            return [body]
        self.images += 1
        now = self.images == AT
        dark = bytes(len(body) - 60)

        def numbered(number: int, pixels: bytes = body[60:]) -> bytes:
            return struct.pack("<QQ", kind, number) + body[16:60] + pixels

        if self.fault == "late" and self.images % 5 == 0:
            time.sleep(0.1)
        if self.fault == "twice":
            return [body, numbered(frame, dark)]
        if self.fault == "lie":  # beside the right one, others of frames that are over or not yet
            return [numbered(frame - 1, dark), numbered(frame + 3, dark), body]
        if not now:
            return [body]
        if self.fault == "wrong_frame":
            return [numbered(frame + 1)]
        if self.fault == "cut_short":
            return [body[:-500]]
        if self.fault == "too_late":
            time.sleep(TOO_LATE_S)
        if self.fault in ("no_streams", "mute"):
            self._go_wrong()
        return [body] if self.fault != "no_streams" else []


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


def _sent(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    proxy = Proxy(int(sys.argv[1]), sys.argv[2])
    assert proxy.fault in (*HARMLESS, *ONCE, "version")
    print(proxy.rpc.getsockname()[1], flush=True)
    threading.Thread(target=proxy.serve, daemon=True).start()
    sys.stdin.read()  # ends with whoever started it
