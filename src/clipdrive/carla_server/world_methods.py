"""The RPC methods that concern the world as a whole, and those that are accepted without effect."""

from __future__ import annotations

import math

import numpy as np

from clipdrive.carla_server import rays, rpc, values, wire
from clipdrive.carla_server.actor_methods import AUTOPILOT
from clipdrive.carla_server.blueprints import LIBRARY
from clipdrive.carla_server.poses import compose
from clipdrive.carla_server.requests import MAX_REQUEST_BYTES
from clipdrive.carla_server.rpc import Method, Reply, RpcError
from clipdrive.carla_server.settings import CLEAR_NOON, EpisodeSettings
from clipdrive.carla_server.world import World

NONE, ANY = 0, 255  # semantic tags: of nothing, and of whatever there is
MAX_RAY_M = 2000.0

# Calls of ordinary programs that change nothing here: what they draw, open or switch is not in this world.
WITHOUT_EFFECT = (
    "draw_debug_shape", "open_vehicle_door", "close_vehicle_door", "show_vehicle_debug_telemetry",
    "set_wheel_steer_direction", "load_map_layer", "unload_map_layer", "freeze_all_traffic_lights",
    "reset_all_traffic_lights", "enable_environment_objects", "update_lights_state", "update_day_night_cycle",
    "stop_recorder", "stop_replayer", "set_replayer_time_factor",
    "set_replayer_ignore_hero", "set_replayer_ignore_spectator", "set_annotations_traverse_translucency",
    "destroy_traffic_manager", "set_ignored_vehicles", "blend_pose", "set_wheel_pitch_angle", "get_pose_from_animation",
)  # fmt: skip
EMPTY_LISTS = (
    "get_required_files", "query_lights_state", "get_environment_objects", "get_light_boxes",
    "get_actor_component_names", "get_actor_bone_names", "get_actor_socket_names", "get_actor_bone_world_transforms",
    "get_actor_bone_relative_transforms", "get_actor_socket_world_transforms", "get_actor_socket_relative_transforms",
    "get_vehicle_bone_world_transforms",
)  # fmt: skip


class WorldMethods:
    """One Python method per RPC method of that name; all raise RpcError or WireError."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._definitions = tuple(blueprint.to_wire() for blueprint in LIBRARY.values())

    @rpc.value
    def version(self) -> str:
        return wire.VERSION

    @rpc.value
    def get_episode_info(self) -> tuple:
        return self.world.episode_id, (self.world.streams.token(self.world.stream_id),)

    @rpc.value
    def get_episode_settings(self) -> tuple:
        return self.world.settings.to_wire()

    @rpc.value
    def set_episode_settings(self, settings: object) -> int:
        self.world.settings = EpisodeSettings.from_wire(settings)
        return self.world.frame

    @rpc.value
    def get_available_maps(self) -> list[str]:
        return self.world.maps.names()

    @rpc.value
    def get_map_info(self) -> tuple:
        loaded = self.world.map
        return loaded.name, tuple((pose[:3], pose[3:]) for pose in loaded.spawn_points)

    @rpc.value
    def get_map_data(self) -> str:
        return self.world.map.xodr

    @rpc.void
    def load_new_episode(self, name: str, reset_settings: bool, _layers: int = 0) -> None:
        self.world.load(values.text(name, "map name"), values.boolean(reset_settings, "reset_settings"))

    @rpc.void
    def copy_opendrive_to_file(self, xodr: str, parameters: object) -> None:
        _, _, wall_height_m, verge_m, *_ = values.array(parameters, 7, "OpendriveGenerationParameters")
        verge_m = values.number(verge_m, 100.0, "additional_width")
        wall_height_m = values.number(wall_height_m, 100.0, "wall_height")
        if verge_m < 0.0 or wall_height_m < 0.0:
            raise RpcError(f"wall_height {wall_height_m:g} and additional_width {verge_m:g} must not be negative")
        self.world.maps.generate(values.text(xodr, "opendrive", MAX_REQUEST_BYTES), verge_m, wall_height_m)

    @rpc.value
    def get_actor_definitions(self) -> tuple:
        return self._definitions

    @rpc.value
    def get_spectator(self) -> tuple:
        return self.world.actor_to_wire(self.world.spectator)

    @rpc.value
    def get_weather_parameters(self) -> tuple:
        return self.world.weather

    @rpc.void
    def set_weather_parameters(self, weather: object) -> None:
        items = values.array(weather, len(CLEAR_NOON), "weather")
        self.world.weather = tuple(values.number(item, name="weather") for item in items)

    @rpc.value
    def is_traffic_manager_running(self, _port: int) -> bool:
        raise RpcError(AUTOPILOT)

    @rpc.value
    def project_point(self, location: object, direction: object, distance: object) -> tuple:
        """Find what is first met along a direction."""
        start = values.vector(location, values.MAX_COORDINATE_M, "location")
        along = values.vector(direction, values.MAX_COORDINATE_M, "direction")
        points = self._met(start, along, min(values.number(distance, name="distance"), MAX_RAY_M))
        return (True, points[0]) if points else (False, (start, NONE))

    @rpc.value
    def cast_ray(self, start: object, end: object) -> list[tuple]:
        """Find what lies first on the way between two points; what is behind that is hidden, unlike in CARLA."""
        begin = values.vector(start, values.MAX_COORDINATE_M, "start")
        along = tuple(b - a for a, b in zip(begin, values.vector(end, values.MAX_COORDINATE_M, "end"), strict=True))
        return self._met(begin, along, min(math.hypot(*along), MAX_RAY_M))

    def _met(self, start: tuple, along: tuple, range_m: float) -> list[tuple]:
        length = math.hypot(*along)
        if length < 1e-9 or range_m <= 0.0:
            return []
        direction = np.array([[part / length for part in along]])
        met = rays.cast(self.world.ground, self.world.drawn_boxes(), start, direction, range_m)
        distance = float(met.distance_m[0])
        if not math.isfinite(distance):
            return []
        place = tuple(a + distance * part / length for a, part in zip(start, along, strict=True))
        return [(place, int(met.tag[0]))]

    @rpc.value
    def get_all_level_BBs(self, tag: int) -> list[tuple]:
        """Return the boxes of vehicles, walkers and props with that tag, 255 for all, in the world's axes."""
        boxes = [box for box in self.world.drawn_boxes() if tag in (ANY, box.tag)]
        return [
            (compose(box.pose, (*box.centre_m, 0.0, 0.0, 0.0))[:3], box.half_extents_m, box.pose[3:], box.actor_id)
            for box in boxes
        ]

    @rpc.value
    def get_names_of_all_objects(self) -> list[str]:
        return [f"{actor.type_id}.{actor.id}" for actor in self.world.actors.values()]

    @rpc.value
    def get_imui_gravity(self) -> float:
        return self.world.gravity_mps2

    @rpc.void
    def set_imui_gravity(self, gravity: object) -> None:
        self.world.gravity_mps2 = values.number(gravity, 1e6, "gravity")

    @rpc.value
    def is_sensor_enabled_for_ros(self, _actor_id: int) -> bool:
        return False

    def table(self) -> dict[str, Method]:
        """Return the RPC methods by name."""
        table = rpc.methods_of(self)
        table.update({name: Method(lambda *_: None, Reply.VOID) for name in WITHOUT_EFFECT})
        table.update({name: Method(lambda *_: [], Reply.VALUE) for name in EMPTY_LISTS})
        return table
