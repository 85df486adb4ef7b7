"""The unmodified carla package in a process of its own, which a malformed message would kill, for tests.

Run as a program it reads one JSON command a line and answers with what `carla` shows of what the server sent.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import subprocess
import sys
from typing import Any

WITHIN_S = 10.0


class Wheel:
    """The test's side: `ask("tick", events=2)` and so on, see the functions of `_Side`."""

    def __init__(self, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, name: str, **arguments: Any) -> Any:
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the client process ended with code {self.process.wait(5)}"
        answer = json.loads(line)
        assert not isinstance(answer, str), answer
        return answer

    def close(self) -> int:
        """End the process; returns its exit code."""
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            return self.process.wait(WITHIN_S)
        finally:
            self.process.kill()


class _Side:
    """The client's side; every method is a command."""

    def __init__(self, port: int) -> None:
        import carla

        self.carla = carla
        self.client = carla.Client("127.0.0.1", port)
        self.client.set_timeout(WITHIN_S)
        self.world = self.client.get_world()
        self.actors: dict[int, Any] = {}
        self.events: queue.Queue = queue.Queue()

    # ---- streams ----

    def spawn(self, type_id: str, parent: int | None, place: list[float]) -> list:
        blueprint = self.world.get_blueprint_library().find(type_id)
        transform = self.carla.Transform(self.carla.Location(*place))
        actor = self.world.spawn_actor(blueprint, transform, attach_to=self.actors.get(parent))
        self.actors[actor.id] = actor
        if type_id.startswith("sensor."):
            actor.listen(lambda data: self.events.put([actor.id, _measured(self.carla, data)]))
        return [actor.id]

    def tick(self, events: int) -> dict:
        frame = self.world.tick()
        seen = dict(self.events.get(timeout=WITHIN_S) for _ in range(events))
        snapshot = self.world.get_snapshot()
        stamp = snapshot.timestamp
        return {
            "answer": frame,
            "frame": snapshot.frame,
            "times": [stamp.elapsed_seconds, stamp.delta_seconds, stamp.platform_timestamp],
            "actors": {actor.id: _motion(actor) for actor in snapshot},
            "controls": {key: _control(actor) for key, actor in self.actors.items()},
            "events": {str(key): value for key, value in seen.items()},
        }

    # ---- calls ----

    def weather(self) -> list:
        return _fields(self.world.get_weather(), WEATHER)

    def settings(self) -> list:
        return _fields(self.world.get_settings(), SETTINGS)

    def blueprints(self) -> list:
        return [
            [blueprint.id, sorted(blueprint.tags), sorted(_attribute(item) for item in blueprint)]
            for blueprint in self.world.get_blueprint_library()
        ]

    def maps(self) -> list:
        return self.client.get_available_maps()

    def lights(self) -> list:
        return [[key, int(value)] for key, value in self.world.get_vehicles_light_states().items()]

    def physics(self, actor: int) -> list:
        control = self.actors[actor].get_physics_control()
        return [_plain(getattr(control, name)) for name in PHYSICS]

    def telemetry(self, actor: int) -> list:
        data = self.actors[actor].get_telemetry_data()
        return [*_fields(data, TELEMETRY), [_fields(wheel, WHEEL_TELEMETRY) for wheel in data.wheels]]

    def seen_actor(self, actor: int) -> list:
        seen = self.world.get_actor(actor)
        box = seen.bounding_box
        return [*_who(seen), [_xyz(box.location), _xyz(box.extent), _angles(box.rotation)]]

    def ground(self) -> list:
        carla = self.carla
        point = self.world.project_point(carla.Location(), carla.Vector3D(0.0, 0.0, -1.0), 1.0)
        return [None if point is None else [_xyz(point.location), int(point.label)]]


WEATHER = (
    "cloudiness", "precipitation", "precipitation_deposits", "wind_intensity", "sun_azimuth_angle",
    "sun_altitude_angle", "fog_density", "fog_distance", "fog_falloff", "wetness", "scattering_intensity",
    "mie_scattering_scale", "rayleigh_scattering_scale", "dust_storm",
)  # fmt: skip
SETTINGS = (
    "synchronous_mode", "no_rendering_mode", "fixed_delta_seconds", "substepping", "max_substep_delta_time",
    "max_substeps", "max_culling_distance", "deterministic_ragdolls", "tile_stream_distance",
    "actor_active_distance", "spectator_as_ego",
)  # fmt: skip
PHYSICS = (
    "torque_curve", "max_rpm", "moi", "damping_rate_full_throttle",
    "damping_rate_zero_throttle_clutch_engaged", "damping_rate_zero_throttle_clutch_disengaged",
    "use_gear_autobox", "gear_switch_time", "clutch_strength", "final_ratio", "forward_gears", "mass",
    "drag_coefficient", "center_of_mass", "steering_curve", "wheels", "use_sweep_wheel_collision",
)  # fmt: skip
WHEEL = (
    "tire_friction", "damping_rate", "max_steer_angle", "radius", "max_brake_torque", "max_handbrake_torque",
    "lat_stiff_max_load", "lat_stiff_value", "long_stiff_value", "position",
)  # fmt: skip
TELEMETRY = ("speed", "steer", "throttle", "brake", "engine_rpm", "gear", "drag")
WHEEL_TELEMETRY = (
    "tire_friction", "lat_slip", "long_slip", "omega", "tire_load", "normalized_tire_load", "lat_force",
    "long_force", "normalized_lat_force", "normalized_long_force",
)  # fmt: skip
VEHICLE_CONTROL = ("throttle", "steer", "brake", "hand_brake", "reverse", "manual_gear_shift", "gear")


