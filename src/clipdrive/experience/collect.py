"""The collect stage: drive episodes with a behaviour driver, in parallel; write them, a manifest and metrics."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clipdrive.digits import write_json
from clipdrive.driving.drivers import driver_for
from clipdrive.driving.environment import DriveEnv
from clipdrive.driving.spawn import COLLECT
from clipdrive.experience.collect_task import collect_task
from clipdrive.experience.episodes import record_episode, write_episode
from clipdrive.experience.workers import Faults, run_tasks, worker_profile
from clipdrive.params import DRIVE, Params
from clipdrive.profile import Profile
from clipdrive.progress import Progress
from clipdrive.simulator.announcing import announce_servers
from clipdrive.simulator.supervisor import until_done

_env: DriveEnv | None = None  # of this worker process
_params: Params | None = None


def collect(params: Params, folder: Path, picture: Path, profile: Profile | None = None) -> dict[str, Any]:
    """Drive `collect.episodes` episodes into `folder`, draw the map `picture`; returns the metrics (written too).

    The folder appears when it is complete: a run that fails leaves nothing at its place. A Gymnasium task has no map.
    """
    profile = profile or Profile("collect")
    profile.started()
    picture.parent.mkdir(parents=True, exist_ok=True)
    if params.task != DRIVE:
        return collect_task(params, folder)
    servers = announce_servers(params)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    per_load = params.tracks.episodes_per_load
    blocks = [
        (first, min(first + per_load, params.collect.episodes), str(part))
        for first in range(0, params.collect.episodes, per_load)
    ]
    progress = Progress("collect", params.collect.episodes, "episodes")
    rows: list[dict[str, Any]] = []
    faults = Faults()
    try:
        with profile.part("wait for the workers"):
            run = run_tasks(_drive_block, blocks, _start, params, servers=servers, faults=faults, profile=profile)
            for block, restarts in run:
                rows += block
                faults.restarts += restarts
                progress.advance(len(block))
    finally:
        progress.close()
    rows.sort(key=lambda row: row["index"])
    metrics = _metrics(rows, params) | {"faults": faults.values()}
    write_json(part / "manifest.json", rows)
    metrics = write_json(part / "metrics.json", metrics)
    with profile.part("picture"):
        _draw(picture, rows, params)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return metrics


def _draw(picture: Path, rows: list[dict[str, Any]], params: Params) -> None:
    from clipdrive.experience.picture import draw_spawns  # only here: the workers need no matplotlib

    draw_spawns(picture, rows, _maps(rows, params))


def _maps(rows: list[dict[str, Any]], params: Params) -> dict[str, np.ndarray]:
    with contextlib.closing(DriveEnv(params, tracks="training")) as env:
        routes = {name: until_done(env.open_track, name).route_forward for name in {row["track"] for row in rows}}
    return {name: np.column_stack([route.x_m, route.y_m]) for name, route in routes.items()}


def _start(worker: int, params: Params) -> Callable[[], None]:
    global _env, _params
    _params = params
    _env = DriveEnv(params, tracks="training", stream=COLLECT, worker=worker)
    worker_profile().time_calls("simulate", _env, "reset", "step")
    return _env.close


def _drive_block(first: int, end: int, folder: str) -> tuple[list[dict[str, Any]], int]:
    """The rows of some episodes, and how often the server failed on the way: such an episode is driven again."""
    restarts = _env.restarts
    rows = [until_done(_drive, index, Path(folder)) for index in range(first, end)]
    return rows, _env.restarts - restarts


def _drive(index: int, folder: Path) -> dict[str, Any]:
    observation, start = _env.reset(options={"episode": index})
    rng = np.random.default_rng([_params.seed, COLLECT, index, 1])
    driver = driver_for(_params, index, _env, rng)
    with worker_profile().part("act"):
        episode, info = record_episode(_env, driver, observation, start, _params.camera.stack)
    name = f"episode_{index:05d}.npz"
    with worker_profile().part("write"):
        checksum = write_episode(folder / name, episode)
    return {
        "index": index,
        "file": name,
        "crc32": checksum,
        "track": start["track"],
        "direction": start["direction"],
        "driver": driver.name,
        "steps": episode.steps,
        "metres": float(info["progress_m"]),
        "return": float(episode.rewards.sum(dtype=np.float64)),
        "ending": info["ending"],
        "route_m": float(_env.route.length_m),
        "spawn": {
            "s_m": float(start["s_m"]),
            "offset_m": float(start["offset_m"]),
            "heading_error_rad": float(start["heading_error_rad"]),
            "speed_mps": float(start["speed_mps"]),
            "x_m": float(start["x_m"]),
            "y_m": float(start["y_m"]),
        },
        "end": {"x_m": float(info["x_m"]), "y_m": float(info["y_m"])},
    }


def _metrics(rows: list[dict[str, Any]], params: Params) -> dict[str, Any]:
    steps = [row["steps"] for row in rows]
    endings = Counter(row["ending"] for row in rows)
    every = params.spawn.every_m
    visited: dict[tuple[str, str], set[int]] = {}
    checkpoints: dict[tuple[str, str], int] = {}
    for row in rows:
        route = (row["track"], row["direction"])
        checkpoints[route] = max(1, int(row["route_m"] // every))
        reached = np.arange(row["spawn"]["s_m"], row["spawn"]["s_m"] + max(row["metres"], 0.0) + 1e-9, every / 2)
        visited.setdefault(route, set()).update(
            (np.round(reached / every).astype(int) % checkpoints[route]).tolist()
        )
    return {
        "episodes": len(rows),
        "steps": sum(steps),
        "metres": round(sum(row["metres"] for row in rows), 3),
        "episode_steps_mean": float(np.mean(steps)),
        "return_mean": float(np.mean([row["return"] for row in rows])),
        "endings": {name: endings.get(name, 0) for name in ("off_road", "stuck", "collision", "time_limit")},
        "checkpoints_visited_share": sum(map(len, visited.values())) / sum(checkpoints.values()),
        "standstill_share": float(np.mean([row["spawn"]["speed_mps"] < 0.1 for row in rows])),
    }
