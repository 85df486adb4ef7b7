"""Drivers that need no learning: smooth random actions, a pure-pursuit follower, and a mixture by episode.

A driver is made for one episode; `act(observation, info)` takes what the environment's reset or step gave and
returns the next action, float32 (2,) = [steer, throttle(+)/brake(-)].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from clipdrive.params import Params
from clipdrive.tracks.route import Route

if TYPE_CHECKING:
    from clipdrive.driving.environment import DriveEnv

WHEELBASE_M = 2.875  # Tesla Model 3
FULL_STEER_RAD = math.radians(35.0)  # front wheels at steer = 1, of the bundled server's Model 3
LATERAL_LIMIT_MPS2 = 4.0
BRAKING_LIMIT_MPS2 = 3.0
_DRIVER = 1  # sets a driver's random numbers apart from those of its episode's start


class RandomDriver:
    """Smooth random driving: a first-order autoregressive process for each action, from its stationary
    distribution."""

    name = "random"

    def __init__(self, correlation: float, action_sd: float, throttle_mean: float, rng: np.random.Generator) -> None:
        self._correlation, self._action_sd, self._rng = correlation, action_sd, rng
        self._mean = np.array([0.0, throttle_mean])
        self._deviation = rng.normal(0.0, 1.0, 2)

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        action = self._mean + self._action_sd * self._deviation
        fresh = math.sqrt(1.0 - self._correlation**2)
        self._deviation = self._correlation * self._deviation + fresh * self._rng.normal(0.0, 1.0, 2)
        return np.clip(action, -1.0, 1.0).astype(np.float32)


class Follower:
    """Pure pursuit of the middle of the road, as fast as the corners ahead allow; it looks at the true pose.

    It keeps to `target_speed_mps` and `lateral_limit_mps2`, brakes in time for what comes, and adds Gaussian
    noise of standard deviation `noise` to both actions. Coulter 1992, "Implementation of the pure pursuit
    path tracking algorithm".
    """

    name = "follower"

    def __init__(
        self,
        route: Route,
        target_speed_mps: float,
        *,
        noise: float = 0.0,
        rng: np.random.Generator | None = None,
        lateral_limit_mps2: float = LATERAL_LIMIT_MPS2,
        braking_limit_mps2: float = BRAKING_LIMIT_MPS2,
        wheelbase_m: float = WHEELBASE_M,
        full_steer_rad: float = FULL_STEER_RAD,
    ) -> None:
        if noise > 0.0 and rng is None:
            raise ValueError(f"rng: got None with a noise of {noise:g}, allowed: a generator")
        self._route, self._noise, self._rng = route, noise, rng
        self._wheelbase_m, self._full_steer_rad = wheelbase_m, full_steer_rad
        self._speed_limit_mps = speed_profile(route, target_speed_mps, lateral_limit_mps2, braking_limit_mps2)

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        action = np.array([self._steer(info), self._throttle(info)])
        if self._noise > 0.0:
            action += self._rng.normal(0.0, self._noise, 2)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    @classmethod
    def for_env(cls, env: DriveEnv, noise: float = 0.0, rng: np.random.Generator | None = None) -> Follower:
        """A follower of the route of the episode that runs in `env`, at the speed that earns most there."""
        lock_rad = env.full_steer_rad or FULL_STEER_RAD
        return cls(env.route, cruising_speed_mps(env.params), noise=noise, rng=rng, full_steer_rad=lock_rad)

    def _steer(self, info: dict[str, Any]) -> float:
        lookahead_m = min(max(0.55 * info["speed_mps"], 3.5), 10.0)
        aim_x_m, aim_y_m = self._route.position_ahead(info["s_m"], lookahead_m)
        dx_m, dy_m = aim_x_m - info["x_m"], aim_y_m - info["y_m"]
        bearing_rad = math.remainder(math.atan2(dy_m, dx_m) - info["yaw_rad"], math.tau)
        distance_m = max(math.hypot(dx_m, dy_m), 1.0)
        if abs(bearing_rad) > math.pi / 2:
            return math.copysign(1.0, bearing_rad)
        wheel_rad = math.atan(2.0 * self._wheelbase_m * math.sin(bearing_rad) / distance_m)
        return wheel_rad / self._full_steer_rad

    def _throttle(self, info: dict[str, Any]) -> float:
        speed_mps = info["speed_mps"]
        ahead_m = info["s_m"] + 0.3 * max(speed_mps, 0.0) + 0.5
        index, last = int(ahead_m / self._route.spacing_m), len(self._speed_limit_mps) - 1
        index = index % (last + 1) if self._route.closed else min(index, last)
        error_mps = float(self._speed_limit_mps[index]) - speed_mps
        return 0.4 * error_mps + 0.05


def speed_profile(
    route: Route, target_speed_mps: float, lateral_limit_mps2: float, braking_limit_mps2: float
) -> np.ndarray:
    """Speed (n,) in m/s at each point of the route: the corner's limit, and slow enough to brake for what
    follows."""
    curvature_1pm = np.maximum(np.abs(route.curvature_1pm), 1e-6)
    limit_mps = np.minimum(target_speed_mps, np.sqrt(lateral_limit_mps2 / curvature_1pm))
    square = limit_mps**2
    gain = 2.0 * braking_limit_mps2 * route.spacing_m
    for _ in range(2 if route.closed else 1):  # the second round carries the braking across the seam
        following = square[0] if route.closed else square[-1]
        for index in range(len(square) - 1, -1, -1):
            following = square[index] = min(square[index], following + gain)
    return np.sqrt(square)


def driver_for(
    params: Params, episode: int, env: DriveEnv, rng: np.random.Generator | None = None
) -> RandomDriver | Follower:
    """The driver of `collect.driver` for the episode that was just reset in `env`.

    Without `rng` its random numbers, the draw in `mixed` too, depend on the seed and the episode alone.
    """
    collect = params.collect
    if rng is None:
        seed, stream, _ = env.episode_key
        rng = np.random.default_rng([seed, stream, episode, _DRIVER])
    follows = collect.driver == "follower"
    if collect.driver == "mixed":
        follows = bool(rng.random() < collect.follower_share)
    if follows:
        return Follower.for_env(env, collect.follower_noise, rng)
    return RandomDriver(collect.correlation, collect.action_sd, collect.throttle_mean, rng)


def cruising_speed_mps(params: Params) -> float:
    """The speed that earns most: the target speed where there is one, else the speed that counts as 1."""
    reward = params.reward
    return reward.speed_max_mps if reward.target_speed_mps is None else reward.target_speed_mps
