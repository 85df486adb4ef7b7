"""The blueprint library: what can be spawned and with which attributes, named as CARLA 0.9.16 names them."""

from __future__ import annotations

from dataclasses import dataclass

from clipdrive.carla_server.rpc import RpcError

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
    """Something that can be spawned; `half_extents_m` and `mass_kg` are those of a vehicle."""

    uid: int
    id: str
    attributes: tuple[Attribute, ...]
    half_extents_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mass_kg: float = 0.0

    def to_wire(self) -> tuple:
        tags = ",".join(self.id.split("."))
        return self.uid, self.id, tags, tuple(attribute.to_wire() for attribute in self.attributes)

    def values(self, given: dict[str, str]) -> dict[str, str]:
        """Return the value of every attribute, `given` before the defaults where it may be changed.

        Raises RpcError where a number is none.
        """
        chosen = {}
        for attribute in self.attributes:
            value = given.get(attribute.id, attribute.value) if attribute.modifiable else attribute.value
            if attribute.type in (INT, FLOAT):
                try:
                    float(value)
                except ValueError:
                    raise RpcError(f"{self.id}: {attribute.id} is {value!r:.40}, expected a number") from None
            chosen[attribute.id] = value
        return chosen


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

_SENSORS: dict[str, tuple[Attribute, ...]] = {
    "sensor.camera.rgb": (_role("front", *_FRONT), *_LENS, *_POSTPROCESS),
    "sensor.other.collision": (_role("front", *_FRONT),),
    "sensor.other.lane_invasion": (_role("front", *_FRONT),),
    "sensor.other.imu": (_role("default"), *_IMU),
    "sensor.other.gnss": (_role("default"), *_GNSS),
}

# id: half length, half width, half height (m), mass (kg), generation, base type, special type, first colour.
# Sizes and masses are rounded from the makers' data sheets of the cars that CARLA's models are named after.
_VEHICLES: dict[str, tuple] = {
    "vehicle.tesla.model3": (2.40, 1.08, 0.74, 1845.0, 2, "car", "electric", "17,37,103"),
    "vehicle.tesla.cybertruck": (3.14, 1.20, 1.05, 2995.0, 1, "truck", "electric", "119,117,117"),
    "vehicle.lincoln.mkz_2017": (2.45, 1.06, 0.75, 1700.0, 1, "car", "", "0,0,0"),
    "vehicle.lincoln.mkz_2020": (2.45, 1.09, 0.74, 1700.0, 2, "car", "", "17,37,103"),
    "vehicle.audi.a2": (1.85, 0.90, 0.78, 990.0, 1, "car", "", "24,77,163"),
    "vehicle.audi.tt": (2.09, 1.00, 0.69, 1355.0, 1, "car", "", "33,33,34"),
    "vehicle.audi.etron": (2.43, 1.02, 0.82, 2490.0, 1, "car", "electric", "50,51,63"),
    "vehicle.mini.cooper_s": (1.90, 0.99, 0.74, 1240.0, 1, "car", "", "142,0,0"),
    "vehicle.nissan.micra": (1.82, 0.92, 0.75, 980.0, 1, "car", "", "10,25,73"),
    "vehicle.nissan.patrol": (2.30, 0.97, 0.93, 2750.0, 1, "car", "", "8,41,80"),
    "vehicle.mercedes.sprinter": (2.96, 0.99, 1.28, 2300.0, 2, "van", "", "20,20,20"),
    "vehicle.toyota.prius": (2.26, 1.00, 0.76, 1380.0, 1, "car", "electric", "18,54,63"),
    "vehicle.ford.mustang": (2.36, 0.95, 0.65, 1690.0, 1, "car", "", "17,37,103"),
    "vehicle.dodge.charger_2020": (2.50, 1.05, 0.77, 1850.0, 2, "car", "", "17,37,103"),
    "vehicle.carlamotors.carlacola": (2.60, 1.31, 1.24, 5500.0, 1, "truck", "", "255,68,0"),
}


def _vehicle_attributes(generation: int, base_type: str, special_type: str, color: str) -> tuple[Attribute, ...]:
    colors = tuple(dict.fromkeys((color, "255,255,255", "0,0,0", "180,180,180")))
    modern = "true" if generation == 2 else "false"
    return (
        _role("autopilot", "autopilot", "scenario", "ego_vehicle"),
        Attribute("color", COLOR, color, colors),
        Attribute("sticky_control", BOOL, "true"),
        Attribute("terramechanics", BOOL, "false"),
        Attribute("object_type", STRING, "", modifiable=False),
        Attribute("base_type", STRING, base_type, modifiable=False),
        Attribute("special_type", STRING, special_type, modifiable=False),
        Attribute("number_of_wheels", INT, "4", modifiable=False),
        Attribute("generation", INT, str(generation), modifiable=False),
        Attribute("has_dynamic_doors", BOOL, modern, modifiable=False),
        Attribute("has_lights", BOOL, modern, modifiable=False),
    )


def _library() -> dict[str, Blueprint]:
    blueprints: dict[str, Blueprint] = {}
    for name, attributes in _SENSORS.items():
        blueprints[name] = Blueprint(len(blueprints) + 1, name, attributes)
    for name, (length, width, height, mass_kg, *rest) in _VEHICLES.items():
        attributes = _vehicle_attributes(*rest)
        blueprints[name] = Blueprint(len(blueprints) + 1, name, attributes, (length, width, height), mass_kg)
    return blueprints


LIBRARY = _library()
SPECTATOR = Blueprint(0, "spectator", (_role("spectator"),))
