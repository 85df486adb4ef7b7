"""A session with a CARLA server: one vehicle, its camera and its collision sensor, ticked by us alone.

What a call returns belongs to the frame of its last tick: an image of another frame is dropped, a missing one
is an error after a deadline. Everything that goes wrong is a SimulatorError, a ServerFault where a new server may
help; after one, a session can only be closed.
"""

from __future__ import annotations

import atexit
import math
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import carla

from clipdrive.params import CameraParams, VehicleParams
from clipdrive.simulator.claims import Claim
from clipdrive.simulator.connection import (
    connect,
    destroy_leftovers,
    make_synchronous,
    restore_settings,
    settings_of,
)
from clipdrive.simulator.deadlines import Deadlines, deadlines_for
from clipdrive.simulator.errors import ServerFault, SimulatorError
from clipdrive.simulator.process import ServerProcess
from clipdrive.simulator.reading import Reading, reading_of
from clipdrive.simulator.sensors import Camera, CollisionSensor
from clipdrive.simulator.signals import sigterm_as_exit
from clipdrive.simulator.weather import weather_parameters
from clipdrive.tracks.route import Pose
from clipdrive.tracks.track import Track

ROLE_NAME = "clipdrive"
TIME_OUT = re.compile("time-out|failed to connect")  # what the client's errors say when the server is silent
SPAWN_TRIES = 20
SPAWN_LIFT_M = 0.5
REAL_RESET_LIFT_M = 0.05  # the road that is drawn lies a little off the road that OpenDRIVE describes


