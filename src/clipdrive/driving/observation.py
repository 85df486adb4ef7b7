"""What the agent sees: the last frames (or the road as numbers in their place), its speed and its last action."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from clipdrive.driving import road_ahead, route_command
from clipdrive.params import CameraParams, Params, VehicleParams

SPEED_BOUND = 10.0  # of the observation's speed, in units of speed_scale_mps
STATE_HIGH = np.array([SPEED_BOUND, 1.0, 1.0], dtype=np.float32)


def state_size(params: Params) -> int:
    """Numbers in the observation's `state`."""
    return space_of(params)["state"].shape[0]


def space_of(params: Params) -> spaces.Dict:
    """The observation's space, as the params say."""
    if params.observation == "state":
        return road_space(params.camera)
    return commanded_space(params.camera) if params.route_command else observation_space(params.camera)


def road_space(camera: CameraParams) -> spaces.Dict:
    """With `observation: state`. frames: uint8, no pixels; state: float32, `state_vector`, then RoadAhead's numbers."""
    high = np.concatenate([STATE_HIGH, np.full(2, np.inf), np.ones(road_ahead.SIZE - 2)]).astype(np.float32)
    return spaces.Dict(
        frames=spaces.Box(0, 255, (camera.stack, 0, 0), np.uint8),
        state=spaces.Box(-high, high, dtype=np.float32),
    )


def observation_space(camera: CameraParams) -> spaces.Dict:
    """frames: uint8 (stack, height, width), in RGB (3 stack, height, width); state: float32 (3,)."""
    channels = camera.stack * (1 if camera.color == "gray" else 3)
    return spaces.Dict(
        frames=spaces.Box(0, 255, (channels, camera.height_px, camera.width_px), np.uint8),
        state=spaces.Box(-STATE_HIGH, STATE_HIGH, dtype=np.float32),
    )


def commanded_space(camera: CameraParams) -> spaces.Dict:
    """With `route_command: true`. frames as ever; state: float32 (12,), `state_vector`, then `route_command`."""
    command = np.ones(route_command.SIZE, np.float32)
    low, high = np.concatenate([-STATE_HIGH, 0.0 * command]), np.concatenate([STATE_HIGH, command])
    return spaces.Dict(frames=observation_space(camera)["frames"], state=spaces.Box(low, high, dtype=np.float32))


def state_vector(vehicle: VehicleParams, speed_mps: float, steer: float, throttle: float) -> np.ndarray:
    """float32 (3,): speed in units of speed_scale_mps (signed), and the last action [steer,
    throttle(+)/brake(-)]."""
    speed = min(max(speed_mps / vehicle.speed_scale_mps, -SPEED_BOUND), SPEED_BOUND)
    return np.array([speed, steer, throttle], dtype=np.float32)


class FrameStack:
    """The last frames of one episode, oldest first; before the stack is full the first frame fills it."""

    def __init__(self, camera: CameraParams) -> None:
        self._frames = np.zeros(observation_space(camera)["frames"].shape, np.uint8)
        self._per_frame = len(self._frames) // camera.stack

    def start(self, image: np.ndarray) -> np.ndarray:
        """Forget the episode before and begin with `image`; returns a copy of the stack."""
        frame = _channels_first(image)
        for first in range(0, len(self._frames), self._per_frame):
            self._frames[first : first + self._per_frame] = frame
        return self._frames.copy()

    def push(self, image: np.ndarray) -> np.ndarray:
        """Add the next frame, (height, width) or (height, width, 3); returns a copy of the stack."""
        self._frames[: -self._per_frame] = self._frames[self._per_frame :].copy()
        self._frames[-self._per_frame :] = _channels_first(image)
        return self._frames.copy()


def _channels_first(image: np.ndarray) -> np.ndarray:
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
