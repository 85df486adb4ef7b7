"""The blueprint library: what can be spawned and with which attributes, named as CARLA 0.9.16 names them."""

from __future__ import annotations

from dataclasses import dataclass

from clipdrive.carla_server.catalogue import (
    PROPS,
    RUNNING_MPS,
    VEHICLES,
    WALKERS,
    WALKING_MPS,
    Body,
    VehicleModel,
    WalkerModel,
)
from clipdrive.carla_server.rpc import RpcError
from clipdrive.carla_server.wire import FLOAT32_MAX

BOOL, INT, FLOAT, STRING, COLOR = 1, 2, 3, 4, 5  # types of an attribute on the wire


@dataclass(frozen=True)
class Attribute:
    """One attribute of a blueprint; values are texts, as on the wire."""

    id: str
    type: int
    value: str
    recommended: tuple[str, ...] = ()
    modifiable: bool = True
    restricted: bool = False

    def to_wire(self) -> tuple:
        return self.id, self.type, self.value, self.recommended, self.modifiable, self.restricted


@dataclass(frozen=True)
class Blueprint:
    """Something that can be spawned; `body` is that of a vehicle, a prop or a walker."""

    uid: int
    id: str
    attributes: tuple[Attribute, ...]
    body: Body | None = None

    def to_wire(self) -> tuple:
        tags = ",".join(self.id.split("."))
        return self.uid, self.id, tags, tuple(attribute.to_wire() for attribute in self.attributes)

    def values(self, given: dict[str, str]) -> dict[str, str]:
        """Return the value of every attribute, `given` before the defaults where it may be changed.

        Raises RpcError where a number, a bool or a colour is none: a client that reads it would fail on all actors.
        """
        chosen = {}
        for attribute in self.attributes:
            value = given.get(attribute.id, attribute.value) if attribute.modifiable else attribute.value
            is_one, expected = _KINDS.get(attribute.type, (None, ""))
            if is_one is not None and not is_one(value):
                raise RpcError(f"{self.id}: {attribute.id} is {value!r:.40}, expected {expected}")
            chosen[attribute.id] = value
        return chosen


def _is_number(value: str) -> bool:
    try:
        return not abs(float(value)) > FLOAT32_MAX
    except ValueError:
        return False


def _is_bool(value: str) -> bool:
    return value.lower() in ("true", "false")


def _is_color(value: str) -> bool:
    parts = value.split(",")
    return len(parts) == 3 and all(p.strip().isascii() and p.strip().isdigit() and int(p) < 256 for p in parts)


_NUMBER = (_is_number, "a number that is a float32")
_KINDS = {INT: _NUMBER, FLOAT: _NUMBER, BOOL: (_is_bool, "true or false"), COLOR: (_is_color, "R,G,B of 0 to 255")}


def _floats(*pairs: tuple[str, float]) -> tuple[Attribute, ...]:
    return tuple(Attribute(name, FLOAT, str(float(value))) for name, value in pairs)


def _role(value: str, *recommended: str) -> Attribute:
    return Attribute("role_name", STRING, value, recommended)


_FRONT = ("front", "back", "left", "right", "front_left", "front_right", "back_left", "back_right")

_LENS = (
    *_floats(("sensor_tick", 0.0)),
    Attribute("image_size_x", INT, "800"),
    Attribute("image_size_y", INT, "600"),
    *_floats(
        ("fov", 90.0), ("lens_circle_falloff", 5.0), ("lens_circle_multiplier", 0.0), ("lens_k", -1.0),
        ("lens_kcube", 0.0), ("lens_x_size", 0.08), ("lens_y_size", 0.08),
    ),
)  # fmt: skip

_POSTPROCESS = (
    Attribute("enable_postprocess_effects", BOOL, "true"),
    *_floats(
        ("gamma", 2.2), ("motion_blur_intensity", 0.45), ("motion_blur_max_distortion", 0.35),
        ("motion_blur_min_object_screen_size", 0.1), ("lens_flare_intensity", 0.1),
        ("bloom_intensity", 0.675),
    ),
    Attribute("exposure_mode", STRING, "histogram", ("histogram", "manual"), restricted=True),
    *_floats(
        ("exposure_compensation", 0.0), ("shutter_speed", 200.0), ("iso", 100.0), ("fstop", 1.4),
        ("exposure_min_bright", 10.0), ("exposure_max_bright", 12.0), ("exposure_speed_up", 3.0),
        ("exposure_speed_down", 1.0), ("calibration_constant", 16.0), ("focal_distance", 1000.0),
        ("blur_amount", 1.0), ("blur_radius", 0.0), ("min_fstop", 1.2),
    ),
    Attribute("blade_count", INT, "5"),
    *_floats(
        ("slope", 0.88), ("toe", 0.55), ("shoulder", 0.26), ("black_clip", 0.0), ("white_clip", 0.04),
        ("temp", 6500.0), ("tint", 0.0), ("chromatic_aberration_intensity", 0.0),
        ("chromatic_aberration_offset", 0.0),
    ),
)  # fmt: skip

_IMU = (
    *_floats(("sensor_tick", 0.0)),
    Attribute("noise_seed", INT, "0"),
    *_floats(*((f"noise_accel_stddev_{axis}", 0.0) for axis in "xyz")),
    *_floats(*((f"noise_gyro_stddev_{axis}", 0.0) for axis in "xyz")),
    *_floats(*((f"noise_gyro_bias_{axis}", 0.0) for axis in "xyz")),
)
_GNSS = (
    *_floats(("sensor_tick", 0.0)),
    Attribute("noise_seed", INT, "0"),
    *_floats(*((f"noise_{axis}_{what}", 0.0) for what in ("stddev", "bias") for axis in ("lat", "lon", "alt"))),
)

