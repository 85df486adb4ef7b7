"""Automatic exposure: images of one mean and contrast in every light."""

from __future__ import annotations

import numpy as np
import pytest

from clipdrive.driving.exposure import DEVIATION, MEAN, exposed
from fake_world import circle_env, default_params

RNG = np.random.default_rng(0)
SCENE = RNG.normal(0.5, 0.1, (84, 84))


@pytest.mark.parametrize("light", [1.0, 0.45, 0.12])
@pytest.mark.parametrize("shape", [(84, 84), (42, 56, 3)])
def test_whatever_the_light_the_image_has_one_mean_and_contrast(light, shape):
    image = np.rint(255.0 * light * SCENE).clip(0, 255).astype(np.uint8).reshape(shape)
    seen = exposed(image)
    assert seen.dtype == np.uint8 and seen.shape == shape
    assert seen.mean() == pytest.approx(MEAN, abs=0.3) and seen.std() == pytest.approx(DEVIATION, rel=0.02)


def test_by_hand():
    image = np.array([[10, 20], [10, 20]], np.uint8)  # mean 15, deviation 5
    assert exposed(image).tolist() == [[94, 170], [94, 170]]  # 132 -+ 38


def test_a_darker_image_of_the_same_scene_looks_the_same():
    light = np.rint(200.0 * SCENE).astype(np.uint8)
    dark = np.rint(50.0 * SCENE).astype(np.uint8)
    assert np.abs(exposed(light).astype(int) - exposed(dark)).mean() < 5.0  # rounding, in steps of 4


def test_an_image_without_contrast_stays_without():
    assert (exposed(np.full((84, 84), 7, np.uint8)) == 132).all()


def test_the_environment_exposes_where_the_params_say_so(monkeypatch):
    for exposure, expected in (("none", 0), ("auto", 132)):
        env = circle_env(monkeypatch, default_params(exposure=exposure))
        observation, _ = env.reset(options={"s_m": 10.0})  # the image shows the number of the frame
        assert (observation["frames"] == expected).all() and (env.image == expected).all()
        observation, *_ = env.step(np.zeros(2, np.float32))
        assert (observation["frames"][-1] == (2 if exposure == "none" else 132)).all()
