"""Every kind of camera through the real client: types, sizes, converters, what is in front, `sensor_tick`, weather."""

import math
import queue

import carla
import numpy as np
import pytest

from server_process import running_server

KINDS = ("rgb", "depth", "semantic_segmentation", "instance_segmentation")
WIDTH, HEIGHT, FOV_DEG = 120, 90, 75.0
AHEAD_M = 12.0


@pytest.fixture(scope="module")
def world():
    with running_server() as port:
        client = carla.Client("127.0.0.1", port)
        client.set_timeout(60.0)
        world = client.load_world("circuit_2")
        settings = world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
        world.apply_settings(settings)
        yield world


def camera(world, kind, mount, parent, **attributes):
    blueprint = world.get_blueprint_library().find(f"sensor.camera.{kind}")
    size = {"image_size_x": WIDTH, "image_size_y": HEIGHT, "fov": FOV_DEG}
    for name, value in (size | attributes).items():
        blueprint.set_attribute(name, str(value))
    sensor = world.spawn_actor(blueprint, mount, attach_to=parent)
    images = queue.SimpleQueue()
    sensor.listen(images.put)
    return sensor, images


def image_of(images, frame):
    image = images.get(timeout=10.0)
    while image.frame < frame:
        image = images.get(timeout=10.0)
    assert image.frame == frame
    return image


def bgra(image):
    return np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4).astype(int)


@pytest.fixture(scope="module")
def scene(world):
    """A car that stands on the road, another one ahead of it and a walker beside that; all four cameras."""
    library = world.get_blueprint_library()
    start = world.get_map().get_spawn_points()[3]
    place = world.get_map().get_waypoint(start.location)
    car = world.spawn_actor(library.find("vehicle.tesla.model3"), start)
    ahead = place.next(AHEAD_M)[0].transform
    ahead.location.z += 0.1
    other = world.spawn_actor(library.find("vehicle.lincoln.mkz_2020"), ahead)
    beside = carla.Transform(ahead.location - 3.0 * ahead.get_right_vector() + carla.Location(z=1.0), ahead.rotation)
    walker = world.spawn_actor(library.filter("walker.pedestrian.*")[0], beside)
    mount = carla.Transform(carla.Location(1.0, 0.0, 1.6), carla.Rotation(pitch=-5.0))
    cameras = [camera(world, kind, mount, car) for kind in KINDS]
    for _ in range(20):
        frame = world.tick()
    images = {kind: image_of(images, frame) for kind, (_, images) in zip(KINDS, cameras, strict=True)}
    yield car, other, walker, cameras[0][0], images
    for sensor, _ in cameras:
        sensor.stop()


def projected(sensor, location):
    """Column, row and depth of a place in the images."""
    place = [location.x, location.y, location.z, 1.0]
    ahead, right, up, _ = np.array(sensor.get_transform().get_inverse_matrix()) @ place
    focal = WIDTH / 2.0 / math.tan(math.radians(FOV_DEG) / 2.0)
    return WIDTH / 2.0 + focal * right / ahead, HEIGHT / 2.0 - focal * up / ahead, ahead


def test_images_have_the_size_and_field_that_were_asked_for(scene):
    *_, images = scene
    for image in images.values():
        assert (image.width, image.height, len(image.raw_data)) == (WIDTH, HEIGHT, 4 * WIDTH * HEIGHT)
        assert image.fov == pytest.approx(FOV_DEG)


def test_the_car_and_the_walker_ahead_are_where_they_project(scene):
    _, other, walker, sensor, images = scene
    tags, instances = bgra(images["semantic_segmentation"])[..., 2], bgra(images["instance_segmentation"])
    for actor, tag in ((other, 14), (walker, 12)):
        box = actor.bounding_box
        column, row, ahead = projected(sensor, actor.get_transform().transform(box.location))
        assert 0 <= column < WIDTH and 0 <= row < HEIGHT and ahead > 5.0
        assert tags[int(row), int(column)] == tag
        assert instances[int(row), int(column), 1] + 256 * instances[int(row), int(column), 0] == actor.id
        depth = bgra(images["depth"])[int(row), int(column)] @ [65536.0, 256.0, 1.0, 0.0] * 1000.0 / 16777215.0
        reach = math.hypot(box.extent.x, box.extent.y)
        assert ahead - reach - 0.05 <= depth <= ahead
    assert set(np.unique(tags)) <= {1, 4, 10, 11, 12, 14, 24} and {1, 10, 11, 12, 14} <= set(np.unique(tags))
    rgb = bgra(images["rgb"])
    assert rgb[tags == 14][:, :3].std() > 0 and rgb[..., 3].min() == 255


