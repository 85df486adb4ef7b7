"""The task that the params name: its environment, the shape of what it shows, and its largest reward."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from clipdrive.driving.environment import DriveEnv
from clipdrive.driving.observation import state_size
from clipdrive.driving.reward import largest_reward
from clipdrive.params import DRIVE, Params
from clipdrive.tasks.gymnasium_task import NO_FRAME, GymnasiumTask


@dataclass(frozen=True)
class TaskShape:
    """What an agent is given and gives: one frame (channels, height, width), how many are stacked, vector sizes."""

    frame: tuple[int, int, int]
    stack: int
    state_size: int
    action_size: int


def open_task(params: Params, stream: int, tracks: str = "training", worker: int = 0) -> DriveEnv | GymnasiumTask:
    """The environment of `params.task`; `tracks` and `worker` are the driving task's."""
    if params.task == DRIVE:
        return DriveEnv(params, tracks=tracks, stream=stream, worker=worker)
    return GymnasiumTask(params, stream, params.seed)


def task_shape(params: Params) -> TaskShape:
    """The shape of the task's observations and actions; raises TaskError."""
    stack = params.camera.stack
    if params.task == DRIVE:
        colors = 3 if params.camera.color == "rgb" else 1
        camera = (colors, params.camera.height_px, params.camera.width_px)
        return TaskShape(camera if params.observation == "camera" else NO_FRAME, stack, state_size(params), 2)
    with contextlib.closing(GymnasiumTask(params, 0, params.seed)) as env:
        spaces = env.observation_space
        return TaskShape(env.frame_shape, stack, spaces["state"].shape[0], env.action_space.shape[0])


def largest_step_reward(params: Params) -> float | None:
    """R_max, the largest |reward| of one step; None where nobody knows it."""
    return largest_reward(params.reward) if params.task == DRIVE else params.reward.largest
