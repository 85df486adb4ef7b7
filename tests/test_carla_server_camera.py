import dataclasses
import math

import carla
import numpy as np
import pytest

from carla_server_roads import crossing, ground, left_arc, network, road_xml, slope_xml, straight
from clipdrive.carla_server.camera import Camera, CameraError, put_camera
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.materials import ASPHALT, LUMA_BGR, VERGE, WALL, WHITE_LINE, YELLOW_LINE, materials
from clipdrive.opendrive import geometry

GREEN_SEED = next(s for s in range(100) if materials(s)[0][VERGE] @ [-1.0, 1.0, 0.0] > 70.0)


def test_rotation_is_that_of_carla():
    rng = np.random.default_rng(0)
    axes = np.empty((3, 3))
    for pitch, yaw, roll in rng.uniform(-170.0, 170.0, (20, 3)):
        transform = carla.Transform(carla.Location(), carla.Rotation(pitch=pitch, yaw=yaw, roll=roll))
        put_camera(axes, np.empty(3), (1.0, 2.0, 3.0, pitch, yaw, roll), 0.0, 0.0)
        np.testing.assert_allclose(axes, np.array(transform.get_matrix())[:3, :3], atol=2e-6)
        forward = transform.get_forward_vector()
        np.testing.assert_allclose(axes[:, 0], [forward.x, forward.y, forward.z], atol=2e-6)


def projected(pose, camera, points):
    """Pixel coordinates and depth of points (n, 3): carla's matrix, then a pinhole with its own K."""
    x, y, z, pitch, yaw, roll = pose
    transform = carla.Transform(carla.Location(x, y, z), carla.Rotation(pitch=pitch, yaw=yaw, roll=roll))
    seen = np.array(transform.get_inverse_matrix()) @ np.vstack([points.T, np.ones(len(points))])
    f = camera.width / (2.0 * math.tan(math.radians(camera.fov_deg / 2.0)))
    k = np.array([[f, 0.0, camera.width / 2.0], [0.0, f, camera.height / 2.0], [0.0, 0.0, 1.0]])
    image = k @ np.vstack([seen[1], -seen[2], seen[0]])
    return (image[:2] / image[2]).T, seen[0]


def grass(image):
    """Share of verge in each pixel, (h, w): the verge is green, everything on the road is gray."""
    bgr = image[..., :3].astype(float)
    return (bgr[..., 1] - bgr[..., 0]) / (materials(GREEN_SEED)[0][VERGE] @ [-1.0, 1.0, 0.0])


def sampled(values, points):
    """Values between pixels; pixel (0, 0) has its middle at (0.5, 0.5)."""
    u, v = points[:, 0] - 0.5, points[:, 1] - 0.5
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = u - i, v - j
    top = values[j, i] * (1 - a) + values[j, i + 1] * a
    return top * (1 - b) + (values[j + 1, i] * (1 - a) + values[j + 1, i + 1] * a) * b


def assert_edge_is_drawn_where_it_projects(land, camera, pose, edge, outward, at_least=10, span_m=1.5):
    """A pixel outside of every projected edge point (n, 3), square to the edge, lies verge; a pixel inside, road."""
    image = camera.render(land, *pose)
    here, depth = projected(pose, camera, edge)
    beyond, _ = projected(pose, camera, edge + 0.05 * outward)
    ahead, _ = projected(pose, camera, edge + 0.05 * outward[:, [1, 0, 2]] * [-1.0, 1.0, 0.0])
    along = (ahead - here) / np.linalg.norm(ahead - here, axis=1, keepdims=True)
    square = np.column_stack([-along[:, 1], along[:, 0]])
    leaving = ((beyond - here) * square).sum(1)
    square *= np.sign(leaving)[:, None]
    inside = np.abs(leaving) > 0.2 * np.linalg.norm(beyond - here, axis=1)  # not along the line of sight
    inside &= (here > 4.0).all(1) & (here[:, 0] < camera.width - 4.0) & (here[:, 1] < camera.height - 4.0)
    above = pose[2] - edge[:, 2]
    inside &= (depth > 1.0) & (depth**2 < span_m * above * camera.focal_px)  # what a pixel spans at most
    assert inside.sum() >= at_least
    if not inside.any():
        return 0
    verge = grass(image)
    here, square = here[inside], square[inside]
    assert sampled(verge, here + square).min() > 0.5, "verge begins more than a pixel outside"
    assert sampled(verge, here - square).max() < 0.5, "verge begins more than a pixel inside"
    return int(inside.sum())


