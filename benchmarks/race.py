"""The race: an agent trained to be fast, beside the follower at its best clean setting.

`python -m benchmarks.race` trains the agent with the changes of `RACE`, drives the follower with several limits of
speed and of lateral acceleration over the same routes, and prints the table that docs/race.md shows; `--only` takes
one of them, or the race with targets as slow as the default's. Records are kept in `benchmarks/records`, and a command
that was stopped goes on behind the last one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks.runs import markdown_table, params_with, recorded_run, still_so, store, stored
from clipdrive.driving.drivers import Follower
from clipdrive.driving.environment import DriveEnv
from clipdrive.driving.spawn import DIRECTIONS
from clipdrive.experience.workers import run_tasks
from clipdrive.params import Params, params_as_values
from clipdrive.simulator.supervisor import until_done
from clipdrive.training.laps import evaluation_env

RACE: dict[str, Any] = {
    "reward.target_speed_mps": "none",
    "reward.speed_max_mps": 16.0,
    "spawn.speed_mps": 14.0,
    "collect.driver": "mixed",
    "gamma": 0.97,
    "tau": 0.02,
    "train.updates_before_driving": 1000,
    "train.env_steps": 16000,
}
AGENTS = {
    "race": RACE,
    "race-slow-targets": RACE | {"tau": 0.005},
}
CAPS_MPS = (25.0, 18.0, 14.0, 10.0)
LATERAL_LIMITS_MPS2 = (4.0, 5.0, 6.0, 7.0)
HEADER = ["driver", "route completion", "clean laps", "speed, m/s", "lap, s"]


def follower_sweep() -> dict[str, dict[str, float]]:
    """Metrics of the follower on each route of the evaluation, by setting; from the record, or driven now."""
    params = params_with({})
    values = {key: params_as_values(params)[key] for key in ("tracks", "vehicle", "ending", "camera")}
    record = stored("race-follower")
    if record is None or not still_so(record["params"], values):
        record = {"params": values, "settings": {}}
    for cap_mps in CAPS_MPS:
        for lateral_mps2 in LATERAL_LIMITS_MPS2:
            name = f"follower, at most {cap_mps:g} m/s and {lateral_mps2:g} m/s2 sideways"
            if name not in record["settings"]:
                print(f"== {name}", flush=True)
                record["settings"][name] = _metrics(_laps(params, cap_mps, lateral_mps2))
                store("race-follower", record)
    return record["settings"]


def _laps(params: Params, cap_mps: float, lateral_mps2: float) -> list[dict[str, float]]:
    tasks = [(name, direction, cap_mps, lateral_mps2) for name in params.tracks.evaluation for direction in DIRECTIONS]
    return sorted(run_tasks(_lap, tasks, _start, params), key=lambda lap: lap["metres"])


_env: DriveEnv | None = None  # of this worker process


def _start(worker: int, params: Params) -> Callable[[], None]:
    global _env
    _env = evaluation_env(params, worker)
    return _env.close


def _lap(track: str, direction: str, cap_mps: float, lateral_mps2: float) -> dict[str, float]:
    return until_done(_drive, track, direction, cap_mps, lateral_mps2)


def _drive(track: str, direction: str, cap_mps: float, lateral_mps2: float) -> dict[str, float]:
    limit_steps = int(_env.params.evaluate.lap_limit_s / _env.decision_s)
    options = {"track": track, "direction": direction, "s_m": 0.0, "lap": True, "time_limit_steps": limit_steps}
    observation, info = _env.reset(options=options)
    follower = Follower(_env.route, cap_mps, lateral_limit_mps2=lateral_mps2)
    steps, done = 0, False
    while not done:
        observation, _, terminated, truncated, info = _env.step(follower.act(observation, info))
        done, steps = terminated or truncated, steps + 1
    clean = info["ending"] == "lap"
    completion = 1.0 if clean else info["route_completion"]
    return {"clean": clean, "completion": completion, "seconds": steps * _env.decision_s, "metres": info["progress_m"]}


def _metrics(laps: list[dict[str, float]]) -> dict[str, float]:
    total = {name: sum(lap[name] for lap in laps) for name in laps[0]}
    return {
        "route_completion_mean": total["completion"] / len(laps),
        "clean_share": total["clean"] / len(laps),
        "speed_mean_mps": total["metres"] / total["seconds"],
        "lap_s": total["seconds"] / len(laps),
    }


def row(name: str, metrics: dict[str, float]) -> list[str]:
    clean = metrics["clean_share"] == 1.0  # else the time of a lap is not one
    return [
        name,
        f"{metrics['route_completion_mean']:.3f}",
        f"{100 * metrics['clean_share']:.0f} %",
        f"{metrics['speed_mean_mps']:.2f}",
        f"{metrics['lap_s']:.1f}" if clean else "",
    ]


def follower_rows(settings: dict[str, dict[str, float]]) -> list[list[str]]:
    """A row a setting, and once more the quickest of those that drove every lap clean."""
    rows = [row(name, metrics) for name, metrics in settings.items()]
    clean = [name for name, metrics in settings.items() if metrics["clean_share"] == 1.0]
    if clean:
        best = min(clean, key=lambda name: settings[name]["lap_s"])
        rows.append(row(f"best clean {best}", settings[best]))
    return rows


def agent_row(name: str, metrics: dict[str, float]) -> list[str]:
    lap_s = 1000.0 * metrics["driven_km"] / metrics["laps"] / metrics["speed_mean_mps"]
    return row(name, metrics | {"lap_s": lap_s})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.race", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("follower", *AGENTS), help="one alone (default: follower and race)")
    arguments = parser.parse_args()
    rows = []
    if arguments.only in (None, "follower"):
        rows += follower_rows(follower_sweep())
    if arguments.only != "follower":
        name = arguments.only or "race"
        changes = AGENTS[name] | {"seed": arguments.seed, "evaluate.film": False}
        record = recorded_run(f"{name}-seed{arguments.seed}", changes, ("agent",))
        rows.append(agent_row(f"agent, {name}, seed {arguments.seed}", record["evaluate"]["agent"]))
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    main()
