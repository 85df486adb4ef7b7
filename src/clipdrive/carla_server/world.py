"""The simulated world: episode, map, settings, actors, and what one tick does."""

from __future__ import annotations

import logging
import time
from functools import partial

from clipdrive.carla_server import contacts, wire
from clipdrive.carla_server.actors import Actor, DrawnBox, Solid, boxes_overlap
from clipdrive.carla_server.blueprints import AI_CONTROLLER, LIBRARY, SPECTATOR
from clipdrive.carla_server.crew import Crew, Job
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.maps import MapLibrary, WorldMap
from clipdrive.carla_server.range_sensors import RANGE_SENSORS
from clipdrive.carla_server.rpc import RpcError
from clipdrive.carla_server.scene import Scene, unseen_mounts
from clipdrive.carla_server.sensors import GRAVITY_MPS2, SENSORS, CameraSensor, Sensor
from clipdrive.carla_server.settings import CLEAR_NOON, DEFAULT_STEP_S, EpisodeSettings
from clipdrive.carla_server.streams import StreamServer
from clipdrive.carla_server.tick_end import TickEnd
from clipdrive.carla_server.vehicle_actor import Vehicle
from clipdrive.carla_server.walker import Walker
from clipdrive.carla_server.wire import Pose

log = logging.getLogger(__name__)

MAX_ACTORS = 10_000
MAX_PIXELS = 2**25  # of all cameras together; a pixel takes a dozen bytes for as long as its camera lives
NO_AI_WALKERS = (
    "controller.ai.walker is not supported by clipdrive's CARLA server, which has no navigation mesh: "
    "move walkers by WalkerControl"
)
SPECTATOR_POSE = (0.0, 0.0, 50.0, -90.0, 0.0, 0.0)
KINDS: dict[str, type[Solid]] = {"vehicle": Vehicle, "walker": Walker, "static": Solid}  # by the first word of the id