def edges_of(road, spacing=0.3, z=None):
    """Points (n, 3) of both borders in CARLA's frame and the horizontal directions (n, 3) out of the road."""
    s = np.arange(0.5, road.length_m - 0.5, spacing)
    right, left = geometry.driving_extent(road, s)
    heading = geometry.reference_line(road, s).heading_rad
    height = geometry.elevation(road, s)[0]
    points, directions = [], []
    for t, side in ((left, 1.0), (right, -1.0)):
        x, y = geometry.points(road, s, t)
        points.append(np.column_stack([x, -y, height]))
        directions.append(np.column_stack([-np.sin(heading), -np.cos(heading), 0 * s]) * side)
    return np.concatenate(points), np.concatenate(directions)


CAMERAS = [Camera(84, 84, 90.0), Camera(320, 240, 90.0)]


@pytest.mark.parametrize("camera", CAMERAS, ids=["84", "320"])
def test_edges_of_a_bend_are_drawn_where_a_pinhole_projects_them(camera):
    road = left_arc(radius=25.0, angle=3.0)
    land = ground(road, texture_seed=GREEN_SEED, wall_height_m=0.0)
    edge, outward = edges_of(network(road).roads["1"])
    rng = np.random.default_rng(4)
    for _ in range(10):
        angle, offset = rng.uniform(0.3, 2.2), rng.uniform(-2.0, 2.0)
        r = 25.0 + offset
        x, y = r * math.sin(angle), -(25.0 - r * math.cos(angle))
        yaw = -math.degrees(angle) + rng.uniform(-25.0, 25.0)
        pose = (x, y, rng.uniform(1.0, 3.0), rng.uniform(-25.0, 0.0), yaw, rng.uniform(-20.0, 20.0))
        assert_edge_is_drawn_where_it_projects(land, camera, pose, edge, outward)


@pytest.mark.parametrize("camera", CAMERAS, ids=["84", "320"])
@pytest.mark.parametrize("walls", [0.0, 1.0])
def test_edges_of_a_sloped_road_are_drawn_where_a_pinhole_projects_them(camera, walls):
    profile = slope_xml(0.0, 1.0, 0.07) + slope_xml(60.0, 5.2, 0.07, -0.0012)
    road = straight(140.0, elevation=profile)
    land = ground(road, texture_seed=GREEN_SEED, wall_height_m=walls)
    edge, outward = edges_of(network(road).roads["1"])
    rng = np.random.default_rng(5)
    for _ in range(10):
        x, y = rng.uniform(10.0, 75.0), rng.uniform(-2.0, 2.0)
        yaw = rng.choice([0.0, 180.0]) + rng.uniform(-15.0, 15.0)
        z = float(land.height(x, y)) + rng.uniform(1.2, 2.5)
        pose = (x, y, z, rng.uniform(-20.0, 0.0), yaw, rng.uniform(-12.0, 12.0))
        # With walls only where the verge between is a few pixels wide.
        span_m = 0.5 if walls else 1.5
        assert_edge_is_drawn_where_it_projects(land, camera, pose, edge, outward, at_least=4, span_m=span_m)


