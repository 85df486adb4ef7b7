"""A circle to drive on and a session without a server, for the tests of the driving task."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from clipdrive.driving.environment import DriveEnv
from clipdrive.params import Params, load_params
from clipdrive.simulator.reading import Reading
from clipdrive.tracks.route import Pose, Route

PARAMS = Path(__file__).parent.parent / "params.yaml"
RADIUS_M = 50.0
HALF_WIDTH_M = 3.5


def circle_route(radius_m: float = RADIUS_M, half_width_m: float = HALF_WIDTH_M, closed: bool = True) -> Route:
    """A circle around (0, 0) that turns right, from (radius, 0) with yaw 90; open: all of it but the seam."""
    length_m = math.tau * radius_m
    count = round(length_m / 0.5)
    spacing_m = length_m / count
    s_m = np.arange(count) * spacing_m
    angle = s_m / radius_m
    flat = np.zeros(count)
    return Route(
        name="circle",
        closed=closed,
        length_m=length_m if closed else float(s_m[-1]),
        spacing_m=spacing_m,
        s_m=s_m,
        x_m=radius_m * np.cos(angle),
        y_m=radius_m * np.sin(angle),
        z_m=flat,
        yaw_rad=angle + math.pi / 2,
        pitch_rad=flat,
        curvature_1pm=np.full(count, 1.0 / radius_m),
        half_width_m=np.full(count, half_width_m),
    )


def circle_track(name: str, closed: bool = True) -> SimpleNamespace:
    route = circle_route(closed=closed)
    return SimpleNamespace(name=name, map_name=name, xodr="", route_forward=route, route_backward=route.reversed())


class FakeSession:
    """A vehicle without slip: throttle and brake change its speed, steer its yaw; the image shows the frame
    number.

    `collide_at` is the frame (of the episode) at which it reports a collision; `fail_at` one at which it
    raises `error`.
    """

    def __init__(self, params: Params, collide_at: int = -1, fail_at: int = -1, error: Exception | None = None) -> None:
        self._params = params
        self.loads: list[str] = []
        self.closed = False
        self.fault: str | None = None
        self.collide_at, self.fail_at, self.error = collide_at, fail_at, error
        self._frame = 1000
        self._first = 1000
        self._pose = Pose(0.0, 0.0, 0.0, 0.0, 0.0)
        self._speed_mps = 0.0

    def load(self, track) -> None:
        if not self.loads or self.loads[-1] != track.name:
            self.loads.append(track.name)

    def set_weather(self, weather: str | None) -> None:
        self.weather = weather

    def reset(self, pose: Pose, speed_mps: float = 0.0) -> Reading:
        self._pose, self._speed_mps = pose, speed_mps
        self._frame += 1
        self._first = self._frame
        return self._reading()

    def step(self, throttle: float, steer: float, brake: float, repeat: int = 1) -> Reading:
        assert 0.0 <= throttle <= 1.0 and 0.0 <= brake <= 1.0 and -1.0 <= steer <= 1.0
        for _ in range(repeat):
            self._frame += 1
            self._move(throttle, steer, brake, self._params.vehicle.step_s)
            if self._frame - self._first == self.fail_at:
                raise self.error
        return self._reading()

    def close(self) -> None:
        self.closed = True

    def _move(self, throttle: float, steer: float, brake: float, step_s: float) -> None:
        self._speed_mps = max(self._speed_mps + (4.0 * throttle - 8.0 * brake) * step_s, 0.0)
        x, y, z, yaw, pitch = self._pose
        yaw += self._speed_mps * math.tan(steer * math.radians(70.0)) / 2.875 * step_s
        x += self._speed_mps * math.cos(yaw) * step_s
        y += self._speed_mps * math.sin(yaw) * step_s
        self._pose = Pose(x, y, z, yaw, pitch)

    def _reading(self) -> Reading:
        camera = self._params.camera
        shape = (camera.height_px, camera.width_px) + ((3,) if camera.color == "rgb" else ())
        x, y, z, yaw, _ = self._pose
        of_episode = self._frame - self._first
        image = np.full(shape, of_episode % 256, np.uint8)
        return Reading(
            self._frame, image, x, y, z, math.remainder(yaw, math.tau), 0.0, 0.0, self._speed_mps, 0.0, 0.0,
            0 <= self.collide_at <= of_episode,
        )  # fmt: skip


def default_params(**sections: dict) -> Params:
    """The project's params with some values of some sections, or some flat values, replaced."""
    params = load_params(PARAMS)
    return dataclasses.replace(
        params,
        **{
            name: dataclasses.replace(getattr(params, name), **values) if isinstance(values, dict) else values
            for name, values in sections.items()
        },
    )


def circle_env(monkeypatch, params: Params | None = None, closed: bool = True, **session) -> DriveEnv:
    """An environment of which every track is the circle, with a FakeSession."""
    monkeypatch.setattr("clipdrive.driving.environment.open_track", lambda name, *_, **__: circle_track(name, closed))
    params = params or default_params()
    return DriveEnv(params, session=FakeSession(params, **session))
