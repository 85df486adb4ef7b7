"""Any Gymnasium environment with a vector or an image as observation and bounded continuous actions.

It shows the face of the driving task: `frames` and `state`, actions in [-1, 1], episodes by number.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

from clipdrive.params import CameraParams, Params

NO_FRAME = (1, 0, 0)  # channels, height, width where the observation is a vector


class TaskError(ValueError):
    """`task` names no environment that this project can learn."""


class GymnasiumTask(gymnasium.Env):
    """The environment `params.task`.

    Observation: `frames` uint8 (stack*C, H, W), scaled to the size and colour in `params.camera` (of no pixels where
    the observation is a vector), and `state` float32 (S,), the vector (of no numbers where it is an image). Action:
    float32 (A,) in [-1, 1], carried to each dimension's own bounds. Episode i depends on (seed, stream, i) alone.

    Raises TaskError for an environment that cannot be made, or of other spaces.
    """

    def __init__(self, params: Params, stream: int, seed: int) -> None:
        self.env = _make(params.task)
        self.restarts = 0  # there is no server that could fail
        self._camera, self._stream, self._seed = params.camera, stream, seed
        self._next_episode = 0
        self._is_image = _is_image(self.env.observation_space)
        self._frames = np.zeros(self._frames_shape(), np.uint8)
        low, high = self.env.action_space.low.astype(np.float64), self.env.action_space.high.astype(np.float64)
        self._middle, self._half = (high + low) / 2.0, (high - low) / 2.0
        size = 0 if self._is_image else int(np.prod(self.env.observation_space.shape))
        self.observation_space = spaces.Dict(
            frames=spaces.Box(0, 255, self._frames.shape, np.uint8),
            state=spaces.Box(-np.inf, np.inf, (size,), np.float32),
        )
        self.action_space = spaces.Box(-1.0, 1.0, (len(self._middle),), np.float32)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one frame."""
        return (self._colors, *self._frames.shape[1:])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin the episode of number `options["episode"]`; without, they count up. `seed` replaces the task's own."""
        if seed is not None:
            self._seed, self._next_episode = seed, 0
        episode = int((options or {}).get("episode", self._next_episode))
        self._next_episode = episode + 1
        (number,) = np.random.SeedSequence([self._seed, self._stream, episode]).generate_state(1)
        observation, _ = self.env.reset(seed=int(number) % 2**31)
        return self._observed(observation, first=True), {"episode": episode, "ending": None}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self.env.step(self.scaled(action))
        ending = "terminated" if terminated else "time_limit" if truncated else None
        info = {"ending": ending}
        return self._observed(observation), float(reward), bool(terminated), bool(truncated and not terminated), info

    def scaled(self, action: np.ndarray) -> np.ndarray:
        """An action in [-1, 1] in the environment's own bounds, dimension by dimension."""
        inside = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        return (self._middle + self._half * inside).astype(self.env.action_space.dtype)

    def close(self) -> None:
        self.env.close()

    def _observed(self, observation: np.ndarray, first: bool = False) -> dict[str, np.ndarray]:
        if not self._is_image:
            return {"frames": self._frames.copy(), "state": np.ravel(observation).astype(np.float32)}
        frame, count = _picture(observation, self._camera), self._colors
        if first:
            self._frames[:] = np.tile(frame, (self._camera.stack, 1, 1))
        else:
            self._frames[:-count] = self._frames[count:].copy()
            self._frames[-count:] = frame
        return {"frames": self._frames.copy(), "state": np.zeros(0, np.float32)}

    @property
    def _colors(self) -> int:
        return 3 if self._is_image and self._camera.color == "rgb" else 1

    def _frames_shape(self) -> tuple[int, int, int]:
        size = (self._camera.height_px, self._camera.width_px) if self._is_image else NO_FRAME[1:]
        return (self._camera.stack * self._colors, *size)


def _make(name: str) -> gymnasium.Env:
    allowed = "drive, or a Gymnasium environment with continuous actions"
    try:
        env = gymnasium.make(name)
    except (gymnasium.error.Error, ImportError, AttributeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise TaskError(f"task: got {name!r}, allowed: {allowed} ({reason})") from error
    action, seen = env.action_space, env.observation_space
    bounded = isinstance(action, spaces.Box) and action.shape and len(action.shape) == 1 and action.is_bounded()
    if not bounded:
        raise TaskError(f"task: got {name!r} with actions {action}, allowed: {allowed} and bounds")
    if not isinstance(seen, spaces.Box) or not (_is_image(seen) or len(seen.shape) == 1):
        raise TaskError(f"task: got {name!r} with observations {seen}, allowed: a vector, or images of uint8")
    return env


def _is_image(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)


def _picture(image: np.ndarray, camera: CameraParams) -> np.ndarray:
    """An image (h, w[, 3]) as a frame (C, H, W) of the camera's size and colour."""
    mode = "RGB" if camera.color == "rgb" else "L"
    picture = Image.fromarray(image).convert(mode)
    if picture.size != (camera.width_px, camera.height_px):
        picture = picture.resize((camera.width_px, camera.height_px), Image.Resampling.BOX)
    frame = np.asarray(picture)
    return frame[None] if frame.ndim == 2 else frame.transpose(2, 0, 1)


def check_task(params: Params) -> None:
    """Make the environment once; raises TaskError where it cannot be learned or `cnn` does not fit what it shows."""
    env = _make(params.task)
    image = _is_image(env.observation_space)
    env.close()
    if image != (params.cnn != "none"):
        allowed = "mnih | nature | perot" if image else "none"
        what = "images" if image else "vectors"
        raise TaskError(f"cnn: got {params.cnn!r}, allowed: {allowed} with task: {params.task}, which shows {what}")