@pytest.mark.parametrize("camera", CAMERAS, ids=["84", "320"])
def test_edges_inside_a_junction_are_drawn_where_a_pinhole_projects_them(camera):
    net = network(*crossing())
    land = GroundMap.from_network(net, texture_seed=GREEN_SEED, wall_height_m=0.0)
    # The border inside is made of the four right turns' outer borders: arcs of radius 12 - 3.5 about (+-12, +-12).
    angle = np.linspace(0.1, math.pi / 2.0 - 0.1, 60)
    edge, outward = [], []
    for sx in (1.0, -1.0):
        for sy in (1.0, -1.0):
            towards = np.column_stack([sx * np.cos(angle), sy * np.sin(angle), 0 * angle])
            edge.append([sx * 12.0, sy * 12.0, 0.0] - 8.5 * towards)
            outward.append(towards)
    edge, outward = np.concatenate(edge), np.concatenate(outward)
    rng = np.random.default_rng(6)
    seen = 0
    for _ in range(8):
        arm = rng.integers(4) * 90.0
        away, offset = rng.uniform(6.0, 18.0), rng.uniform(-2.0, 2.0)
        c, s = math.cos(math.radians(arm)), math.sin(math.radians(arm))
        x, y = -away * c - offset * s, -away * s + offset * c
        pose = (x, y, rng.uniform(1.2, 2.5), rng.uniform(-20.0, -5.0), arm + rng.uniform(-10.0, 10.0), 0.0)
        seen += assert_edge_is_drawn_where_it_projects(land, camera, pose, edge, outward, at_least=0)
    assert seen > 100
    # And nothing else looks like an edge there: straight ahead through the middle all is road.
    image = camera.render(land, -11.0, 0.0, 1.4, -10.0, 0.0, 0.0)
    line, _ = projected((-11.0, 0.0, 1.4, -10.0, 0.0, 0.0), camera, np.array([[x, 0.3, 0.0] for x in range(-8, 12)]))
    inside = (line > 1).all(1) & (line < [camera.width - 2, camera.height - 2]).all(1)
    shades = sampled(image[..., :3].astype(float) @ LUMA_BGR, line[inside])
    assert shades.max() - shades.min() < 45.0


def test_walls_stand_at_the_end_of_the_verge_and_are_as_high_as_they_should_be():
    land = ground(straight(), verge_m=2.5, wall_height_m=1.0, texture_seed=GREEN_SEED)
    camera = Camera(240, 240, 60.0)
    for yaw, away in ((90.0, 6.0 - 1.0), (-90.0, 6.0 + 1.0)):
        image = camera.render(land, 100.0, 1.0, 1.4, 0.0, yaw, 0.0).astype(float)
        column = image[:, 120, :3]
        f = camera.focal_px
        top, foot = 120.0 + f * 0.4 / away, 120.0 + f * 1.4 / away
        chroma = column[:, 1] - column[:, 0]
        green = materials(GREEN_SEED)[0][VERGE] @ [-1.0, 1.0, 0.0]
        rows = np.arange(240) + 0.5
        assert np.all(chroma[(rows > top + 1) & (rows < foot - 1)] < 0.3 * green)
        assert np.all(chroma[(rows > foot + 1) & (rows < foot + 10)] > 0.7 * green)
        assert np.all(chroma[(rows < top - 1) & (rows > top - 8)] > 0.5 * green)


def test_walls_cover_what_is_behind_them_only_as_high_as_they_are():
    high, low = (ground(straight(), wall_height_m=h, texture_seed=GREEN_SEED) for h in (2.5, 0.3))
    camera = Camera(84, 84, 90.0)
    rows = [(camera.render(g, 100.0, 0.0, 1.4, 0.0, 90.0, 0.0)[:42, 42, :].astype(int)) for g in (high, low)]
    f = camera.focal_px
    until = int(42 - f * (2.5 - 1.4) / 6.0)
    assert np.abs(rows[0][until + 1 :] - rows[1][until + 1 :]).max() > 10
    np.testing.assert_array_equal(rows[0][: until - 1], rows[1][: until - 1])


def test_flat_ground_and_the_same_ground_with_heights_look_alike():
    flat = ground(*crossing(), texture_seed=3)
    level = dataclasses.replace(flat, elevation=np.zeros_like(flat.edge), steepest=0.0)
    camera = Camera(160, 120, 90.0)
    rng = np.random.default_rng(7)
    for _ in range(5):
        pose = (rng.uniform(-40, 40), rng.uniform(-3, 3), 1.6, rng.uniform(-20, 5), rng.uniform(-180, 180), 7.0)
        difference = np.abs(camera.render(flat, *pose).astype(int) - camera.render(level, *pose).astype(int))
        assert np.mean(difference > 12) < 0.01, "more than the last trace of rounding differs"


