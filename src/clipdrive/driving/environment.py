"""The driving task, `clipdrive/Drive-v0`: from camera frames, speed and last action to steer and throttle
or brake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from clipdrive.driving.action import checked_action
from clipdrive.driving.ending import FAILURES, TRUNCATIONS, EndingRules
from clipdrive.driving.exposure import exposed
from clipdrive.driving.observation import FrameStack, space_of, state_vector
from clipdrive.driving.progress import RouteProgress
from clipdrive.driving.reward import decision_reward
from clipdrive.driving.road_ahead import RoadAhead
from clipdrive.driving.route_command import route_command
from clipdrive.driving.spawn import (
    DIRECTIONS,
    TRAIN,
    Start,
    direction_of_episode,
    draw_start,
    episode_generator,
    track_of_episode,
    weather_of_episode,
)
from clipdrive.params import Params, load_params
from clipdrive.simulator.process import ServerProcess
from clipdrive.simulator.session import Reading, Session
from clipdrive.simulator.supervisor import Supervisor
from clipdrive.tracks.route import Route
from clipdrive.tracks.track import Track, open_track

START_OPTIONS = ("track", "direction", "s_m", "offset_m", "heading_error_rad", "speed_mps")
OPTIONS = ("episode", *START_OPTIONS, "weather", "lap", "time_limit_steps")


class DriveEnv(gymnasium.Env):
    """Drive a vehicle along a route; an episode depends on the seed and its number alone.

    Observation: `frames` uint8 (k, height, width), `state` float32 (3,) = speed, last steer, last throttle; with
    `observation: state` no frames, and behind these three the numbers of `RoadAhead`, with `route_command: true` those
    of `route_command`.
    Action: float32 (2,) in [-1, 1] = [steer (right positive), throttle (positive) or brake (negative)].

    `params` is a Params object or the path of a params.yaml; `tracks` picks the section's `training` or
    `evaluation` list; `stream` keeps the random numbers of stages apart. Without `session` the environment
    opens one at its first reset, for worker number `worker`, with a bundled server of its own or with
    `server`; it closes what it opened.

    Options of reset: `episode` (its number; without, they count up); `track`, `direction` (forward |
    backward), `s_m`, `offset_m`, `heading_error_rad`, `speed_mps` fix the start in place of the drawn one
    (what is not given is then 0); `weather`: in the words of `clipdrive.weather`, in place of the params'; `lap`: the
    episode ends when the whole route is driven; `time_limit_steps`: decisions, in place of the params'.

    Raises SimulatorError when the simulator fails, in whichever call. After a ServerFault the next reset begins on
    a new session, with a new server where it was the environment's own; the same episode number begins as before.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        params: Params | str | Path = "params.yaml",
        tracks: str = "training",
        session: Session | None = None,
        server: ServerProcess | None = None,
        *,
        worker: int = 0,
        stream: int = TRAIN,
        render_mode: str | None = None,
    ) -> None:
        if tracks not in ("training", "evaluation"):
            raise ValueError(f"tracks: got {tracks!r}, allowed: training | evaluation")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, allowed: None | rgb_array")
        self.params = params if isinstance(params, Params) else load_params(params)
        self.render_mode = render_mode
        self.decision_s = self.params.vehicle.step_s * self.params.vehicle.action_repeat
        self._sees_road = self.params.observation == "state"
        self.observation_space = space_of(self.params)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.track_names: tuple[str, ...] = getattr(self.params.tracks, tracks)
        self._weathers = (self.params.tracks if tracks == "training" else self.params.evaluate).weather
        self.episode = -1
        self.track: Track | None = None
        self.direction = DIRECTIONS[0]
        self._session = session
        self._supervisor = Supervisor(self.params, worker, server) if session is None else None
        self._stream = stream
        self._seed = self.params.seed
        self._next_episode = 0
        self._opened: dict[str, Track] = {}
        self._frames = FrameStack(self.params.camera)
        self._progress: RouteProgress | None = None
        self._rules: EndingRules | None = None
        self._chain: tuple[tuple, float | None] | None = None
        self._road: RoadAhead | None = None
        self._ends_at_arrival = False
        self._ended = True
        self._image: np.ndarray | None = None
        self._first_frame = 0

    @property
    def episode_key(self) -> tuple[int, int, int]:
        """(seed, stream, episode): all that the running episode's random numbers depend on."""
        return self._seed, self._stream, self.episode

    @property
    def restarts(self) -> int:
        """How often a session that had failed was replaced."""
        return self._supervisor.restarts if self._supervisor is not None else 0

    @property
    def full_steer_rad(self) -> float | None:
        """The angle of the front wheels at steer = 1, where it is not the bundled server's."""
        return getattr(self._session, "full_steer_rad", None)

    @property
    def route(self) -> Route:
        """The route of the running episode, in its direction."""
        return self._progress.route

    @property
    def image(self) -> np.ndarray | None:
        """The camera's last image as the agent sees it, uint8 (height, width) or (height, width, 3)."""
        return self._image

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        options = dict(options or {})
        if unknown := sorted(set(options) - set(OPTIONS)):
            raise ValueError(f"options of reset: got {unknown[0]!r}, allowed: {', '.join(OPTIONS)}")
        if seed is not None:
            self._seed, self._next_episode = seed, 0
        episode = int(options.get("episode", self._next_episode))
        if episode < 0:
            raise ValueError(f"options of reset, episode: got {episode}, allowed: 0 or more")
        start = self._place(episode, options)
        self.episode, self._next_episode = episode, episode + 1

        route = self._route_of(self.track, self.direction)
        pose = route.pose(start.s_m, start.offset_m, start.heading_error_rad)
        session = self._open_session()
        drawn_weather = weather_of_episode(self._weathers, self._seed, self._stream, episode)
        session.set_weather(options.get("weather", drawn_weather))
        reading = session.reset(pose, start.speed_mps)
        self._first_frame = reading.frame
        self._progress = RouteProgress(route, start.s_m, reading.x_m, reading.y_m, reading.yaw_rad)
        self._ends_at_arrival = bool(options.get("lap", False)) or not route.closed
        self._rules = EndingRules(self.params.ending, self.decision_s, options.get("time_limit_steps"))
        self._ended = False
        self._image = self._exposed(reading.image)
        if self._sees_road:
            self._road = RoadAhead(route)
        frames = self._frames.start(self._image)
        return self._observation(reading, frames, 0.0, 0.0), self._info(reading, None)

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        if self._ended:
            raise gymnasium.error.ResetNeeded("the episode has ended, or none has begun: call reset before step")
        steer, throttle = checked_action(action)
        reading = self._session.step(max(throttle, 0.0), steer, max(-throttle, 0.0), self.params.vehicle.action_repeat)
        projection = self._progress.move(reading.x_m, reading.y_m, reading.yaw_rad)
        ending = self._rules.after_decision(
            collision=reading.collision,
            offset_m=projection.offset_m,
            half_width_m=projection.half_width_m,
            progress_m=self._progress.progress_m,
            arrived=self._ends_at_arrival and self._progress.arrived,
        )
        terminated, truncated = ending in FAILURES, ending in TRUNCATIONS
        self._ended = ending is not None
        if self._ended and self._supervisor is not None:
            self._supervisor.succeeded()
        reward = decision_reward(
            self.params.reward,
            speed_mps=reading.speed_mps,
            heading_error_rad=projection.heading_error_rad,
            offset_half_widths=projection.offset_m / projection.half_width_m,
            remaining_share=1.0 - self._progress.completion,
            failed=terminated,
        )
        self._image = self._exposed(reading.image)
        frames = self._frames.push(self._image)
        observation = self._observation(reading, frames, steer, throttle)
        return observation, reward, terminated, truncated, self._info(reading, ending)

    def _exposed(self, image: np.ndarray) -> np.ndarray:
        return exposed(image) if self.params.exposure == "auto" else image

    def _observation(
        self, reading: Reading, frames: np.ndarray, steer: float, throttle: float
    ) -> dict[str, np.ndarray]:
        state = state_vector(self.params.vehicle, reading.speed_mps, steer, throttle)
        if self.params.route_command:
            state = np.concatenate([state, route_command(self.route, self._progress.projection.s_m)])
        if not self._sees_road:
            return {"frames": frames, "state": state}
        road = self._road.numbers(self._progress.projection, reading.x_m, reading.y_m, reading.yaw_rad)
        no_frames = np.zeros(self.observation_space["frames"].shape, np.uint8)
        return {"frames": no_frames, "state": np.concatenate([state, road])}

    def render(self) -> np.ndarray | None:
        """The camera's last image as RGB, uint8 (height, width, 3)."""
        if self.render_mode is None or self._image is None:
            return None
        return np.repeat(self._image[:, :, None], 3, axis=2) if self._image.ndim == 2 else self._image

    def close(self) -> None:
        """Close the session, and the server behind it, where the environment opened them; may be repeated."""
        self._ended = True
        if self._supervisor is not None:
            self._session = None
            self._supervisor.close()

    def _place(self, episode: int, options: dict[str, Any]) -> Start:
        """Choose track, direction and start of an episode, and load the track."""
        tracks, spawn = self.params.tracks, self.params.spawn
        rng = episode_generator(self._seed, self._stream, episode)
        numbers = (self._seed, self._stream, episode, tracks.episodes_per_load)
        drawn_direction = direction_of_episode(spawn, rng, *numbers)
        name = options.get("track") or track_of_episode(self.track_names, *numbers)
        direction = options.get("direction", drawn_direction)
        if direction not in DIRECTIONS:
            raise ValueError(f"options of reset, direction: got {direction!r}, allowed: {' | '.join(DIRECTIONS)}")
        last_s_m = self._last_checkpoint_s_m(episode, name, direction)
        track = self.open_track(name)
        self._open_session().load(track)
        self.track, self.direction = track, direction
        start = draw_start(spawn, self._route_of(track, direction), rng, last_s_m)
        if options.keys() & set(START_OPTIONS):
            start = Start(
                float(options.get("s_m", start.s_m)),
                *(float(options.get(key, 0.0)) for key in ("offset_m", "heading_error_rad", "speed_mps")),
            )
        return start

    def _last_checkpoint_s_m(self, episode: int, track_name: str, direction: str) -> float | None:
        """Where a chain of `spawn.kind: last` goes on; None at its first link, and where we did not drive
        the one before. An episode that is begun again goes on where it did."""
        link = (self._seed, episode, track_name, direction)
        if self._chain is None or self._chain[0] != link:
            first_link = episode % self.params.tracks.episodes_per_load == 0
            follows = self.episode == episode - 1 and self.track is not None and self._progress is not None
            goes_on = follows and not first_link and (self.track.name, self.direction) == (track_name, direction)
            every_m = self.params.spawn.every_m
            self._chain = link, self._progress.last_checkpoint_s_m(every_m) if goes_on else None
        return self._chain[1]

    def open_track(self, name: str) -> Track:
        """The track of that name, opened once; raises TrackError."""
        if name not in self._opened:
            tracks = self.params.tracks
            self._opened[name] = open_track(
                name,
                tracks.follow,
                tracks.folder,
                lambda town: self._open_session().opendrive_of_town(town),
                tracks.junctions,
            )
        return self._opened[name]

    def _open_session(self) -> Session:
        if self._supervisor is not None:
            self._session = self._supervisor.session()
        return self._session

    @staticmethod
    def _route_of(track: Track, direction: str) -> Route:
        return track.route_forward if direction == "forward" else track.route_backward

    def _info(self, reading: Reading, ending: str | None) -> dict[str, Any]:
        progress = self._progress
        return {
            "episode": self.episode,
            "frame": reading.frame - self._first_frame,
            "track": self.track.name,
            "direction": self.direction,
            "s_m": progress.projection.s_m,
            "progress_m": progress.progress_m,
            "route_completion": progress.completion,
            "offset_m": progress.projection.offset_m,
            "half_width_m": progress.projection.half_width_m,
            "heading_error_rad": progress.projection.heading_error_rad,
            "speed_mps": reading.speed_mps,
            "x_m": reading.x_m,
            "y_m": reading.y_m,
            "yaw_rad": reading.yaw_rad,
            "forward_mps2": reading.forward_mps2,
            "right_mps2": reading.right_mps2,
            "collision": reading.collision,
            "ending": ending,
        }
