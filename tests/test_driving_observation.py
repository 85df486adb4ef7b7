import numpy as np
import pytest

from clipdrive.driving.observation import FrameStack, observation_space, state_vector
from fake_world import default_params


@pytest.mark.parametrize(("color", "channels"), [("gray", 4), ("rgb", 12)])
def test_shape_of_the_frames(color, channels):
    camera = default_params(camera={"color": color, "stack": 4, "height_px": 40, "width_px": 50}).camera
    assert observation_space(camera)["frames"].shape == (channels, 40, 50)
    image = np.zeros((40, 50, 3) if color == "rgb" else (40, 50), np.uint8)
    assert FrameStack(camera).start(image).shape == (channels, 40, 50)


def test_trap_18_the_stack_holds_frames_of_one_episode_only():
    camera = default_params(camera={"stack": 3, "height_px": 36, "width_px": 36}).camera
    stack = FrameStack(camera)

    def image(value):
        return np.full((36, 36), value, np.uint8)

    def values(frames):
        return frames[:, 0, 0].tolist()

    for first in (10, 100):
        seen = [values(stack.start(image(first)))] + [values(stack.push(image(first + t))) for t in range(1, 5)]
        assert seen == [[first + max(0, t - k) for k in (2, 1, 0)] for t in range(5)]


def test_rgb_frames_are_channels_first_and_oldest_first():
    camera = default_params(camera={"color": "rgb", "stack": 2, "height_px": 36, "width_px": 36}).camera
    stack = FrameStack(camera)
    first, second = (np.random.default_rng(n).integers(0, 256, (36, 36, 3), dtype=np.uint8) for n in (0, 1))
    stack.start(first)
    frames = stack.push(second)
    assert (frames[:3].transpose(1, 2, 0) == first).all() and (frames[3:].transpose(1, 2, 0) == second).all()


def test_what_was_given_out_does_not_change():
    camera = default_params(camera={"height_px": 36, "width_px": 36}).camera
    stack = FrameStack(camera)
    given = stack.start(np.zeros((36, 36), np.uint8))
    stack.push(np.ones((36, 36), np.uint8))
    assert given.max() == 0


def test_state_is_speed_and_last_action_within_bounds():
    vehicle = default_params(vehicle={"speed_scale_mps": 20.0}).vehicle
    assert state_vector(vehicle, 5.0, -0.5, 1.0).tolist() == [0.25, -0.5, 1.0]
    space = observation_space(default_params().camera)["state"]
    assert space.contains(state_vector(vehicle, 1e6, 1.0, -1.0)) and np.isfinite(space.high).all()