@pytest.mark.parametrize(
    ("mount", "seen"),
    [
        (carla.Transform(carla.Location(x=-5.5, z=2.8), carla.Rotation(pitch=-15.0)), True),  # follows the car
        (carla.Transform(carla.Location(z=12.0), carla.Rotation(pitch=-90.0)), True),  # looks down on it
        (carla.Transform(carla.Location(y=3.0, z=1.0), carla.Rotation(yaw=-90.0)), True),
        (carla.Transform(carla.Location(x=1.5, z=2.4), carla.Rotation(pitch=-40.0)), False),  # on the roof
        (carla.Transform(carla.Location(x=1.0, z=1.4), carla.Rotation(yaw=180.0)), False),  # inside
    ],
)
def test_a_camera_sees_its_own_car_from_outside(world, scene, mount, seen):
    car = scene[0]
    sensor, images = camera(world, "instance_segmentation", mount, car)
    pixels = bgra(image_of(images, world.tick()))
    own = (pixels[..., 2] == 14) & (pixels[..., 1] + 256 * pixels[..., 0] == car.id)
    middle = car.get_transform().transform(car.bounding_box.location)
    column, row, _ = projected(sensor, middle)
    assert own.any() == seen
    if seen:
        assert own[int(row), int(column)]
    sensor.set_transform(carla.Transform(carla.Location(x=1.0, z=1.4)))
    pixels = bgra(image_of(images, world.tick()))
    assert not ((pixels[..., 2] == 14) & (pixels[..., 1] + 256 * pixels[..., 0] == car.id)).any()
    sensor.stop()
    sensor.destroy()


def test_the_wheels_converters_work_on_the_images(scene):
    *_, images = scene
    tags = bgra(images["semantic_segmentation"])[..., 2]
    images["semantic_segmentation"].convert(carla.ColorConverter.CityScapesPalette)
    palette = bgra(images["semantic_segmentation"])
    for tag, color in ((1, (128, 64, 128)), (14, (0, 0, 142)), (11, (70, 130, 180)), (12, (220, 20, 60))):
        assert np.all(palette[tags == tag][:, 2::-1] == color)
    raw = bgra(images["depth"]) @ [65536.0, 256.0, 1.0, 0.0] / 16777215.0
    images["depth"].convert(carla.ColorConverter.LogarithmicDepth)
    expected = 255.0 * np.clip(1.0 + np.log(np.maximum(raw, 1e-9)) / 5.70378, 0.005, 1.0)
    np.testing.assert_allclose(bgra(images["depth"])[..., 0], expected, atol=1.0)


def test_sensor_tick_thins_the_images_of_every_kind(world, scene):
    car, *_ = scene
    mount = carla.Transform(carla.Location(1.0, 0.0, 1.6))
    cameras = [camera(world, kind, mount, car, sensor_tick=0.2) for kind in ("depth", "semantic_segmentation")]
    frames = [world.tick() for _ in range(16)]
    for sensor, images in cameras:
        seen = [images.get(timeout=10.0).frame for _ in range(4)]
        assert np.all(np.diff(seen) == 4) and seen[0] in frames[:4]
        sensor.stop()
        assert images.empty()


def test_the_weather_shows_in_the_next_image(world, scene):
    car, *_ = scene
    sensor, images = camera(world, "rgb", carla.Transform(carla.Location(1.0, 0.0, 1.6)), car)
    means = []
    weather = world.get_weather()
    for sun_deg, fog in ((45.0, 2.0), (-30.0, 2.0), (45.0, 2.0), (45.0, 90.0)):
        weather.sun_altitude_angle, weather.fog_density = sun_deg, fog
        world.set_weather(weather)
        means.append(bgra(image_of(images, world.tick()))[..., :3])
    sensor.stop()
    assert means[1].mean() < 0.3 * means[0].mean()
    np.testing.assert_array_equal(means[0], means[2])
    assert np.abs(means[3] - means[0]).mean() > 10.0


def test_many_cameras_at_once_show_what_each_shows_alone(world, scene):
    car, *_ = scene
    mounts = [carla.Transform(carla.Location(1.0, 0.0, 1.6), carla.Rotation(yaw=30.0 * k)) for k in range(7)]
    cameras = [camera(world, "rgb", mount, car) for mount in mounts]
    frame = world.tick()
    together = [bytes(image_of(images, frame).raw_data) for _, images in cameras]
    for sensor, _ in cameras:
        sensor.stop()
    world.tick()
    for mount, expected in zip(mounts, together, strict=True):
        sensor, images = camera(world, "rgb", mount, car)
        assert bytes(image_of(images, world.tick()).raw_data) == expected
        sensor.stop()
