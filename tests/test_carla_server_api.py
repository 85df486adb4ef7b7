"""Every method and property of the carla package that reaches the server: an answer, or a refusal in words."""

from __future__ import annotations

import re

import carla
import pytest

STEP_S = 0.05
NOT_HERE = "is not supported by clipdrive's CARLA server"
AUTOPILOT = "autopilot and TrafficManager are not supported by clipdrive's CARLA server"

FORWARD = carla.Vector3D(1.0, 0.0, 0.0)
ORIGIN = carla.Location()
PAINT = (carla.MaterialParameter.Diffuse, carla.TextureColor(2, 2))
FLOAT_PAINT = (carla.MaterialParameter.Diffuse, carla.TextureFloatColor(2, 2))
LAYERS = (carla.TextureColor(2, 2), *[carla.TextureFloatColor(2, 2)] * 3)
FRONT_LEFT = carla.VehicleWheelLocation.FL_Wheel

# What the client itself cannot do, whatever a server answers, or what kills its process.
BROKEN_IN_THE_CLIENT = {"get_ignored_vehicles"}

ACTOR_ARGUMENTS = {
    "add_angular_impulse": (FORWARD,), "add_force": (FORWARD,), "add_impulse": (FORWARD,), "add_torque": (FORWARD,),
    "enable_constant_velocity": (FORWARD,), "get_component_relative_transform": ("body",),
    "get_component_world_transform": ("body",), "set_collisions": (True,), "set_enable_gravity": (True,),
    "set_location": (carla.Location(1.0, 2.0, 3.0),), "set_simulate_physics": (True,),
    "set_target_angular_velocity": (FORWARD,), "set_target_velocity": (FORWARD,),
    "set_transform": (carla.Transform(carla.Location(5.0, 2.0, 3.0)),),
}  # fmt: skip
VEHICLE_ARGUMENTS = {
    **ACTOR_ARGUMENTS,
    "apply_ackermann_control": (carla.VehicleAckermannControl(),), "apply_control": (carla.VehicleControl(),),
    "apply_ackermann_controller_settings": (carla.AckermannControllerSettings(),),
    "apply_physics_control": (carla.VehiclePhysicsControl(),), "close_door": (carla.VehicleDoor.All,),
    "open_door": (carla.VehicleDoor.All,), "enable_carsim": ("",), "get_wheel_pitch_angle": (FRONT_LEFT,),
    "enable_chrono_physics": (5000, 0.002, "", "", "", ""), "get_wheel_steer_angle": (FRONT_LEFT,),
    "set_autopilot": (True,), "set_light_state": (carla.VehicleLightState.Position,),
    "set_wheel_pitch_angle": (FRONT_LEFT, 1.0), "set_wheel_steer_direction": (FRONT_LEFT, 1.0),
    "show_debug_telemetry": (True,), "use_carsim_road": (True,),
}  # fmt: skip
WALKER_ARGUMENTS = {
    **ACTOR_ARGUMENTS,
    "apply_control": (carla.WalkerControl(FORWARD, 1.0, False),), "blend_pose": (0.5,),
    "set_bones": (carla.WalkerBoneControlIn(),),
}  # fmt: skip
GBUFFER = carla.GBufferTextureID.SceneColor
SENSOR_ARGUMENTS = {
    **ACTOR_ARGUMENTS,
    "listen": (lambda data: None,), "enable_gbuffers": (True,), "is_listening_gbuffer": (GBUFFER,),
    "listen_to_gbuffer": (GBUFFER, lambda data: None), "stop_gbuffer": (GBUFFER,), "send": ("text",),
    "set_ignored_vehicles": ([],),
}  # fmt: skip
REFUSED = {
    "set_autopilot": AUTOPILOT, "enable_gbuffers": NOT_HERE, "get_trafficmanager": AUTOPILOT,
    "apply_color_texture_to_object": NOT_HERE, "apply_color_texture_to_objects": NOT_HERE,
    "apply_float_color_texture_to_object": NOT_HERE, "apply_float_color_texture_to_objects": NOT_HERE,
    "apply_textures_to_object": NOT_HERE, "apply_textures_to_objects": NOT_HERE, "replay_file": NOT_HERE,
    "start_recorder": NOT_HERE, "show_recorder_actors_blocked": NOT_HERE, "show_recorder_collisions": NOT_HERE,
    "show_recorder_file_info": NOT_HERE, "request_file": NOT_HERE, "wait_for_tick": "time-out of 200ms",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(client):
    world = client.load_world("circuit_3")
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, STEP_S
    world.apply_settings(settings)
    return world


def call_everything(thing, arguments, skip=()):
    """Call or read every public name of `thing`; only what REFUSED names may raise, and with those words."""
    for name in sorted(set(dir(thing)) - set(skip) - BROKEN_IN_THE_CLIENT):
        if name.startswith("__"):
            continue
        member = getattr(thing, name)
        if not callable(member):
            continue
        try:
            member(*arguments.get(name, ()))
        except RuntimeError as error:
            assert name in REFUSED, f"{name}: {error}"
            assert re.search(REFUSED[name], str(error)), f"{name}: {error}"
        else:
            assert name not in REFUSED, name


def spawn(world, type_id, index, **options):
    blueprint = world.get_blueprint_library().find(type_id)
    place = carla.Transform() if options else world.get_map().get_spawn_points()[index]
    actor = world.spawn_actor(blueprint, place, **options)
    world.tick()
    return actor


@pytest.mark.parametrize(
    ("type_id", "arguments", "kind"),
    [
        ("vehicle.tesla.model3", VEHICLE_ARGUMENTS, carla.Vehicle),
        ("vehicle.kawasaki.ninja", {**VEHICLE_ARGUMENTS, "apply_physics_control": None}, carla.Vehicle),
        ("walker.pedestrian.0003", WALKER_ARGUMENTS, carla.Walker),
        ("static.prop.barrel", ACTOR_ARGUMENTS, carla.Actor),
    ],
)
def test_every_method_of_an_actor_answers(world, type_id, arguments, kind):
    actor = spawn(world, type_id, 4)
    assert type(actor) is kind
    if arguments.get("apply_physics_control", ()) is None:
        arguments["apply_physics_control"] = (actor.get_physics_control(),)
    call_everything(actor, arguments, skip=("destroy",))
    world.tick()
    assert actor.is_alive
    assert actor.destroy()
    world.tick()
    assert not actor.is_alive


def test_every_method_of_a_sensor_answers(world):
    car = spawn(world, "vehicle.audi.tt", 6)
    for type_id in ("sensor.camera.rgb", "sensor.other.gnss", "sensor.other.lane_invasion"):
        sensor = spawn(world, type_id, 0, attach_to=car)
        call_everything(sensor, SENSOR_ARGUMENTS, skip=("destroy", "listen_to_gbuffer", "stop_gbuffer"))
        if type_id == "sensor.camera.rgb":
            with pytest.raises(RuntimeError, match=NOT_HERE):
                sensor.listen_to_gbuffer(GBUFFER, lambda data: None)
        if sensor.is_listening:
            sensor.stop()
        world.tick()
        assert sensor.destroy()
    car.destroy()


def test_every_method_of_the_world_answers(client, world):
    library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
    above = points[0].location + carla.Location(z=5.0)
    arguments = {
        "apply_settings": (world.get_settings(),), "cast_ray": (above, ORIGIN), "wait_for_tick": (0.2,),
        "enable_environment_objects": ({1}, True), "freeze_all_traffic_lights": (True,), "get_actor": (1,),
        "get_environment_objects": (carla.CityObjectLabel.Any,), "get_level_bbs": (carla.CityObjectLabel.Any,),
        "get_traffic_light_from_opendrive_id": ("1",), "ground_projection": (above, 10.0),
        "get_traffic_lights_from_waypoint": (world.get_map().get_waypoint(ORIGIN), 50.0),
        "load_map_layer": (carla.MapLayer.All,), "unload_map_layer": (carla.MapLayer.All,),
        "on_tick": (lambda snapshot: None,), "remove_on_tick": (0,), "set_pedestrians_cross_factor": (0.1,),
        "project_point": (above, carla.Vector3D(0.0, 0.0, -1.0), 10.0), "set_pedestrians_seed": (1,),
        "set_annotations_traverse_translucency": (True,), "set_imui_sensor_gravity": (9.81,),
        "set_weather": (carla.WeatherParameters.HardRainNoon,),
        "spawn_actor": (library.find("static.prop.barrel"), points[9]),
        "try_spawn_actor": (library.find("vehicle.audi.tt"), points[11]),
        "apply_color_texture_to_object": ("wall", *PAINT), "apply_color_texture_to_objects": (["wall"], *PAINT),
        "apply_float_color_texture_to_object": ("wall", *FLOAT_PAINT),
        "apply_float_color_texture_to_objects": (["wall"], *FLOAT_PAINT),
        "apply_textures_to_object": ("wall", *LAYERS), "apply_textures_to_objects": (["wall"], *LAYERS),
    }  # fmt: skip
    # With an id that the map does not have, or no light to ask about, these end the client's process.
    lights = {"get_traffic_lights_in_junction", "get_traffic_light", "get_traffic_sign"}
    call_everything(world, arguments, skip=lights)
    world.tick()
    assert world.get_actors().filter("traffic.*").filter("*light*") is not None
    assert len(world.get_actors().filter("traffic.*")) == 0
    assert world.get_weather() == carla.WeatherParameters.HardRainNoon


def test_debug_shapes_and_street_lights_are_accepted(world):
    debug = world.debug
    for draw in (debug.draw_point, debug.draw_hud_point):
        draw(ORIGIN, 0.1, carla.Color(255, 0, 0), 1.0)
    for draw in (debug.draw_line, debug.draw_arrow, debug.draw_hud_line, debug.draw_hud_arrow):
        draw(ORIGIN, carla.Location(1.0, 0.0, 0.0))
    for draw in (debug.draw_box, debug.draw_hud_box):
        draw(carla.BoundingBox(ORIGIN, carla.Vector3D(1.0, 1.0, 1.0)), carla.Rotation())
    debug.draw_string(ORIGIN, "text")
    lights = world.get_lightmanager()
    assert lights.get_all_lights() == []
    lights.turn_off(lights.get_all_lights())
    lights.set_day_night_cycle(False)
    world.tick()


def test_rays_of_the_world_meet_the_road_and_what_stands_on_it(world):
    car = spawn(world, "vehicle.tesla.model3", 4)
    for _ in range(20):
        world.tick()  # until it stands
    place = car.get_location()
    above = place + carla.Location(z=20.0)
    (hit,) = world.cast_ray(above, place - carla.Location(z=20.0))
    assert hit.label == carla.CityObjectLabel.Car
    assert hit.location.z == pytest.approx(place.z + 1.48, abs=0.05)
    car.destroy()
    world.tick()
    on_road = world.ground_projection(above, 100.0)
    assert on_road.label == carla.CityObjectLabel.Roads
    assert on_road.location.z == pytest.approx(place.z, abs=0.1)
    assert world.project_point(above, carla.Vector3D(0.0, 0.0, 1.0), 100.0) is None


def test_level_boxes_are_those_of_the_actors(world):
    car, prop = spawn(world, "vehicle.audi.etron", 4), spawn(world, "static.prop.container", 8)
    (box,) = (b for b in world.get_level_bbs(carla.CityObjectLabel.Car) if b.actor_id == car.id)
    assert box.location.distance(car.get_transform().transform(car.bounding_box.location)) < 1e-3
    assert (box.extent.x, box.actor_id) == (car.bounding_box.extent.x, car.id)
    assert prop.id in [found.actor_id for found in world.get_level_bbs()]
    car.destroy()
    prop.destroy()


def test_every_method_of_the_client_answers(client, world, tmp_path):
    arguments = {
        "generate_opendrive_world": (world.get_map().to_opendrive(),), "load_world": ("circuit_4",),
        "load_world_if_different": ("circuit_4",), "replay_file": ("log", 0.0, 1.0, 0), "request_file": ("file",),
        "set_files_base_folder": (str(tmp_path),), "set_replayer_ignore_hero": (True,), "set_timeout": (60.0,),
        "set_replayer_ignore_spectator": (True,), "set_replayer_time_factor": (1.0,), "stop_replayer": (True,),
        "show_recorder_actors_blocked": ("log", 1.0, 1.0), "show_recorder_collisions": ("log", "a", "a"),
        "show_recorder_file_info": ("log", False), "start_recorder": ("log",),
        "apply_batch": ([carla.command.DestroyActor(1)],), "apply_batch_sync": ([carla.command.DestroyActor(9)],),
    }  # fmt: skip
    call_everything(client, arguments)
    world = client.get_world()
    assert world.get_map().name == "Carla/Maps/circuit_4"
    assert world.get_snapshot() is not None


def test_every_command_of_a_batch_answers(client):
    command = carla.command
    world = client.load_world("circuit_3")
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, STEP_S
    world.apply_settings(settings)
    library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
    spawns = [
        command.SpawnActor(library.find(type_id), points[index])
        for type_id, index in (("vehicle.seat.leon", 2), ("walker.pedestrian.0007", 5))
    ]
    car, person = (response.actor_id for response in client.apply_batch_sync(spawns, True))
    batch = [
        command.ApplyAngularImpulse(car, FORWARD), command.ApplyForce(car, FORWARD),
        command.ApplyImpulse(car, FORWARD), command.ApplyTorque(car, FORWARD),
        command.ApplyTargetAngularVelocity(car, FORWARD), command.ApplyTargetVelocity(car, FORWARD),
        command.ApplyTransform(car, points[3]), command.ApplyVehicleControl(car, carla.VehicleControl(throttle=0.5)),
        command.ApplyVehicleAckermannControl(car, carla.VehicleAckermannControl(speed=5.0)),
        command.ApplyVehiclePhysicsControl(car, world.get_actor(car).get_physics_control()),
        command.ApplyWalkerControl(person, carla.WalkerControl(FORWARD, 1.0, False)),
        command.ApplyWalkerState(person, points[6], 1.0), command.SetEnableGravity(car, True),
        command.SetSimulatePhysics(car, True), command.SetVehicleLightState(car, carla.VehicleLightState.Position),
    ]  # fmt: skip
    assert [response.error for response in client.apply_batch_sync(batch, True)] == [""] * len(batch)
    actor = world.get_actor(person)
    assert actor.get_location().distance(points[6].location) < 1.5
    for broken in (command.DestroyActor(12345), command.ApplyTransform(12345, points[0])):
        (response,) = client.apply_batch_sync([broken])
        assert "12345" in response.error
    (response,) = client.apply_batch_sync([command.SetAutopilot(car, True)])
    assert response.error == AUTOPILOT
    driven = command.SpawnActor(library.find("vehicle.audi.tt"), points[12])
    with pytest.raises(RuntimeError, match=AUTOPILOT):
        client.apply_batch_sync([driven.then(command.SetAutopilot(command.FutureActor, True))])
    gone = client.apply_batch_sync([command.DestroyActor(car), command.DestroyActor(person)], True)
    assert not any(response.error for response in gone)


def test_a_walker_controller_is_refused_in_words(client):
    world = client.get_world()
    person = spawn(world, "walker.pedestrian.0002", 4)
    blueprint = world.get_blueprint_library().find("controller.ai.walker")
    with pytest.raises(RuntimeError, match="controller.ai.walker is not supported"):
        world.spawn_actor(blueprint, carla.Transform(), attach_to=person)
    (response,) = client.apply_batch_sync([carla.command.SpawnActor(blueprint, carla.Transform(), person.id)])
    assert "WalkerControl" in response.error
    person.destroy()
