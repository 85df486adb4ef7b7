"""Cameras that share memory draw what cameras with memory of their own draw, and give it back."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from clipdrive.carla_server import camera_boxes, camera_buffers
from clipdrive.carla_server.actors import DrawnBox
from clipdrive.carla_server.camera import NO_MOUNTS, Camera, box_rows
from clipdrive.carla_server.maps import MapLibrary

SIZES = ((84, 84, 90.0), (31, 17, 120.0), (200, 100, 60.0), (84, 84, 90.0))
KINDS = (camera_boxes.RGB, camera_boxes.DEPTHS, camera_boxes.TAGS, camera_boxes.INSTANCES)


@pytest.fixture(scope="module")
def road():
    return MapLibrary().load("circuit_3")


def in_a_new_thread(function):
    """What `function` returns on a thread that has drawn nothing yet."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_what_was_drawn_before_does_not_show(road):
    random = np.random.default_rng(5)
    cameras = [Camera(*size, kind) for size in SIZES for kind in KINDS]
    for turn in range(60):
        camera = cameras[random.integers(len(cameras))]
        x, y, z, _, yaw, _ = road.spawn_points[turn % len(road.spawn_points)]
        pose = (x, y, z + random.uniform(0.1, 3.0), *random.uniform(-60.0, 60.0, 3))
        car = DrawnBox((x + 4.0, y + 2.0, z, 0.0, yaw, 0.0), (2.4, 1.0, 0.7), (0.0, 0.0, 0.7), 14, (200, 30, 30), 7)
        boxes = box_rows([car] if turn % 3 else [])
        here = camera.render(road.ground, *pose, boxes, NO_MOUNTS)
        there = in_a_new_thread(lambda c=camera, p=pose, b=boxes: c.render(road.ground, *p, b, NO_MOUNTS))
        assert np.array_equal(here, there)


def test_rays_are_shared_by_equal_cameras_for_as_long_as_there_is_one():
    first, second, other = Camera(40, 30, 90.0), Camera(40, 30, 90.0), Camera(40, 30, 91.0)
    assert first._rays is second._rays and first._rays is not other._rays
    assert other._rays.us[0] == pytest.approx((0.5 - 20.0) / other.focal_px)
    assert (40, 30, 90.0) in camera_buffers._in_use
    del first, second
    gc.collect()
    assert (40, 30, 90.0) not in camera_buffers._in_use


def test_depths_of_a_large_image_are_not_kept():
    desk = camera_buffers.Desk()
    small, _ = desk.survey(500)
    large, tags = desk.survey(camera_buffers.KEPT_PIXELS + 1)
    assert len(large) == len(tags) == camera_buffers.KEPT_PIXELS + 1
    again, _ = desk.survey(400)
    assert np.shares_memory(again, small) and len(again) == 400
