"""The same commands give the same bytes; several clients see one world; kernels are compiled beforehand."""

from __future__ import annotations

import hashlib
import math
import queue
import subprocess
import sys
import time

import carla

from server_process import running_server

STEP_S = 0.05


def drive(port: int, ticks: int = 60) -> tuple[str, list]:
    """Drive a fixed sequence and return the digest of all images, and all poses."""
    client = carla.Client("127.0.0.1", port)
    client.set_timeout(20.0)
    world = client.load_world("circuit_8")
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, STEP_S
    world.apply_settings(settings)
    library = world.get_blueprint_library()
    car = world.spawn_actor(library.find("vehicle.tesla.model3"), world.get_map().get_spawn_points()[3])
    blueprint = library.find("sensor.camera.rgb")
    blueprint.set_attribute("image_size_x", "84")
    blueprint.set_attribute("image_size_y", "84")
    mount = carla.Transform(carla.Location(x=1.0, z=1.4), carla.Rotation(pitch=-10.0))
    camera = world.spawn_actor(blueprint, mount, attach_to=car)
    images = queue.Queue()
    camera.listen(images.put)
    digest, poses = hashlib.sha256(), []
    for count in range(ticks):
        car.apply_control(carla.VehicleControl(throttle=0.7, steer=0.4 * math.sin(count / 7.0)))
        frame = world.tick()
        image = images.get(timeout=5.0)
        assert image.frame == frame
        digest.update(bytes(image.raw_data))
        place, speed = car.get_transform(), car.get_velocity()
        poses.append((place.location.x, place.location.y, place.rotation.yaw, speed.x, speed.y))
    camera.stop()
    client.apply_batch_sync([carla.command.DestroyActor(actor.id) for actor in (camera, car)], True)
    return digest.hexdigest(), poses


def test_two_servers_and_two_runs_give_identical_images_and_poses():
    with running_server() as port:
        first = drive(port)
        again = drive(port)
    with running_server() as port:
        other = drive(port)
    assert first == again == other
    assert len(set(first[1])) > 50  # it moved


def wait_for_frame(world, frame):
    deadline = time.monotonic() + 5.0
    while world.get_snapshot().frame < frame:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_two_clients_see_the_same_world(carla_server_port):
    clients = [carla.Client("127.0.0.1", carla_server_port) for _ in range(2)]
    for client in clients:
        client.set_timeout(10.0)
    one = clients[0].load_world("circuit_1")
    settings = one.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, STEP_S
    one.apply_settings(settings)
    two = clients[1].get_world()
    assert two.id == one.id
    assert two.get_settings().synchronous_mode
    car = one.spawn_actor(
        one.get_blueprint_library().find("vehicle.mini.cooper_s"), one.get_map().get_spawn_points()[0]
    )
    frame = one.tick()
    wait_for_frame(two, frame)
    seen = two.get_actor(car.id)
    assert seen.type_id == "vehicle.mini.cooper_s"
    seen.apply_control(carla.VehicleControl(throttle=0.5))
    assert two.tick() == frame + 1
    wait_for_frame(one, frame + 1)
    assert car.get_control().throttle == 0.5
    new = clients[0].reload_world(False)
    two.tick()
    assert [actor.type_id for actor in two.get_actors()] == ["spectator"]
    assert clients[1].get_world().id == new.id
    assert clients[1].get_world().get_map().name == "Carla/Maps/circuit_1"


def test_a_map_that_changes_reaches_every_client(carla_server_port):
    clients = [carla.Client("127.0.0.1", carla_server_port) for _ in range(2)]
    for client in clients:
        client.set_timeout(10.0)
    assert clients[0].load_world("circuit_1").get_map().name.endswith("circuit_1")
    other = clients[1].get_world()
    assert other.get_map().name.endswith("circuit_1")
    clients[0].load_world("circuit_2")
    other.wait_for_tick(2.0)
    assert clients[1].get_world().get_map().name.endswith("circuit_2")


COME_AND_GO = """if True:
    import sys
    import carla

    for count in range(400):
        client = world = None  # while the world's first snapshot may still be on its way to them
        client = carla.Client("127.0.0.1", int(sys.argv[1]), 2)
        client.set_timeout(10.0)
        world = client.get_world()
        if count == 0:
            settings = world.get_settings()
            settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
            world.apply_settings(settings)
        if count % 20 == 0:
            world = client.load_world("circuit_1", False)
            assert world.get_map().name.endswith("circuit_1")
    world.apply_settings(carla.WorldSettings(False, False, 0.0))
"""


def test_clients_that_come_and_go_while_the_world_stands_still_end_well(carla_server_port):
    command = [sys.executable, "-c", COME_AND_GO, str(carla_server_port)]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60.0)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_nothing_is_left_to_compile_after_the_warm_up():
    from numba.core.dispatcher import Dispatcher

    from clipdrive.carla_server import camera_kernels, dynamics, raster
    from clipdrive.carla_server.camera import Camera
    from clipdrive.carla_server.maps import MapLibrary
    from clipdrive.carla_server.vehicle import Vehicle
    from clipdrive.carla_server.warm_up import warm_up

    def compiled():
        modules = (camera_kernels, dynamics, raster)
        kernels = {v for m in modules for v in vars(m).values() if isinstance(v, Dispatcher)}
        return {kernel.__name__: len(kernel.signatures) for kernel in kernels}

    warm_up()
    before = compiled()
    ground = MapLibrary().load("circuit_9").ground
    Camera(84, 84, 90.0).render(ground, 0.0, 0.0, 1.5, -10.0, 0.0, 0.0)
    vehicle = Vehicle()
    vehicle.control(1.0, 0.1, 0.0, False, False)
    vehicle.step(ground, STEP_S)
    assert compiled() == before
