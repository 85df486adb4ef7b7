"""The evaluate stage: full laps on unseen tracks, the agent beside an untrained one and the follower."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipdrive.agents.device import prepare_torch
from clipdrive.agents.networks import NetworkError
from clipdrive.agents.store import Driver, read_agent
from clipdrive.digits import rounded, write_json
from clipdrive.driving.environment import DriveEnv
from clipdrive.driving.observation import state_size
from clipdrive.driving.spawn import DIRECTIONS
from clipdrive.experience.workers import Faults, run_tasks, worker_profile
from clipdrive.params import DRIVE, Params
from clipdrive.profile import Profile
from clipdrive.progress import Progress
from clipdrive.simulator.announcing import announce_servers
from clipdrive.simulator.supervisor import until_done
from clipdrive.tracks.route import Route
from clipdrive.training.film import write_film
from clipdrive.training.laps import (
    EPISODE_COLUMNS,
    TRAJECTORY_COLUMNS,
    Start,
    drive_lap,
    evaluation_env,
    evaluation_starts,
    summarise,
)
from clipdrive.training.task_evaluation import evaluate_task

DRIVERS = ("agent", "follower", "untrained")


def evaluate(
    params: Params,
    agent_folder: Path,
    folder: Path,
    drivers: Sequence[str] = DRIVERS,
    profile: Profile | None = None,
) -> dict[str, Any]:
    """Drive `evaluate.starts` laps with each driver; write metrics, rows and a film into `folder`; return the metrics.

    The folder appears when it is complete. A Gymnasium task has episodes for laps, and no film.
    """
    profile = profile or Profile("evaluate")
    profile.started()
    if params.task != DRIVE:
        return evaluate_task(params, agent_folder, folder, profile)
    _require_fitting(params, agent_folder)  # before anything is simulated
    servers = announce_servers(params)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    routes = _routes(params)
    lengths = [(name, route.length_m) for (name, way), route in routes.items() if way == "forward"]
    starts = evaluation_starts(lengths, params.evaluate.starts, params.evaluate.weather)
    film_of = starts[0].episode if params.evaluate.film else -1
    tasks = _tasks(drivers, starts, film_of)
    progress = Progress("evaluate", len(starts) * len(drivers), "laps")
    rows, trajectories, film = [], [], None
    faults = Faults()
    try:
        with profile.part("wait for the workers"):
            shared = (params, agent_folder)
            run = run_tasks(_drive_task, tasks, _start, *shared, servers=servers, faults=faults, profile=profile)
            for laps, restarts in run:
                faults.restarts += restarts
                for lap in laps:
                    rows.append(lap["row"])
                    trajectories += lap["trajectory"]
                    film = lap["film"] or film
                    progress.advance(1, f"{lap['row']['driver']} {lap['row']['ending']}")
    finally:
        progress.close()
    rows.sort(key=lambda row: (DRIVERS.index(row["driver"]), row["episode"]))
    trajectories.sort(key=lambda row: (row["episode"], row["step"]))
    metrics = summarise(rows) | {"faults": faults.values()}
    _write_csv(part / "episodes.csv", EPISODE_COLUMNS, rows)
    _write_csv(part / "trajectories.csv", TRAJECTORY_COLUMNS, trajectories)
    metrics = write_json(part / "metrics.json", metrics)
    if film is not None:
        route = routes[starts[0].track, starts[0].direction]
        road = np.column_stack([route.x_m, route.y_m])
        fps = 1.0 / (params.vehicle.step_s * params.vehicle.action_repeat)
        with profile.part("film"):
            write_film(part / "film.gif", film["frames"], film["rows"], road, fps)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return metrics


def _routes(params: Params) -> dict[tuple[str, str], Route]:
    """The routes to evaluate on, by track and direction."""
    with contextlib.closing(DriveEnv(params, tracks="evaluation")) as env:
        tracks = {name: until_done(env.open_track, name) for name in params.tracks.evaluation}
    return {
        (name, way): getattr(track, f"route_{way}") for name, track in tracks.items() for way in DIRECTIONS
    }


def _require_fitting(params: Params, agent_folder: Path) -> None:
    agent = read_agent(agent_folder)
    camera = json.loads((agent_folder / "agent.json").read_text(encoding="utf-8"))["camera"]
    if camera != dataclasses.asdict(params.camera):
        raise NetworkError(f"{agent_folder}: the agent was trained with another camera than params.yaml has; run train")
    if agent.spec.state_size != state_size(params):
        raise NetworkError(f"{agent_folder}: its agent has another observation or route_command; run train")


def _tasks(drivers: Sequence[str], starts: Sequence[Start], film_of: int) -> list[tuple]:
    """One task a track and driver, so that a worker loads a track once; the long ones first."""
    tracks = list(dict.fromkeys(start.track for start in starts))
    return [
        (driver, [start for start in starts if start.track == track], film_of if driver == "agent" else -1)
        for driver in drivers
        for track in tracks
    ]


_env: DriveEnv | None = None  # of this worker process
_agents: dict[str, Driver] = {}


def _start(worker: int, params: Params, agent_folder: Path) -> Callable[[], None]:
    global _env
    prepare_torch(1)
    _env = evaluation_env(params, worker)
    worker_profile().time_calls("simulate", _env, "reset", "step")
    _agents["agent"] = read_agent(agent_folder)
    torch.manual_seed(params.seed)
    _agents["untrained"] = Driver(_agents["agent"].spec)
    return _env.close


def _drive_task(driver: str, starts: Sequence[Start], film_of: int) -> tuple[list[dict[str, Any]], int]:
    """The laps of one driver on one track, and how often the server failed on the way: such a lap is driven again."""
    restarts = _env.restarts
    laps = [until_done(_drive, driver, start, start.episode == film_of) for start in starts]
    return laps, _env.restarts - restarts


def _drive(driver: str, start: Start, filmed: bool) -> dict[str, Any]:
    actor = None if driver == "follower" else _agents[driver]
    with worker_profile().part("act"):
        return drive_lap(_env, driver, actor, start, filmed)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rounded(rows))
