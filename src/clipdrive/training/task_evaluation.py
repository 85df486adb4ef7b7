"""The evaluate stage of a Gymnasium task: every agent that train kept, without noise, on the same start states."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipdrive.agents.device import prepare_torch
from clipdrive.agents.store import Driver, read_agent
from clipdrive.digits import rounded, write_json
from clipdrive.experience.workers import run_tasks
from clipdrive.params import Params
from clipdrive.profile import Profile
from clipdrive.progress import Progress
from clipdrive.tasks.gymnasium_task import GymnasiumTask
from clipdrive.training.snapshots import snapshots_in

EVALUATE = 3  # stream of random numbers
START_SEED = 0  # the start states are the same whatever the run's seed
COLUMNS = ("driver", "env_step", "episode", "steps", "return", "ending")
DRIVERS = ("agent", "untrained")


def evaluate_task(params: Params, agent_folder: Path, folder: Path, profile: Profile) -> dict[str, Any]:
    """Drive `evaluate.starts` episodes with the agent, with each snapshot and with an untrained agent.

    Writes metrics and rows into `folder`, which appears when it is complete; returns the metrics.
    """
    read_agent(agent_folder)  # refused before anything is driven
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tasks = [("agent", str(path), env_step) for env_step, path in snapshots_in(agent_folder).items()]
    tasks += [("agent", str(agent_folder), -1), ("untrained", str(agent_folder), 0)]
    progress = Progress("evaluate", len(tasks), "agents")
    rows: list[dict[str, Any]] = []
    try:
        for driven in run_tasks(_drive_agent, tasks, _start, params, profile=profile):
            rows += driven
            mean = float(np.mean([row["return"] for row in driven]))
            progress.advance(1, f"{driven[0]['driver']} {mean:.1f}")
    finally:
        progress.close()
    rows.sort(key=lambda row: (DRIVERS.index(row["driver"]), row["env_step"] < 0, row["env_step"], row["episode"]))
    metrics = summarise_task(rows)
    with open(part / "episodes.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"env_step": "" if row["env_step"] < 0 else row["env_step"]} for row in rounded(rows))
    metrics = write_json(part / "metrics.json", metrics)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return metrics


def summarise_task(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Metrics of the final agent and the untrained one, and of the curve of the snapshots where there are any."""
    metrics: dict[str, Any] = {}
    for driver, env_step in (("agent", -1), ("untrained", 0)):
        own = [row for row in rows if row["driver"] == driver and row["env_step"] == env_step]
        returns = [row["return"] for row in own]
        metrics[driver] = {
            "episodes": len(own),
            "return_mean": float(np.mean(returns)),
            "return_sd": float(np.std(returns)),
            "return_min": float(np.min(returns)),
            "steps_mean": float(np.mean([row["steps"] for row in own])),
        }
    curve = curve_of(rows)
    for count in (3, 5):
        if curve:
            metrics["agent"][f"return_best_of_last_{count}"] = max(list(curve.values())[-count:])
    return metrics


def curve_of(rows: list[dict[str, Any]]) -> dict[int, float]:
    """Mean return of each snapshot by the steps at which it was taken."""
    returns: dict[int, list[float]] = {}
    for row in rows:
        if row["driver"] == "agent" and row["env_step"] >= 0:
            returns.setdefault(row["env_step"], []).append(row["return"])
    return {step: float(np.mean(returns[step])) for step in sorted(returns)}


_env: GymnasiumTask | None = None  # of this worker process
_params: Params | None = None


def _start(worker: int, params: Params) -> Callable[[], None]:
    global _env, _params
    prepare_torch(1)
    _params = params
    _env = GymnasiumTask(params, EVALUATE, START_SEED)
    return _env.close


def _drive_agent(driver: str, agent: str, env_step: int) -> list[dict[str, Any]]:
    actor = read_agent(Path(agent))
    if driver == "untrained":
        torch.manual_seed(_params.seed)
        actor = Driver(actor.spec)
    return [
        {"driver": driver, "env_step": env_step, "episode": episode} | drive_episode(_env, actor, episode)
        for episode in range(_params.evaluate.starts)
    ]


def drive_episode(env: GymnasiumTask, actor: Any, episode: int) -> dict[str, Any]:
    """One episode without noise: steps, return and ending."""
    observation, info = env.reset(options={"episode": episode})
    total, steps, done = 0.0, 0, False
    while not done:
        observation, reward, terminated, truncated, info = env.step(actor.act(observation))
        total, steps, done = total + reward, steps + 1, terminated or truncated
    return {"steps": steps, "return": total, "ending": info["ending"]}