def test_a_crest_hides_what_is_behind_it():
    profile = slope_xml(0.0, 0.0, 0.10) + slope_xml(50.0, 5.0, -0.10)
    land = ground(straight(120.0, elevation=profile), wall_height_m=0.0, texture_seed=GREEN_SEED)
    camera = Camera(200, 200, 60.0)
    pose = (30.0, 1.75, 3.0 + 1.4, 0.0, 0.0, 0.0)
    image = camera.render(land, *pose)
    crest, _ = projected(pose, camera, np.array([[50.0, 0.0, 5.0]]))
    row = crest[0, 1]
    blue = image[:, 100, 0].astype(float) - image[:, 100, 2]
    assert blue[int(row) - 3] > 0.0 and image[int(row) - 3, 100, :3].min() > 130, "sky above the crest"
    assert image[int(row) + 3, 100, :3].max() < 130, "road below it"


def test_the_horizon_is_level_and_follows_pitch_and_roll():
    land = ground(straight(), wall_height_m=0.0)
    camera = Camera(101, 101, 90.0)
    for pitch, roll in ((-10.0, 0.0), (8.0, 0.0), (0.0, 20.0), (-5.0, -15.0)):
        image = camera.render(land, 100.0, 0.0, 1.5, pitch, 0.0, roll)
        # A point far ahead on the horizon, and one in the corner of the eye.
        far = np.array([[100.0 + 4e4, 0.0, 1.5], [100.0 + 4e4, 1e4, 1.5], [100.0 + 4e4, -1e4, 1.5]])
        points, _ = projected((100.0, 0.0, 1.5, pitch, 0.0, roll), camera, far)
        for u, v in points:
            sky, earth = image[int(v) - 12, int(u), :3], image[int(v) + 6, int(u), :3]
            assert sky.min() > 120 and sky[0] >= sky[2], (pitch, roll)
            assert tuple(earth) != tuple(sky)


@pytest.mark.parametrize("seed", range(24))
def test_in_gray_asphalt_is_darker_than_the_verge_and_lines_are_brightest(seed):
    colours = materials(seed)[0]
    gray = colours @ LUMA_BGR
    assert gray[ASPHALT] + 35.0 < gray[VERGE] < gray[WHITE_LINE] - 30.0
    assert gray[YELLOW_LINE] > gray[ASPHALT] + 60.0
    land = ground(straight(), texture_seed=seed)
    image = Camera(84, 84, 90.0).render(land, 100.0, 0.0, 1.4, -10.0, 0.0, 0.0)[..., :3].astype(float) @ LUMA_BGR
    points = np.array([[104.0, 2.0, 0.0], [104.0, -1.8, 0.0], [106.0, 4.6, 0.0], [106.0, -4.8, 0.0]])
    pixels, _ = projected((100.0, 0.0, 1.4, -10.0, 0.0, 0.0), Camera(84, 84, 90.0), points)
    road_a, road_b, verge_a, verge_b = sampled(image, pixels)
    assert max(road_a, road_b) + 12.0 < min(verge_a, verge_b)


def test_looks_differ_by_seed_and_stay_for_a_seed():
    one, two = (ground(straight(), texture_seed=seed) for seed in (1, 2))
    camera = Camera(84, 84, 90.0)
    images = [camera.render(land, 50.0, 0.0, 1.4, -10.0, 0.0, 0.0) for land in (one, two, one)]
    assert np.abs(images[0].astype(int) - images[1]).mean() > 4.0
    assert images[0].tobytes() == images[2].tobytes()
    assert materials(1)[0][WALL].max() < 250.0


def test_grain_belongs_to_the_place_and_not_to_the_pixel():
    land = ground(straight(), wall_height_m=0.0, texture_seed=1)
    camera = Camera(200, 200, 60.0)
    # Looking straight down from 2 m, 0.4 m of travel are exactly 34.64 pixels.
    size = 0.4 * camera.focal_px / 2.0
    a = camera.render(land, 50.0, 1.5, 2.0, -90.0, 0.0, 0.0)[..., 0].astype(float)
    b = camera.render(land, 50.4, 1.5, 2.0, -90.0, 0.0, 0.0)[..., 0].astype(float)
    shift = round(size)
    moved, same = b[shift:, 20:60] - a[:-shift, 20:60], b[:, 20:60] - a[:, 20:60]
    assert np.abs(moved).mean() < 0.5 * np.abs(same).mean()