_LASERS = (
    *_floats(("sensor_tick", 0.0)),
    Attribute("channels", INT, "32"),
    *_floats(("range", 10.0)),
    Attribute("points_per_second", INT, "56000"),
    *_floats(("rotation_frequency", 10.0), ("upper_fov", 10.0), ("lower_fov", -30.0), ("horizontal_fov", 360.0)),
)
_LASER_LOSSES = (
    *_floats(
        ("atmosphere_attenuation_rate", 0.004), ("dropoff_general_rate", 0.45), ("dropoff_intensity_limit", 0.8),
        ("dropoff_zero_intensity", 0.4), ("noise_stddev", 0.0),
    ),
    Attribute("noise_seed", INT, "0"),
)  # fmt: skip
_RADAR = (
    *_floats(("sensor_tick", 0.0), ("horizontal_fov", 30.0), ("vertical_fov", 30.0), ("range", 100.0)),
    Attribute("points_per_second", INT, "1500"),
    Attribute("noise_seed", INT, "0"),
)
_OBSTACLE = (
    *_floats(("sensor_tick", 0.0), ("distance", 5.0), ("hit_radius", 0.5)),
    Attribute("only_dynamics", BOOL, "false"),
    Attribute("debug_linetrace", BOOL, "false"),
)

_SENSORS: dict[str, tuple[Attribute, ...]] = {
    "sensor.camera.rgb": (_role("front", *_FRONT), *_LENS, *_POSTPROCESS),
    "sensor.camera.depth": (_role("front", *_FRONT), *_LENS),
    "sensor.camera.semantic_segmentation": (_role("front", *_FRONT), *_LENS),
    "sensor.camera.instance_segmentation": (_role("front", *_FRONT), *_LENS),
    "sensor.other.collision": (_role("front", *_FRONT),),
    "sensor.other.lane_invasion": (_role("front", *_FRONT),),
    "sensor.other.imu": (_role("default"), *_IMU),
    "sensor.other.gnss": (_role("default"), *_GNSS),
    "sensor.lidar.ray_cast": (_role("front", *_FRONT), *_LASERS, *_LASER_LOSSES),
    "sensor.lidar.ray_cast_semantic": (_role("front", *_FRONT), *_LASERS),
    "sensor.other.radar": (_role("default"), *_RADAR),
    "sensor.other.obstacle": (_role("front", *_FRONT), *_OBSTACLE),
}


def _constants(**values: str) -> tuple[Attribute, ...]:
    return tuple(Attribute(name, STRING, value, modifiable=False) for name, value in values.items())


def _vehicle_attributes(model: VehicleModel) -> tuple[Attribute, ...]:
    color = ",".join(map(str, model.body.color))
    colors = tuple(dict.fromkeys((color, "255,255,255", "0,0,0", "180,180,180")))
    modern = "true" if model.generation == 2 else "false"
    driver = (Attribute("driver_id", INT, "1", ("0", "1", "2", "3")),) if model.wheels == 2 else ()
    return (
        _role("autopilot", "autopilot", "scenario", "ego_vehicle"),
        Attribute("color", COLOR, color, colors),
        *driver,
        Attribute("sticky_control", BOOL, "true"),
        Attribute("terramechanics", BOOL, "false"),
        *_constants(object_type="", base_type=model.base_type, special_type=model.special_type),
        Attribute("number_of_wheels", INT, str(model.wheels), modifiable=False),
        Attribute("generation", INT, str(model.generation), modifiable=False),
        Attribute("has_dynamic_doors", BOOL, modern, modifiable=False),
        Attribute("has_lights", BOOL, modern, modifiable=False),
    )


def _walker_attributes(model: WalkerModel) -> tuple[Attribute, ...]:
    speeds = ("0.0", str(WALKING_MPS[model.age]), str(RUNNING_MPS[model.age]))
    return (
        _role("pedestrian", "pedestrian"),
        Attribute("speed", FLOAT, speeds[0], speeds),
        Attribute("is_invincible", BOOL, "true"),
        Attribute("use_wheelchair", BOOL, "false"),
        *_constants(gender=model.gender, age=model.age),
        Attribute("generation", INT, str(model.generation), modifiable=False),
        Attribute("can_use_wheelchair", BOOL, "false", modifiable=False),
    )


def _prop_attributes(size: str) -> tuple[Attribute, ...]:
    return (_role("prop", "prop"), *_constants(size=size))


def _library() -> dict[str, Blueprint]:
    entries: dict[str, tuple[tuple[Attribute, ...], Body | None]] = {}
    entries.update((name, (attributes, None)) for name, attributes in _SENSORS.items())
    entries.update((name, (_vehicle_attributes(model), model.body)) for name, model in VEHICLES.items())
    entries.update((name, (_walker_attributes(model), model.body)) for name, model in WALKERS.items())
    entries.update((name, (_prop_attributes(size), body)) for name, (body, size) in PROPS.items())
    entries[AI_CONTROLLER] = ((_role("default"),), None)
    return {name: Blueprint(uid, name, *entry) for uid, (name, entry) in enumerate(entries.items(), start=1)}


AI_CONTROLLER = "controller.ai.walker"
LIBRARY = _library()
SPECTATOR = Blueprint(0, "spectator", (_role("spectator"),))
