"""Laps of an evaluation: where they begin, how one is driven, and what many of them amount to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipdrive.driving.drivers import Follower
from clipdrive.driving.environment import DriveEnv
from clipdrive.driving.spawn import DIRECTIONS, EVALUATE
from clipdrive.params import Params

EPISODE_COLUMNS = (
    "driver",
    "episode",
    "track",
    "direction",
    "start_s_m",
    "weather",
    "steps",
    "route_completion",
    "ending",
    "driven_m",
    "speed_mean_mps",
    "offset_abs_mean_m",
    "jerk_mean_mps3",
    "return",
)
TRAJECTORY_COLUMNS = ("episode", "step", "track", "direction", "x_m", "y_m", "speed_mps", "offset_m")
TRAJECTORY_EVERY = 5
DRIVEN_KM_FLOOR = 0.001  # as CARLA's leaderboard, so that a car that never moved has a rate
FILM_DECISIONS = 600


@dataclass(frozen=True)
class Start:
    """One lap to drive: from `s_m` along the route of `track` in `direction`."""

    episode: int
    track: str
    direction: str
    s_m: float
    weather: str | None = None


def evaluation_starts(
    lengths_m: Sequence[tuple[str, float]], starts: int, weathers: Sequence[str] | None = None
) -> list[Start]:
    """`starts` laps spread evenly: over the tracks, both directions, and along each route.

    `lengths_m` gives every track's name and lap length. The `weathers` take turns, beginning one later in each round,
    so that none keeps to one direction.
    """
    routes = [(track, length, way) for track, length in lengths_m for way in DIRECTIONS]
    result = []
    for number, (track, length, way) in enumerate(routes):
        count = (starts - number + len(routes) - 1) // len(routes)
        result += [(track, way, length * (k + 0.5 * (number % 2)) / count) for k in range(count)]
    kinds = list(weathers or [None])
    return [Start(i, *row, kinds[(i + i // len(kinds)) % len(kinds)]) for i, row in enumerate(result)]


def evaluation_env(params: Params, worker: int = 0) -> DriveEnv:
    """The environment of the evaluation, in which every failure ends the lap, whatever the params' training has."""
    ending = dataclasses.replace(params.ending, off_road=True, stuck=True, collision=True)
    params = dataclasses.replace(params, ending=ending)
    return DriveEnv(params, tracks="evaluation", stream=EVALUATE, worker=worker)


def drive_lap(env: DriveEnv, driver: str, actor: Any | None, start: Start, filmed: bool = False) -> dict[str, Any]:
    """One lap in the environment of `evaluation_env`: its row (by EPISODE_COLUMNS), trajectory and film.

    `actor.act(observation)` gives the actions; None: the follower.
    """
    options = {
        "track": start.track,
        "direction": start.direction,
        "s_m": start.s_m,
        "weather": start.weather,
        "lap": True,
        "time_limit_steps": int(env.params.evaluate.lap_limit_s / env.decision_s),
    }
    observation, info = env.reset(options=options)
    follower = Follower.for_env(env) if actor is None else None
    infos, rewards, film_rows, frames = [info], [], [], []
    done = False
    while not done:
        action = follower.act(observation, info) if follower else actor.act(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        infos.append(info)
        rewards.append(reward)
        if filmed and len(frames) < FILM_DECISIONS:
            frames.append(env.image.copy())
            keys = ("x_m", "y_m", "yaw_rad", "speed_mps", "offset_m", "s_m")
            film_rows.append({k: info[k] for k in keys} | {"steer": float(action[0]), "throttle": float(action[1])})
        done = terminated or truncated
    row = _row(driver, start, infos, rewards, env.decision_s)
    trajectory = [
        {"episode": start.episode, "step": step, "track": start.track, "direction": start.direction}
        | {key: round(float(infos[step][key]), 3) for key in ("x_m", "y_m", "speed_mps", "offset_m")}
        for step in range(0, len(infos), TRAJECTORY_EVERY)
        if driver == "agent"
    ]
    film = {"frames": np.stack(frames), "rows": film_rows} if frames else None
    return {"row": row, "trajectory": trajectory, "film": film}


def _row(
    driver: str, start: Start, infos: list[dict[str, Any]], rewards: list[float], decision_s: float
) -> dict[str, Any]:
    speed = np.array([info["speed_mps"] for info in infos])
    acceleration = np.diff(speed) / decision_s
    jerk = np.abs(np.diff(acceleration)) / decision_s
    last = infos[-1]
    return {
        "driver": driver,
        "episode": start.episode,
        "track": start.track,
        "direction": start.direction,
        "start_s_m": round(start.s_m, 3),
        "weather": start.weather or "none",
        "steps": len(rewards),
        "route_completion": 1.0 if last["ending"] == "lap" else float(min(max(last["route_completion"], 0.0), 1.0)),
        "ending": last["ending"],
        "driven_m": float(max(last["progress_m"], 0.0)),
        "speed_mean_mps": float(speed[1:].mean()),
        "offset_abs_mean_m": float(np.mean([abs(info["offset_m"]) for info in infos[1:]])),
        "jerk_mean_mps3": float(jerk.mean()) if len(jerk) else 0.0,
        "return": float(np.sum(rewards)),
    }


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Metrics of each driver over its laps; `clean_share` is the share of laps driven whole."""
    metrics: dict[str, Any] = {}
    for driver in dict.fromkeys(row["driver"] for row in rows):
        laps = [row for row in rows if row["driver"] == driver]
        driven_km = sum(row["driven_m"] for row in laps) / 1000.0
        steps = np.array([row["steps"] for row in laps], float)

        def over_time(name: str, laps: list = laps, steps: np.ndarray = steps) -> float:
            return float(np.average([row[name] for row in laps], weights=steps))

        def per_km(ending: str, laps: list = laps, km: float = driven_km) -> float:
            return sum(row["ending"] == ending for row in laps) / max(km, DRIVEN_KM_FLOOR)

        metrics[driver] = {
            "laps": len(laps),
            "route_completion_mean": float(np.mean([row["route_completion"] for row in laps])),
            "clean_share": float(np.mean([row["ending"] == "lap" for row in laps])),
            "off_road_per_km": per_km("off_road"),
            "crashes_per_km": per_km("collision"),
            "stuck_share": float(np.mean([row["ending"] == "stuck" for row in laps])),
            "driven_km": driven_km,
            "speed_mean_mps": over_time("speed_mean_mps"),
            "offset_abs_mean_m": over_time("offset_abs_mean_m"),
            "jerk_mean_mps3": over_time("jerk_mean_mps3"),
            "return_mean": float(np.mean([row["return"] for row in laps])),
        }
    if {"agent", "follower"} <= set(metrics):
        metrics["speed_ratio_to_follower"] = (
            metrics["agent"]["speed_mean_mps"] / metrics["follower"]["speed_mean_mps"]
        )
    return metrics
