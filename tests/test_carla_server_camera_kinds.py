"""Depth, tags and boxes in the images, and the weather, against hand arithmetic and the wheel's own matrices."""

import math

import carla
import numpy as np
import pytest
from matplotlib.path import Path

from carla_server_roads import ground, straight
from clipdrive.carla_server.actors import DrawnBox
from clipdrive.carla_server.camera import Camera, box_rows
from clipdrive.carla_server.camera_boxes import DEPTHS, INSTANCES, TAGS
from clipdrive.carla_server.settings import CLEAR_NOON
from clipdrive.carla_server.weather import CLEAR, Weather, looks

LAND = ground(straight(), texture_seed=3)  # along x, two lanes of 3.5 m, verges of 2.5 m, walls of 1 m
OPEN = ground(straight(), texture_seed=3, wall_height_m=0.0)
ROAD, WALL, TERRAIN, SKY, CAR, LINE = 1, 4, 10, 11, 14, 24


def depth_m(image):
    """CARLA's formula."""
    b, g, r = (image[..., channel].astype(float) for channel in range(3))
    return 1000.0 * (r + 256.0 * g + 65536.0 * b) / 16777215.0


def car(x, y, z=0.0, yaw=0.0, pitch=0.0, roll=0.0, actor_id=7, half=(2.4, 1.0, 0.75), color=(200, 20, 20)):
    return DrawnBox((x, y, z, pitch, yaw, roll), half, (0.0, 0.0, half[2]), CAR, color, actor_id)


def corner_pixels(pose, camera, box):
    """Pixels (8, 2) and depths (8,) of a box's corners, by carla's matrices alone."""
    x, y, z, pitch, yaw, roll = box.pose
    place = carla.Transform(carla.Location(x, y, z), carla.Rotation(pitch, yaw, roll))
    shape = carla.BoundingBox(carla.Location(*box.centre_m), carla.Vector3D(*box.half_extents_m))
    corners = np.array([[c.x, c.y, c.z, 1.0] for c in shape.get_world_vertices(place)])
    x, y, z, pitch, yaw, roll = pose
    eye = carla.Transform(carla.Location(x, y, z), carla.Rotation(pitch, yaw, roll))
    ahead, right, up, _ = np.array(eye.get_inverse_matrix()) @ corners.T
    focal = camera.width / 2.0 / math.tan(math.radians(camera.fov_deg) / 2.0)
    columns, rows = camera.width / 2.0 + focal * right / ahead, camera.height / 2.0 - focal * up / ahead
    return np.column_stack([columns, rows]), ahead


def hull(points):
    """The convex hull's corners in order: an edge is one where all points lie on its left."""
    points = points[np.lexsort(points.T)]
    start, ring = points[0], [points[0]]
    while True:
        here = ring[-1]
        following = points[0] if not np.array_equal(here, points[0]) else points[1]
        for point in points:
            a, b = following - here, point - here
            if not np.array_equal(point, here) and a[0] * b[1] - a[1] * b[0] < 0.0:
                following = point
        if np.array_equal(following, start):
            return np.array(ring)
        ring.append(following)


def test_depth_of_the_road_is_the_height_over_the_sine():
    camera = Camera(160, 120, 80.0, DEPTHS)
    for pitch, height in ((-10.0, 1.4), (-35.0, 4.0)):
        depth = depth_m(camera.render(OPEN, 100.0, 0.5, height, pitch, 7.0, 0.0))
        focal = 80.0 / math.tan(math.radians(40.0))
        p = math.radians(pitch)
        for row in (70, 90, 119):
            up = (60.0 - row - 0.5) / focal  # of the ray, for one metre along the axis
            expected = height / -(math.sin(p) + up * math.cos(p))
            np.testing.assert_allclose(depth[row], expected, rtol=1e-5, atol=1e-4)


def test_depth_of_walls_boxes_and_sky():
    camera = Camera(101, 101, 90.0, DEPTHS)
    wall = depth_m(camera.render(LAND, 100.0, 1.0, 0.8, 0.0, 90.0, 0.0))
    np.testing.assert_allclose(wall[50, 20:80], 6.0 - 1.0, atol=0.01)  # half a road, a verge, and 1 m off the middle
    assert depth_m(camera.render(LAND, 100.0, 1.0, 0.8, 60.0, 90.0, 0.0))[50, 50] == pytest.approx(1000.0)
    boxes = box_rows([car(110.0, 0.0), car(125.0, 0.0, actor_id=8)])
    seen = depth_m(camera.render(LAND, 100.0, 0.0, 0.7, 0.0, 0.0, 0.0, boxes))
    np.testing.assert_allclose(seen[50, 45:56], 10.0 - 2.4, atol=1e-3)  # the nearer one's back
    turned = box_rows([car(110.0, 0.0, yaw=90.0)])
    assert depth_m(camera.render(LAND, 100.0, 0.0, 0.7, 0.0, 0.0, 0.0, turned))[50, 50] == pytest.approx(9.0, abs=1e-3)