class World:
    """Everything a client can see; one episode at a time.

    maps: where maps come from; streams: where measurements go; map_name: the first map, made when first needed
    (a client may load another one at once); constant_image: cameras send black pixels, to measure the wire alone.
    """

    def __init__(self, maps: MapLibrary, streams: StreamServer, map_name: str, constant_image: bool = False) -> None:
        self.maps = maps
        self.streams = streams
        self.constant_image = constant_image
        self.crew = Crew()
        self.stream_id = streams.open()
        self.frame = 1
        self.elapsed_s = 0.0
        self.last_step_s = 0.0
        self.episode_id = 0
        self.settings = EpisodeSettings()
        self.weather = CLEAR_NOON
        self.gravity_mps2 = GRAVITY_MPS2  # as the IMU feels it
        self.map_changed = True
        self.map_name = map_name
        self._map: WorldMap | None = None
        self._next_id = 1
        self.actors: dict[int, Actor] = {}
        self.solids: dict[int, Solid] = {}  # vehicles, walkers and props
        self.vehicles: dict[int, Vehicle] = {}
        self.walkers: dict[int, Walker] = {}
        self.sensors: list[Sensor] = []
        self._begin_episode()

    # ---- episodes ----

    @property
    def map(self) -> WorldMap:
        """The loaded map; raises RpcError where the first map cannot be made."""
        if self._map is None:
            self._map = self.maps.load(self.map_name)
        return self._map

    @property
    def ground(self) -> GroundMap:
        return self.map.ground

    def load(self, name: str, reset_settings: bool) -> None:
        """Begin a new episode on the map of that name, on the same map for ""; raises RpcError."""
        new_map = self.maps.load(name) if name else self.map
        self._map = new_map
        if reset_settings:
            self.settings = EpisodeSettings()
        self.stream_id = self.streams.renew(self.stream_id)
        self._begin_episode()
        log.info("episode %d on %s", self.episode_id, self._map.name)

    def _begin_episode(self) -> None:
        for actor in self.actors.values():
            if actor.stream_id is not None:
                self.streams.shut(actor.stream_id)
        self.actors, self.solids, self.vehicles, self.walkers, self.sensors = {}, {}, {}, {}, []
        self.news = b""  # the snapshot of the last tick, where it is still to be sent
        self.news_of_map: bytes | None = None  # the same, for clients that know of the map before only
        self.scene: Scene | None = None  # what all cameras of a tick see
        self.undrawn: list[CameraSensor] = []  # cameras whose image of the last tick is still to be sent
        self.episode_id += 1
        self.map_changed = True
        self.weather = CLEAR_NOON
        self.spectator = Actor(self._new_id(), SPECTATOR, SPECTATOR.values({}), SPECTATOR_POSE)
        self.actors[self.spectator.id] = self.spectator

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    # ---- actors ----

    def spawn(self, type_id: str, attributes: dict[str, str], pose: Pose, parent_id: int = 0) -> Actor:
        """Put an actor into the world, mounted on a parent where one is given; raises RpcError."""
        blueprint = LIBRARY.get(type_id)
        if blueprint is None:
            raise RpcError(f"Spawn failed because of invalid actor description: no blueprint {type_id:.80}")
        if type_id == AI_CONTROLLER:
            raise RpcError(NO_AI_WALKERS)
        if len(self.actors) >= MAX_ACTORS:
            raise RpcError(f"Spawn failed: the world holds {MAX_ACTORS} actors")
        parent = self.actor(parent_id) if parent_id else None
        make = SENSORS.get(type_id) or RANGE_SENSORS.get(type_id) or KINDS[type_id.split(".", 1)[0]]
        actor = make(self._next_id, blueprint, blueprint.values(attributes), pose)
        if parent is not None:
            actor.attach(parent, pose)
        if isinstance(actor, Solid) and any(self._in_the_way(actor, other) for other in self.solids.values()):
            raise RpcError("Spawn failed because of collision at spawn position")
        if isinstance(actor, CameraSensor):
            self._check_pixels(actor)
        self._add(actor)
        log.info("actor %d is a %s", actor.id, type_id)
        return actor

    def _check_pixels(self, camera: CameraSensor) -> None:
        others = [sensor for sensor in self.sensors if isinstance(sensor, CameraSensor)]
        pixels = sum(sensor.width * sensor.height for sensor in (*others, camera))
        if pixels > MAX_PIXELS:
            raise RpcError(f"Spawn failed: all cameras have {pixels} pixels together, allowed are {MAX_PIXELS}")

    def _in_the_way(self, actor: Solid, other: Solid) -> bool:
        """Tell whether `actor` cannot be put where `other` is; props may lie on each other."""
        if other is actor.parent or not other.collides or (type(actor) is Solid and type(other) is Solid):
            return False
        return boxes_overlap(actor, other)

    def _add(self, actor: Actor) -> None:
        self._new_id()
        self.actors[actor.id] = actor
        if isinstance(actor, Solid):
            self.solids[actor.id] = actor
        if isinstance(actor, Vehicle):
            self.vehicles[actor.id] = actor
        elif isinstance(actor, Walker):
            self.walkers[actor.id] = actor
        elif isinstance(actor, Sensor):
            actor.stream_id = self.streams.open()
            self.sensors.append(actor)
            self.sensors.sort(key=lambda sensor: sensor.order)

    def destroy(self, actor_id: int) -> bool:
        """Remove an actor; what was mounted on it stays where it is. False where there is none."""
        actor = self.actors.get(actor_id)
        if actor is None or actor is self.spectator:
            return False
        del self.actors[actor_id]
        for kind in (self.solids, self.vehicles, self.walkers):
            kind.pop(actor_id, None)
        if actor.stream_id is not None:
            self.streams.shut(actor.stream_id)
            self.sensors.remove(actor)
        for other in self.actors.values():
            if other.parent is actor:
                other.detach()
        log.info("actor %d destroyed", actor_id)
        return True

    def actor(self, actor_id: int) -> Actor:
        """Return the actor of that id; raises RpcError."""
        actor = self.actors.get(actor_id)
        if actor is None:
            raise RpcError(f"actor {actor_id} not found")
        return actor

    def vehicle(self, actor_id: int) -> Vehicle:
        """Return the vehicle of that id; raises RpcError."""
        vehicle = self.vehicles.get(actor_id)
        if vehicle is None:
            raise RpcError(f"vehicle {actor_id} not found")
        return vehicle

    def walker(self, actor_id: int) -> Walker:
        """Return the walker of that id; raises RpcError."""
        walker = self.walkers.get(actor_id)
        if walker is None:
            raise RpcError(f"walker {actor_id} not found")
        return walker

    def solid(self, actor_id: int) -> Solid:
        """Return the vehicle, walker or prop of that id; raises RpcError."""
        solid = self.solids.get(actor_id)
        if solid is None:
            raise RpcError(f"vehicle, walker or prop {actor_id} not found")
        return solid

    def drawn_boxes(self, viewer: Actor | None = None) -> list[DrawnBox]:
        """Return the boxes of all vehicles, walkers and props that `viewer` sees."""
        unseen = unseen_mounts(viewer) if viewer is not None else ()
        return [solid.drawn() for solid in self.solids.values() if solid.id not in unseen]

    def actor_to_wire(self, actor: Actor) -> tuple:
        """Return the Actor struct with its stream's token."""
        return actor.to_wire(b"" if actor.stream_id is None else self.streams.token(actor.stream_id))

    # ---- time ----

    def tick(self, step_s: float | None = None) -> None:
        """Go one step on and send what was measured; `send` sends the snapshot and the images.

        step_s: for a world without a fixed step; a fixed step goes before.
        """
        self.send_unsent()
        self.undrawn = []
        step_s = self.settings.fixed_delta_seconds or step_s or DEFAULT_STEP_S
        self.frame += 1
        self.elapsed_s += step_s
        self.last_step_s = step_s
        if self.solids:
            self._move(step_s)
        for actor in self.actors.values():
            if actor.parent is not None:
                actor.follow()
        for sensor in self.sensors:
            if sensor.is_due(self.elapsed_s) and self.streams.has_listener(sensor.stream_id):
                if isinstance(sensor, CameraSensor):
                    self.undrawn.append(sensor)
                else:
                    sensor.publish(self)
        self.news = self.snapshot()
        self.news_of_map = self.snapshot(map_changed=True) if self.map_changed else None
        self.map_changed = False

    @property
    def is_first_tick(self) -> bool:
        """Whether the last tick was the first of its episode."""
        return self.news_of_map is not None

    def send_unsent(self) -> None:
        """Send the last tick if that has not been done."""
        if self.news:
            self.send()

    def _move(self, step_s: float) -> None:
        ground = self.ground
        for solid in self.solids.values():
            solid.step(ground, step_s)
        if len(self.solids) > 1:
            contacts.settle(self.solids.values())

    def send(self, answer: Job = lambda: None) -> None:
        """Send the snapshot of the last tick, call `answer`, which sends the tick's answer, and send the images."""
        cameras, self.undrawn = self.undrawn, []
        news, self.news = self.news, b""
        first = (partial(self.streams.publish, self.stream_id, news, earlier=self.news_of_map), answer)
        end = TickEnd(self.crew, self.streams, first, self._image, self.constant_image)
        end.send(cameras if self._prepare_scene(cameras) else ())

    def _image(self, camera: CameraSensor) -> tuple[bytes, bytes | memoryview]:
        return camera.image(self)

    def _prepare_scene(self, cameras: list[CameraSensor]) -> bool:
        """Set what these cameras see; False where there is nothing to draw."""
        if not cameras:
            return False
        try:
            self.scene = Scene.of(self.ground, self.solids, self.weather, cameras)
        except Exception:  # no reason to leave the client without its answer
            log.exception("the images of tick %d failed", self.frame)
            return False
        return True

    def snapshot(self, map_changed: bool = False) -> bytes:
        """Return the world snapshot message of the current frame, every actor in it.

        A client that is told of a change of the map asks for the lights, from the thread that reads the stream: if it
        lets go of its world meanwhile, it hangs or aborts. So no client is told that has come since the change.
        """
        return wire.snapshot(
            self.frame, self.elapsed_s, self.episode_id, time.time(),
            self.settings.fixed_delta_seconds or self.last_step_s or DEFAULT_STEP_S,
            wire.MAP_CHANGED if map_changed else 0,
            [actor.record() for actor in self.actors.values()],
        )  # fmt: skip