class Session:
    """Drive one vehicle on the server at `address`, (host, port); a context manager.

    `server` is the bundled server's process where there is one: its last words go into error messages, and it
    is stopped when the session closes if `owns_server`. Without it the server is taken for a real one, which
    gets its settings back; `claim`, where given, is the right to drive it and remembers them.
    """

    def __init__(
        self,
        address: tuple[str, int],
        camera: CameraParams,
        vehicle: VehicleParams,
        *,
        verge_m: float,
        wall_height_m: float,
        server: ServerProcess | None = None,
        owns_server: bool = False,
        claim: Claim | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        self.address = address
        self._camera_params, self._vehicle_params = camera, vehicle
        self._verge_m, self._wall_height_m = verge_m, wall_height_m
        self._server, self._owns_server, self._claim = server, owns_server, claim
        self._deadlines = deadlines or deadlines_for(real=server is None)
        self.full_steer_rad: float | None = None  # the front wheels at steer = 1, where a real server told it
        self.fault: str | None = None  # what the server did wrong, in words
        self._healthy = False
        self._client: carla.Client | None = None
        self._world: carla.World | None = None
        self._settings_before: dict[str, Any] | None = None
        self._vehicle: carla.Vehicle | None = None
        self._camera: Camera | None = None
        self._collisions: CollisionSensor | None = None
        self._loaded: str | None = None
        self._town: str | None = None  # that the world is, with nothing of ours in it
        self._weather: str | None = None  # that was set, and what the world had before
        self._weather_before: carla.WeatherParameters | None = None
        self._sigterm = ExitStack()

    # life

    def __enter__(self) -> Session:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> Session:
        """Connect, unless connected already; raises SimulatorError, and is closed then."""
        if self._client is None:
            self._sigterm.enter_context(sigterm_as_exit())
            atexit.register(self.close)  # a sensor that listens while the interpreter goes may abort it
            try:
                self._connect()
            except BaseException:
                self.close()
                raise
        return self

    def close(self) -> None:
        """Remove our actors, give the server its settings back, stop it if it is ours; may be repeated."""
        try:
            self._remove_actors()
            self._restore_settings()
        finally:
            self._healthy = False
            self._world = self._client = self._settings_before = None
            if self._server is not None and self._owns_server:
                self._server.stop(at_once=self.fault is not None)
            self._sigterm.close()
            atexit.unregister(self.close)

    def _connect(self) -> None:
        self._client = connect(self.address, self._deadlines.connect_s, self._server)
        with self._errors("opening the world", self._deadlines.load_s):
            self._world = self._client.get_world()
            self._healthy = True
            found = settings_of(self._world)
            self._settings_before = self._claim.settings_before(found) if self._claim else found
            make_synchronous(self._world, self._vehicle_params.step_s)
            destroy_leftovers(self._client, self._world, ROLE_NAME)

    def _remove_actors(self) -> None:
        sensors = [holder.sensor for holder in (self._camera, self._collisions) if holder is not None]
        actors = [*sensors, *([self._vehicle] if self._vehicle is not None else [])]
        self._vehicle = self._camera = self._collisions = self._loaded = None
        for sensor in sensors:
            sensor.stop()  # closes its stream, asks the server nothing
        if actors and self._healthy:
            self._while_it_lives(
                lambda: self._client.apply_batch_sync([carla.command.DestroyActor(actor.id) for actor in actors])
            )

    def _restore_settings(self) -> None:
        if self._server is None and self._healthy and self._settings_before is not None:
            self._while_it_lives(lambda: restore_settings(self._world, self._settings_before))
            if self._claim is not None and self._healthy:
                self._claim.settings_are_back()

    def _while_it_lives(self, act) -> None:
        try:
            act()
        except RuntimeError:
            self._healthy = False  # the server has died: nothing is left there to put in order

    # tracks

    def opendrive_of_town(self, name: str) -> str:
        """The OpenDRIVE text of a town that the server has; loads the town."""
        with self._errors(f"loading the map {name}", self._deadlines.load_s):
            self._remove_actors()
            self._world = self._client.load_world(name, False)
            self._town = name
            make_synchronous(self._world, self._vehicle_params.step_s)
            return self._world.get_map().to_opendrive()

    def load(self, track: Track) -> None:
        """Make `track` the world, with the vehicle and its sensors on it, unless it is that already."""
        if self._loaded == track.name:
            return
        with self._errors(f"loading the track {track.name}", self._deadlines.load_s):
            self._remove_actors()
            self._world = self._load_world(track)
            make_synchronous(self._world, self._vehicle_params.step_s)
        with self._errors(f"spawning the vehicle on {track.name}", self._deadlines.load_s):
            self._vehicle = self._spawn_vehicle(track)
            if self._server is None:
                wheels = self._vehicle.get_physics_control().wheels
                self.full_steer_rad = math.radians(max(wheel.max_steer_angle for wheel in wheels))
            self._camera = Camera(self._world, self._vehicle, self._camera_params, ROLE_NAME)
            self._collisions = CollisionSensor(self._world, self._vehicle, ROLE_NAME)
            self._wait_for_first_image()
        self._loaded = track.name

    def _load_world(self, track: Track) -> carla.World:
        self._weather = self._weather_before = None
        town, self._town = self._town, None
        if track.is_town and track.map_name == town:
            return self._world  # every load takes memory of a real server
        if track.is_town:
            return self._client.load_world(track.map_name, False)
        shape = carla.OpendriveGenerationParameters(wall_height=self._wall_height_m, additional_width=self._verge_m)
        return self._client.generate_opendrive_world(track.xodr, shape, False)

    def _spawn_vehicle(self, track: Track) -> carla.Vehicle:
        deadline = time.monotonic() + self._deadlines.load_s
        name = self._vehicle_params.blueprint
        try:
            blueprint = self._world.get_blueprint_library().find(name)
        except IndexError as error:
            raise SimulatorError(
                f"vehicle.blueprint: got {name!r}, which the server has not; "
                "allowed: one of its vehicles, such as vehicle.tesla.model3"
            ) from error
        blueprint.set_attribute("role_name", ROLE_NAME)
        if blueprint.has_attribute("sticky_control"):
            # A sticky one is not sent again while it is the same, and the client does not see what reset()
            # sends in a batch. So a control holds for one tick.
            blueprint.set_attribute("sticky_control", "false")
        route = track.route_forward
        for attempt in range(SPAWN_TRIES):
            place = _transform(route.pose(route.length_m * attempt / SPAWN_TRIES), SPAWN_LIFT_M)
            if (vehicle := self._world.try_spawn_actor(blueprint, place)) is not None:
                return vehicle
            if time.monotonic() >= deadline:  # None stands for a server that is silent, too
                raise self._error(f"spawning the vehicle: no answer in {self._deadlines.load_s:g} s")
        raise SimulatorError(f"{track.name}: the server refused to spawn {name} at each of {SPAWN_TRIES} places")

    def _wait_for_first_image(self) -> None:
        """Tick until the camera's stream runs: a server need not wait for the client to subscribe."""
        for _ in range(SPAWN_TRIES):
            frame = self._world.tick(self._deadlines.load_s)
            if self._camera.image(frame, self._deadlines.image_s / SPAWN_TRIES) is not None:
                return
        raise self._error(f"the camera sent no image in {self._deadlines.image_s:g} s")

    def set_weather(self, weather: str | None) -> None:
        """Make the loaded world's weather that (in the words of `clipdrive.weather`), or what it was without us."""
        if weather == self._weather:
            return
        with self._errors("setting the weather"):
            if self._weather_before is None:
                self._weather_before = self._world.get_weather()
            self._world.set_weather(self._weather_before if weather is None else weather_parameters(weather))
        self._weather = weather

    # driving

    def reset(self, pose: Pose, speed_mps: float = 0.0) -> Reading:
        """Begin an episode: the vehicle at `pose`, moving along its heading, all else about it forgotten."""
        vehicle = self._loaded_vehicle()
        place = _transform(pose, REAL_RESET_LIFT_M if self._server is None else 0.0)
        ahead = place.get_forward_vector()
        velocity = carla.Vector3D(ahead.x * speed_mps, ahead.y * speed_mps, ahead.z * speed_mps)
        command = carla.command
        commands = [
            command.SetSimulatePhysics(vehicle, False),
            command.ApplyTransform(vehicle, place),
            command.SetSimulatePhysics(vehicle, True),
            command.ApplyTargetVelocity(vehicle, velocity),
            command.ApplyTargetAngularVelocity(vehicle, carla.Vector3D()),
            command.ApplyVehicleControl(vehicle, carla.VehicleControl()),
        ]
        with self._errors("beginning an episode"):
            for response in self._client.apply_batch_sync(commands, False):
                if response.error:
                    raise self._error(f"beginning an episode: {response.error}")
            frame, state = self._tick()
            self._collisions.heard(frame, state, self._deadlines.collision_s)
            self._collisions.begin_episode(frame)
            return self._reading(frame, state, collision=False)

    def step(self, throttle: float, steer: float, brake: float, repeat: int = 1) -> Reading:
        """Hold throttle and brake in [0, 1] and steer in [-1, 1], right positive, for `repeat` ticks."""
        vehicle = self._loaded_vehicle()
        with self._errors("driving"):
            control = carla.VehicleControl(throttle=throttle, steer=steer, brake=brake)
            collision = False
            for _ in range(repeat):
                vehicle.apply_control(control)
                frame, state = self._tick()
                collision |= self._collisions.heard(frame, state, self._deadlines.collision_s)
            return self._reading(frame, state, collision)

    def _loaded_vehicle(self) -> carla.Vehicle:
        if self._vehicle is None or not self._healthy:
            raise SimulatorError("the session has no vehicle; allowed: load(track) before reset, reset before step")
        return self._vehicle

    def _tick(self) -> tuple[int, carla.ActorSnapshot]:
        self._camera.forget()
        frame = self._world.tick(self._deadlines.call_s)
        snapshot = self._world.get_snapshot()
        if snapshot.frame != frame:
            raise self._error(f"the world shows frame {snapshot.frame} in place of {frame}")
        state = snapshot.find(self._vehicle.id)
        if state is None:
            raise self._error(f"the vehicle is gone in frame {frame}")
        return frame, state

    def _reading(self, frame: int, state: carla.ActorSnapshot, collision: bool) -> Reading:
        image = self._camera.image(frame, self._deadlines.image_s)
        if image is None:
            raise self._error(f"the camera sent no image of frame {frame} in {self._deadlines.image_s:g} s")
        return reading_of(frame, image, state, collision)

    # errors

    @contextmanager
    def _errors(self, doing: str, within_s: float | None = None) -> Iterator[None]:
        """Turn the client's RuntimeErrors into SimulatorErrors that say where, and what we were doing."""
        self._client.set_timeout(within_s or self._deadlines.call_s)
        try:
            yield
        except SimulatorError as error:
            self._fail(error)
            raise
        except RuntimeError as error:
            failure = self._error(f"{doing}: {error}")
            if within_s is not None and not TIME_OUT.search(str(error)) and not self._ended:
                failure = SimulatorError(str(failure))  # it answered: it has not what it was asked for
            self._fail(failure)
            raise failure from error

    def _fail(self, error: SimulatorError) -> None:
        self._healthy = False
        if isinstance(error, ServerFault):
            self.fault = str(error)

    @property
    def _ended(self) -> bool:
        return self._server is not None and not self._server.running

    def _error(self, what: str) -> ServerFault:
        host, port = self.address
        end = f"; {self._server.describe_end()}" if self._ended else ""
        return ServerFault(f"the CARLA server at {host}:{port}: {what}{end}")


def _transform(pose: Pose, lift_m: float) -> carla.Transform:
    return carla.Transform(
        carla.Location(x=pose.x_m, y=pose.y_m, z=pose.z_m + lift_m),
        carla.Rotation(pitch=math.degrees(pose.pitch_rad), yaw=math.degrees(pose.yaw_rad)),
    )