def test_tags_of_known_places():
    camera = Camera(200, 200, 90.0, TAGS)
    pose = (100.0, 1.0, 1.4, -10.0, 0.0, 0.0)
    image = camera.render(LAND, *pose, box_rows([car(108.0, -1.5, yaw=20.0)]))
    assert not image[..., :2].any() and np.all(image[..., 3] == 255)
    tags = image[..., 2]
    places = [
        (106.0, 1.7, 0.0, ROAD), (105.0, 3.5 - 0.19, 0.0, LINE), (106.0, 4.8, 0.0, TERRAIN), (110.0, 6.02, 0.6, WALL),
        (108.0, -1.5, 0.7, CAR), (300.0, 0.0, 60.0, SKY),
    ]  # fmt: skip
    for x, y, z, tag in places:
        point = DrawnBox((x, y, z, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0, (0, 0, 0), 0)
        (u, v), _ = (values[0] for values in corner_pixels(pose, camera, point))
        assert tags[int(v), int(u)] == tag, (x, y, z)


@pytest.mark.parametrize("trial", range(12))
def test_a_box_covers_the_pixels_inside_the_hull_of_its_corners(trial):
    rng = np.random.default_rng(trial)
    camera = Camera(int(rng.integers(60, 200)), int(rng.integers(60, 160)), rng.uniform(50.0, 110.0), INSTANCES)
    pose = (100.0, 0.0, rng.uniform(1.0, 6.0), rng.uniform(-25.0, 5.0), rng.uniform(-20.0, 20.0), rng.uniform(-30, 30))
    away, aside = rng.uniform(6.0, 18.0), rng.uniform(-3.0, 3.0)
    box = car(100.0 + away, aside, rng.uniform(0.3, 1.0), *rng.uniform(-40.0, 40.0, 3), actor_id=0x1234)
    image = camera.render(OPEN, *pose, box_rows([box]))
    drawn = (image[..., 0] == 0x12) & (image[..., 1] == 0x34) & (image[..., 2] == CAR)
    corners, ahead = corner_pixels(pose, camera, box)
    assert ahead.min() > 0.1
    ring = hull(corners)
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    middles = np.column_stack([u.ravel(), v.ravel()])
    to_next = np.roll(ring, -1, axis=0) - ring
    square = np.column_stack([-to_next[:, 1], to_next[:, 0]]) / np.linalg.norm(to_next, axis=1)[:, None]
    from_sides = np.abs(((middles[:, None] - ring[None]) * square[None]).sum(-1)).min(1).reshape(drawn.shape)
    inside = Path(ring).contains_points(middles).reshape(drawn.shape)
    # The box's foot may lie below the ground, which then hides it: compare above the ground's own depth.
    depth = depth_m(Camera(camera.width, camera.height, camera.fov_deg, DEPTHS).render(OPEN, *pose))
    clear = (from_sides > 0.02) & (depth > ahead.max())
    assert (inside & clear).sum() > 20
    np.testing.assert_array_equal(drawn[clear], inside[clear])


def test_boxes_change_an_image_where_an_image_of_instances_shows_them_and_nowhere_else():
    boxes = box_rows([car(108.0, 1.5, yaw=20.0, color=(255, 0, 255)), car(104.0, 8.5, actor_id=8, color=(255, 0, 255))])
    rgb, instances = Camera(96, 72, 90.0), Camera(96, 72, 90.0, INSTANCES)
    for pose in (
        (99.0, 0.0, 1.4, -10.0, 0.0, 0.0),
        (99.0, 0.0, 1.4, -8.0, 60.0, 5.0),
        (99.0, 0.0, 3.0, -25.0, 30.0, 0.0),
    ):
        changed = (rgb.render(LAND, *pose, boxes) != rgb.render(LAND, *pose)).any(axis=2)
        shown = np.isin(instances.render(LAND, *pose, boxes)[..., 1], (7, 8))  # one of them beyond the wall
        np.testing.assert_array_equal(changed, shown)
        assert shown.any()


def test_what_is_near_hides_what_is_far_in_every_kind_of_image():
    pose = (100.0, 0.0, 0.7, 0.0, 0.0, 0.0)
    near, far = car(110.0, 0.0, actor_id=1, color=(250, 0, 0)), car(120.0, 3.0, actor_id=2, color=(0, 250, 0))
    camera = Camera(84, 84, 90.0, INSTANCES)
    images = [camera.render(LAND, *pose, box_rows(boxes)) for boxes in ((near, far), (far, near))]
    np.testing.assert_array_equal(*images)
    ids = images[0][..., 1]
    assert (ids == 1).sum() > 80 and 0 < (ids == 2).sum() < 60
    rgb = Camera(84, 84, 90.0).render(LAND, *pose, box_rows([far, near])).astype(int)
    assert np.all(rgb[ids == 1][:, 2] > rgb[ids == 1][:, 1] + 40), "the red car"
    assert np.all(rgb[ids == 2][:, 1] > rgb[ids == 2][:, 2] + 40), "the green car"
    beside = car(100.0, 10.0, actor_id=3, half=(2.0, 1.0, 0.4))  # behind the wall, which is higher
    seen = Camera(84, 84, 90.0, INSTANCES).render(LAND, 100.0, 0.0, 0.7, 0.0, 90.0, 0.0, box_rows([beside]))
    assert not np.any(seen[..., 1] == 3)


def test_a_camera_does_not_see_what_it_is_mounted_on_and_images_without_boxes_stay():
    pose = (100.0, 0.0, 1.4, -10.0, 0.0, 0.0)
    for kind in range(4):
        camera = Camera(84, 84, 90.0, kind)
        alone = camera.render(LAND, *pose).tobytes()
        boxes = box_rows([car(99.0, 0.0), car(60.0, 0.0, actor_id=8)])  # its own, and one behind
        assert camera.render(LAND, *pose, boxes, np.array([7])).tobytes() == alone
        assert camera.render(LAND, *pose, box_rows([car(108.0, 0.0)])).tobytes() != alone
        assert camera.render(LAND, *pose).tobytes() == alone


def rgb(weather=CLEAR, land=LAND, boxes=None):
    boxes = box_rows([car(112.0, 1.5)]) if boxes is None else boxes
    image = Camera(84, 84, 90.0).render(land, 100.0, 0.0, 1.4, -5.0, 0.0, 0.0, boxes, weather=weather)
    return image[..., :3].astype(float)


ROWS = {"sky": slice(0, 25), "near ground": slice(70, 84), "far ground": slice(40, 44)}


def test_the_default_weather_changes_no_bit():
    assert Weather.of(CLEAR_NOON) == CLEAR
    assert Weather.of((-1.0,) * 10 + (1.0, 0.03, 0.0331, 0.0)) == CLEAR
    colours, contrasts, _, haze = looks(3, CLEAR)
    from clipdrive.carla_server.materials import materials

    assert colours is materials(3)[0] and contrasts is materials(3)[1] and haze == (130.0, 0.0, 1.0)


def test_the_sun_darkens_everything_as_it_sinks():
    mean = [rgb(CLEAR._replace(sun_altitude_deg=angle)).mean((0, 1)).mean() for angle in (90, 45, 20, 5, -5, -30)]
    assert mean[0] == mean[1] and all(a > 1.1 * b for a, b in zip(mean[1:], mean[2:], strict=False))
    night = rgb(CLEAR._replace(sun_altitude_deg=-90.0))
    assert night.max() < 40.0 and night.std() > 1.0, "dark, but not black"


def test_fog_takes_the_far_first_and_begins_where_it_is_said_to():
    clear, thin, thick = rgb(), rgb(CLEAR._replace(fog_density=30.0)), rgb(CLEAR._replace(fog_density=100.0))
    horizon = looks(3, CLEAR)[0][6]
    images = (clear, thin, thick)
    gap = {name: [np.abs(image[rows] - horizon).mean() for image in images] for name, rows in ROWS.items()}
    for name in ("far ground", "sky"):
        assert gap[name][0] > 1.3 * gap[name][1] > 1.3 * 1.3 * gap[name][2], name
    assert gap["near ground"][1] > 0.8 * gap["near ground"][0], "thin fog leaves what is near"
    begun = rgb(CLEAR._replace(fog_density=100.0, fog_distance_m=8.0))
    assert np.abs(begun - clear)[ROWS["near ground"]].max() < 5.0 < np.abs(thick - clear)[ROWS["near ground"]].max()


def test_rain_and_wetness_darken_the_ground():
    dry = rgb()
    for weather in (CLEAR._replace(wetness=80.0), CLEAR._replace(precipitation_deposits=80.0)):
        wet = rgb(weather)
        assert wet[ROWS["near ground"]].mean() < 0.85 * dry[ROWS["near ground"]].mean()
        np.testing.assert_array_equal(wet[ROWS["sky"]], dry[ROWS["sky"]])
    rain = rgb(CLEAR._replace(precipitation=80.0))
    assert rain[ROWS["near ground"]].mean() < 0.85 * dry[ROWS["near ground"]].mean()
    assert np.abs(rain - dry)[ROWS["sky"]].max() > 2.0, "it is hazy, too"


def test_clouds_take_the_blue_and_some_of_the_light():
    clear, overcast = rgb(), rgb(CLEAR._replace(cloudiness=100.0))
    blue = [(image[ROWS["sky"]][..., 0] - image[ROWS["sky"]][..., 2]).mean() for image in (clear, overcast)]
    assert blue[1] < 0.15 * blue[0]
    assert overcast[ROWS["near ground"]].mean() == pytest.approx(0.7 * clear[ROWS["near ground"]].mean(), rel=0.05)


def test_weather_is_not_in_images_of_depth_and_tags():
    storm = Weather(100.0, 100.0, 100.0, -20.0, 100.0, 0.0, 100.0)
    for kind in (DEPTHS, TAGS, INSTANCES):
        camera, pose = Camera(84, 84, 90.0, kind), (100.0, 0.0, 1.4, -5.0, 0.0, 0.0)
        assert camera.render(LAND, *pose, weather=storm).tobytes() == camera.render(LAND, *pose).tobytes()
