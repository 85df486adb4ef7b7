"""The RPC methods that concern the world as a whole, and those that are accepted without effect."""

from __future__ import annotations

from clipdrive.carla_server import rpc, values, wire
from clipdrive.carla_server.actor_methods import AUTOPILOT
from clipdrive.carla_server.blueprints import LIBRARY
from clipdrive.carla_server.requests import MAX_REQUEST_BYTES
from clipdrive.carla_server.rpc import Method, Reply, RpcError
from clipdrive.carla_server.settings import CLEAR_NOON, EpisodeSettings
from clipdrive.carla_server.world import World

ROAD = 1  # label of a point on the ground

# Calls of ordinary programs that change nothing here: what they draw, open or switch is not in this world.
WITHOUT_EFFECT = (
    "draw_debug_shape", "open_vehicle_door", "close_vehicle_door", "show_vehicle_debug_telemetry",
    "set_wheel_steer_direction", "load_map_layer", "unload_map_layer", "freeze_all_traffic_lights",
    "reset_all_traffic_lights", "enable_environment_objects", "update_lights_state", "update_day_night_cycle",
    "stop_recorder", "stop_replayer", "set_replayer_time_factor",
    "set_replayer_ignore_hero", "set_replayer_ignore_spectator", "set_annotations_traverse_translucency",
    "destroy_traffic_manager",
)  # fmt: skip
EMPTY_LISTS = (
    "get_required_files", "query_lights_state", "get_environment_objects", "get_all_level_BBs",
    "get_names_of_all_objects", "get_light_boxes", "get_actor_component_names", "get_actor_bone_names",
    "get_actor_socket_names",
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
        """Find the ground straight below a point."""
        x, y, z = values.vector(location, values.MAX_COORDINATE_M, "location")
        downwards = values.vector(direction, name="direction")[2] < 0.0
        ground_z = float(self.world.ground.height(x, y))
        found = downwards and 0.0 <= z - ground_z <= values.number(distance, name="distance")
        return found, ((x, y, ground_z), ROAD)

    @rpc.value
    def get_imui_gravity(self) -> float:
        return 9.81

    def table(self) -> dict[str, Method]:
        """Return the RPC methods by name."""
        table = rpc.methods_of(self)
        table.update({name: Method(lambda *_: None, Reply.VOID) for name in WITHOUT_EFFECT})
        table.update({name: Method(lambda *_: [], Reply.VALUE) for name in EMPTY_LISTS})
        return table