def test_dashes_are_where_they_are_painted():
    land = ground(straight(), wall_height_m=0.0, texture_seed=1)
    camera = Camera(160, 160, 60.0)
    pose = (60.0, 0.0, 3.0, -60.0, 0.0, 0.0)
    gray = camera.render(land, *pose)[..., :3].astype(float) @ LUMA_BGR
    for x in np.arange(60.6, 63.6, 0.1):
        phase = x % 9.0
        if min(abs(phase - edge) for edge in (0.0, 3.0, 9.0)) < 0.3:
            continue
        pixel, _ = projected(pose, camera, np.array([[x, 0.0, 0.0]]))
        painted = sampled(gray, pixel)[0] > 160.0
        assert painted == (phase < 3.0), x


def test_double_and_yellow_lines_look_it():
    xml = straight(centre="solid solid").replace('solid solid" color="white"', 'solid solid" color="yellow"')
    land = ground(xml, wall_height_m=0.0, texture_seed=1)
    image = Camera(200, 200, 60.0).render(land, 50.0, 0.0, 2.0, -90.0, 0.0, 0.0).astype(int)
    row = image[100]  # across the road
    yellow = (row[:, 2] - row[:, 0]) > 60
    edges = np.flatnonzero(np.diff(yellow.astype(int)))
    assert len(edges) == 4, "two stripes"
    stripes = (edges.reshape(2, 2).mean(1) + 1.0 - 100.0) * 2.0 / Camera(200, 200, 60.0).focal_px
    np.testing.assert_allclose(stripes, [-0.12, 0.12], atol=0.02)


def test_images_are_bgra_bytes_and_repeat_exactly():
    land = ground(left_arc(), texture_seed=5)
    for width, height in ((84, 84), (320, 240), (1, 1), (801, 3)):
        camera = Camera(width, height, 100.0)
        pose = (3.0, 0.5, 1.4, -9.0, 4.0, 2.0)
        image = camera.render(land, *pose)
        assert image.shape == (height, width, 4) and image.dtype == np.uint8
        assert image.flags.c_contiguous and np.all(image[..., 3] == 255)
        kept = image.tobytes()
        camera.render(land, 9.0, 0.0, 2.0, 0.0, 90.0, 0.0)
        assert camera.render(land, *pose).tobytes() == kept == image.tobytes()
        assert Camera(width, height, 100.0).render(land, *pose).tobytes() == kept


def test_odd_poses_give_an_image():
    land = ground(straight(), texture_seed=5)
    slope = ground(straight(elevation=slope_xml(0.0, 0.0, 0.05)), texture_seed=5)
    camera = Camera(84, 84, 90.0)
    for pose in (
        (50.0, 0.0, -3.0, 0.0, 0.0, 0.0),
        (1e5, -1e5, 2.0, -10.0, 30.0, 0.0),
        (50.0, 0.0, 1.4, -90.0, 0.0, 180.0),
        (50.0, 0.0, 1.4, 90.0, 0.0, 0.0),
        (50.0, 6.0, 0.5, 0.0, 0.0, 0.0),
        (math.nan, 0.0, 1.0, 0.0, math.inf, 0.0),
        (50.0, 0.0, 5000.0, -60.0, 0.0, 0.0),
    ):
        for place in (land, slope):
            assert camera.render(place, *pose).shape == (84, 84, 4)


def test_cameras_that_cannot_be_are_refused():
    with pytest.raises(CameraError, match="0 x 84"):
        Camera(0, 84, 90.0)
    with pytest.raises(CameraError, match="180"):
        Camera(84, 84, 180.0)


def test_roads_of_a_junction_and_a_wide_road_draw_without_seams():
    wide = road_xml("2", [(100.0, 0.0, 0.0, 60.0, 0.0)])
    land = ground(straight(100.0), wide, wall_height_m=0.0, texture_seed=GREEN_SEED)
    image = Camera(120, 120, 90.0).render(land, 95.0, 0.0, 1.4, -15.0, 0.0, 0.0)
    points = np.array([[x, 1.7, 0.0] for x in np.arange(97.5, 112.0, 0.25)])
    pixels, _ = projected((95.0, 0.0, 1.4, -15.0, 0.0, 0.0), Camera(120, 120, 90.0), points)
    assert sampled(grass(image), pixels).max() < 0.2
