"""Rotations and mounts against `carla.Transform`, footprints by hand."""

from __future__ import annotations

import random

import carla
import numpy as np
import pytest

from clipdrive.carla_server import poses


def transform(pose):
    return carla.Transform(carla.Location(*pose[:3]), carla.Rotation(*pose[3:]))


def random_pose(rng):
    angles = (rng.uniform(-89, 89), rng.uniform(-180, 180), rng.uniform(-180, 180))
    return (*(rng.uniform(-50, 50) for _ in range(3)), *angles)


def test_axes_are_those_of_carla():
    rng = random.Random(1)
    for _ in range(50):
        pose = random_pose(rng)
        place = transform(pose)
        vectors = place.get_forward_vector(), place.get_right_vector(), place.get_up_vector()
        expected = [(v.x, v.y, v.z) for v in vectors]
        np.testing.assert_allclose(poses.axes(*pose[3:]), expected, atol=1e-5)


def test_a_mount_is_the_product_of_the_matrices():
    rng = random.Random(2)
    for _ in range(50):
        parent, relative = random_pose(rng), random_pose(rng)
        expected = np.array(transform(parent).get_matrix()) @ np.array(transform(relative).get_matrix())
        got = np.array(transform(poses.compose(parent, relative)).get_matrix())
        np.testing.assert_allclose(got, expected, atol=1e-3)


def test_a_mount_without_rotation_keeps_the_parents():
    parent = (1.0, 2.0, 3.0, 10.0, 90.0, 5.0)
    assert poses.compose(parent, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)) == parent


def test_turning_there_and_back_changes_nothing():
    frame = poses.axes(12.0, -34.0, 56.0)
    assert poses.turn_back(frame, poses.turn(frame, (1.0, -2.0, 3.0))) == pytest.approx((1.0, -2.0, 3.0))


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        ((4.0, 0.0, 0.0, 0.0, 0.0, 0.0), True),  # cars 4 m long, bumper in bumper
        ((4.2, 0.0, 0.0, 0.0, 0.0, 0.0), False),
        ((0.0, 2.1, 0.0, 0.0, 0.0, 0.0), False),  # 2 m wide, side by side
        ((0.0, 2.1, 0.0, 0.0, 30.0, 0.0), True),
        ((3.1, 0.0, 0.0, 0.0, 90.0, 0.0), False),  # one across
        ((2.9, 0.0, 0.0, 0.0, 90.0, 0.0), True),
    ],
)
def test_footprints(other, overlap):
    half = (2.0, 1.0, 0.75) if other[0] != 4.0 else (2.001, 1.0, 0.75)
    assert poses.footprints_overlap((0.0,) * 6, half, other, half) is overlap