def _fields(thing: Any, names: tuple[str, ...]) -> list:
    return [getattr(thing, name) for name in names]


def _plain(value: Any) -> Any:
    """Nested lists of the structs of a VehiclePhysicsControl."""
    for names in (WHEEL, ("ratio", "down_ratio", "up_ratio"), ("x", "y", "z"), ("x", "y")):
        if hasattr(value, names[0]) and hasattr(value, names[-1]):
            return [_plain(getattr(value, name)) for name in names]
    if isinstance(value, (bool, int, float)):
        return value
    return [_plain(item) for item in value]


def _xyz(vector: Any) -> list[float]:
    return [vector.x, vector.y, vector.z]


def _angles(rotation: Any) -> list[float]:
    return [rotation.pitch, rotation.yaw, rotation.roll]


def _pose(transform: Any) -> list[float]:
    return [*_xyz(transform.location), *_angles(transform.rotation)]


def _motion(actor: Any) -> list[float]:
    vectors = (actor.get_velocity(), actor.get_angular_velocity(), actor.get_acceleration())
    return [*_pose(actor.get_transform()), *(part for vector in vectors for part in _xyz(vector))]


def _control(actor: Any) -> list:
    if actor.type_id.startswith("vehicle."):
        light = str(actor.get_traffic_light_state())
        return [*_fields(actor.get_control(), VEHICLE_CONTROL), actor.get_speed_limit(), light]
    if actor.type_id.startswith("walker."):
        control = actor.get_control()
        return [*_xyz(control.direction), control.speed, control.jump]
    return []


def _attribute(item: Any) -> list:
    convert = {"Bool": bool, "Int": int, "Float": float}
    convert.update(String=lambda a: a.as_str(), RGBColor=lambda a: _color(a.as_color()))
    kind = str(item.type)
    return [item.id, kind, convert[kind](item), item.is_modifiable, len(item.recommended_values) > 0]


def _color(color: Any) -> list[int]:
    return [color.r, color.g, color.b]


def _measured(carla: Any, data: Any) -> list:
    head = [type(data).__name__, data.frame, data.timestamp, _pose(data.transform)]
    if isinstance(data, carla.Image):
        digest = hashlib.sha256(bytes(data.raw_data)).hexdigest()
        return [*head, data.width, data.height, data.fov, digest]
    if isinstance(data, carla.IMUMeasurement):
        return [*head, *_xyz(data.accelerometer), *_xyz(data.gyroscope), data.compass]
    if isinstance(data, carla.GnssMeasurement):
        return [*head, data.latitude, data.longitude, data.altitude]
    if isinstance(data, carla.LidarMeasurement):
        points = [[*_xyz(item.point), item.intensity] for item in data]
        return [*head, data.horizontal_angle, [data.get_point_count(i) for i in range(data.channels)], points]
    if isinstance(data, carla.SemanticLidarMeasurement):
        points = [[*_xyz(item.point), item.cos_inc_angle, item.object_idx, item.object_tag] for item in data]
        return [*head, data.horizontal_angle, [data.get_point_count(i) for i in range(data.channels)], points]
    if isinstance(data, carla.RadarMeasurement):
        return [*head, [_fields(item, ("velocity", "azimuth", "altitude", "depth")) for item in data]]
    pair = [_who(data.actor), _who(data.other_actor)]
    if isinstance(data, carla.CollisionEvent):
        return [*head, *pair, _xyz(data.normal_impulse)]
    return [*head, *pair, data.distance]


def _who(actor: Any) -> list:
    return [actor.id, actor.type_id, sorted(actor.attributes.items()), list(actor.semantic_tags)]


def _serve(port: int) -> None:
    side = _Side(port)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = getattr(side, name)(**arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)
    for actor in side.actors.values():
        if actor.type_id.startswith("sensor."):
            actor.stop()
    os._exit(0)  # the package now and then aborts at an ordinary exit while actors of its are alive


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
