"""The server: two ports, one world, and when it ticks."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from clipdrive.carla_server import values, wire
from clipdrive.carla_server.actor_methods import ActorMethods
from clipdrive.carla_server.commands import Batch
from clipdrive.carla_server.crew import Job
from clipdrive.carla_server.listening import ListenError
from clipdrive.carla_server.maps import MapLibrary
from clipdrive.carla_server.network import READ, EventLoop
from clipdrive.carla_server.rpc import Method, Reply, RpcConnection, RpcError, RpcServer
from clipdrive.carla_server.streams import StreamConnection, StreamServer
from clipdrive.carla_server.world import World
from clipdrive.carla_server.world_methods import WorldMethods

log = logging.getLogger(__name__)

FIRST_MAP = "circuit_1"
WALL_CLOCK_STEP_S = 1.0 / 30.0  # between the ticks of an asynchronous world without a fixed step
LONGEST_STEP_S = 0.1
PARENT_CHECK_S = 1.0
SHOWN_AT_ONCE = ("spawn_actor", "spawn_actor_with_parent", "destroy_actor", "apply_batch")


@dataclass(frozen=True)
class ServerOptions:
    """What the command line sets."""

    host: str = "127.0.0.1"
    port: int = 2000
    map_name: str | None = None  # loaded at once where given; otherwise circuit_1, when a client needs it
    map_folders: tuple[Path, ...] = ()
    parent_id: int | None = None  # process id of the parent, where the server shall end with it
    constant_image: bool = False


class Server:
    """Listens at once; `run` serves until a signal, or the parent's end where that was asked for.

    Raises ListenError where a port cannot be had, RpcError where the map cannot.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.loop = EventLoop()
        self.rpc = RpcServer(self.loop, options.host, options.port)
        self.streams = _stream_server(self.loop, options.host, self.rpc.port)
        maps = MapLibrary(options.map_folders)
        if options.map_name is not None:
            maps.load(options.map_name)
        self.world = World(maps, self.streams, options.map_name or FIRST_MAP, options.constant_image)
        actor_methods = ActorMethods(self.world)
        self.rpc.methods = {
            **WorldMethods(self.world).table(),
            **actor_methods.table(),
            "apply_batch": Method(Batch(actor_methods).run, Reply.BARE),
            "tick_cue": Method(self._tick_cue, Reply.LATER),
            "get_sensor_token": Method(self._sensor_token, Reply.LATER),
        }
        for name in SHOWN_AT_ONCE:
            self.rpc.methods[name] = self._shown_at_once(self.rpc.methods[name])
        self.streams.on_subscribe = self._subscribed
        self.loop.next_timer, self.loop.on_timer = self._next_timer, self._on_timer
        self.held: list[tuple[RpcConnection, int]] = []  # ticks that wait for a subscription
        self.last_tick_s = self.next_tick_s = time.monotonic()
        self.parent_check_s: float | None = None
        self.parent_id = options.parent_id
        if self.parent_id is not None:
            self._watch_parent()

    @property
    def port(self) -> int:
        return self.rpc.port

    def run(self) -> None:
        """Serve until told to stop."""
        gc.freeze()
        gc.set_threshold(50_000, 50, 50)  # ticks leave no cycles behind; full collections only cost time
        self.loop.stop_on_signals()
        self.loop.run()

    def close(self) -> None:
        """Close every socket; for a server that is not run."""
        for listener in (self.rpc.listener, self.streams.listener):
            listener.close()
        self.loop.epoll.close()

    # ---- ticks ----

    def _tick_cue(self, connection: RpcConnection, message_id: int) -> bytes | None:
        if not self.world.settings.synchronous_mode:
            return wire.reply_value(message_id, self.world.frame + 1)
        if self.streams.awaited_until(connection) is not None:
            connection.wait()
            self.held.append((connection, message_id))
            return None
        self.world.tick()
        reply = wire.reply_value(message_id, self.world.frame)
        self._send_tick(lambda: connection.answer_now(reply))
        return None

    def _send_tick(self, answer: Job) -> None:
        """Send what a tick has to send, in the first of an episode the answer well before the rest.

        It is the one by which `load_world` looks for the new episode: a client that has the snapshot before it begins
        to wait for one waits in vain for 50 ms.
        """
        if self.world.is_first_tick and not self.world.undrawn:
            answer()
            self.loop.call_later(self.world.send_unsent)
        else:
            self.world.send(answer)

    def _release_held(self) -> None:
        held, self.held = self.held, []
        for connection, message_id in held:
            if connection.closed:
                continue
            if self.streams.awaited_until(connection) is not None:
                self.held.append((connection, message_id))
            else:
                self._tick_held(connection, message_id)

    def _sensor_token(self, connection: RpcConnection, message_id: int, stream_id: int) -> bytes:
        if not self.streams.has(stream_id):
            raise RpcError(f"no stream {values.shown(stream_id)}: its sensor is gone")
        return wire.reply_value(message_id, (self.streams.announce(stream_id, connection),))

    def _tick_held(self, connection: RpcConnection, message_id: int) -> None:
        if self._tick_safely():
            reply = wire.reply_value(message_id, self.world.frame)
            self._send_tick(lambda: connection.send(reply))
        else:
            connection.send(wire.reply_error(message_id, "the tick failed in the server"))
        connection.go_on()

    def _tick_safely(self, step_s: float | None = None) -> bool:
        try:
            self.world.tick(step_s)
        except Exception:  # a fault in one tick must not end the server
            log.exception("tick %d failed", self.world.frame)
            return False
        return True

    def _subscribed(self, connection: StreamConnection) -> None:
        if connection in self.streams.subscribers[self.world.stream_id]:
            connection.send(self.world.snapshot())  # the world is there without waiting for a tick
        self._release_held()

    def _ticks_by_itself(self) -> bool:
        return not self.world.settings.synchronous_mode and bool(self.rpc.listener.connections)

    def _next_timer(self) -> float | None:
        due = self.parent_check_s
        for connection, _ in self.held:
            until = self.streams.awaited_until(connection) or 0.0
            due = until if due is None else min(due, until)
        if self._ticks_by_itself():
            due = self.next_tick_s if due is None else min(due, self.next_tick_s)
        return due

    def _on_timer(self) -> None:
        now = time.monotonic()
        if self.held:
            self._release_held()
        if self._ticks_by_itself() and now >= self.next_tick_s:
            self._tick_by_clock(now)
        if self.parent_check_s is not None and now >= self.parent_check_s:
            self.parent_check_s = now + PARENT_CHECK_S
            if os.getppid() != self.parent_id:
                self.loop.stop()

    def _tick_by_clock(self, now: float) -> None:
        fixed = self.world.settings.fixed_delta_seconds
        elapsed = min(max(now - self.last_tick_s, 0.001), LONGEST_STEP_S)
        self.last_tick_s = now
        self.next_tick_s = max(min(self.next_tick_s, now) + (fixed or WALL_CLOCK_STEP_S), now)  # one may come early
        if self._tick_safely(elapsed):
            self.world.send()

    def _shown_at_once(self, method: Method) -> Method:
        """A method after which an asynchronous world ticks: its client finds what came or went in a snapshot.

        A CARLA server takes a frame for every such call; one that answers sooner would show a client actors that it
        has just destroyed, and none of those that it has just spawned.
        """

        @functools.wraps(method.function)
        def function(*arguments: object) -> object:
            result = method.function(*arguments)
            if self._ticks_by_itself():
                self._tick_by_clock(time.monotonic())
            return result

        return Method(function, method.reply)

    # ---- the parent ----

    def _watch_parent(self) -> None:
        self.parent_check_s = time.monotonic()
        try:
            self.loop.watch(sys.stdin, READ, self._read_stdin)
        except (OSError, ValueError):  # a file or no stdin at all: the parent's id has to do
            log.info("stdin cannot be watched")

    def _read_stdin(self, _mask: int) -> None:
        try:
            if os.read(sys.stdin.fileno(), 4096):
                return
        except OSError as error:
            log.info("stdin: %s", error)
        self.loop.stop()


def _stream_server(loop: EventLoop, host: str, rpc_port: int) -> StreamServer:
    try:
        return StreamServer(loop, host, rpc_port + 1)  # where a firewall or a reader of logs expects it
    except ListenError:
        return StreamServer(loop, host, 0)
