"""The collect stage of a Gymnasium task: episodes of uniformly random actions, as TD3's first steps are."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from clipdrive.digits import write_json
from clipdrive.experience.episodes import record_episode, write_episode
from clipdrive.params import Params
from clipdrive.progress import Progress
from clipdrive.tasks.gymnasium_task import GymnasiumTask

COLLECT = 1  # stream of random numbers


class UniformDriver:
    """Actions drawn uniformly from the bounds."""

    name = "random"

    def __init__(self, action_size: int, rng: np.random.Generator) -> None:
        self._size, self._rng = action_size, rng

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        return self._rng.uniform(-1.0, 1.0, self._size).astype(np.float32)


def collect_task(params: Params, folder: Path) -> dict[str, Any]:
    """Drive `collect.steps` steps, or else `collect.episodes` episodes, into `folder`; returns the metrics.

    The last episode of a number of steps is cut where they are done. The folder appears when it is complete.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    steps, wanted = 0, params.collect.steps
    progress = Progress("collect", wanted or params.collect.episodes, "steps" if wanted else "episodes")
    with contextlib.closing(GymnasiumTask(params, COLLECT, params.seed)) as env:
        try:
            while steps < wanted if wanted else len(rows) < params.collect.episodes:
                rows.append(_drive(env, params, len(rows), part, wanted - steps if wanted else None))
                steps += rows[-1]["steps"]
                progress.advance(rows[-1]["steps"] if wanted else 1)
        finally:
            progress.close()
    metrics = _metrics(rows)
    write_json(part / "manifest.json", rows)
    metrics = write_json(part / "metrics.json", metrics)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return metrics


def _drive(env: GymnasiumTask, params: Params, index: int, folder: Path, steps_left: int | None) -> dict[str, Any]:
    observation, info = env.reset(options={"episode": index})
    driver = UniformDriver(env.action_space.shape[0], np.random.default_rng([params.seed, COLLECT, index, 1]))
    episode, info = record_episode(env, driver, observation, info, params.camera.stack, steps_left)
    name = f"episode_{index:05d}.npz"
    return {
        "index": index,
        "file": name,
        "crc32": write_episode(folder / name, episode),
        "driver": driver.name,
        "steps": episode.steps,
        "return": float(episode.rewards.sum(dtype=np.float64)),
        "ending": info["ending"] or "run_end",
    }


def _metrics(rows: list[dict[str, Any]]) -> dict[str, Any]:
    endings = Counter(row["ending"] for row in rows)
    return {
        "episodes": len(rows),
        "steps": sum(row["steps"] for row in rows),
        "episode_steps_mean": float(np.mean([row["steps"] for row in rows])),
        "return_mean": float(np.mean([row["return"] for row in rows])),
        "endings": {name: endings.get(name, 0) for name in ("terminated", "time_limit", "run_end")},
    }
