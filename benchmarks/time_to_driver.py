"""Time to a driver: wall time, and environment steps, from an empty memory to 0.95 route completion on unseen circuits.

`python -m benchmarks.time_to_driver` goes through every agent and seed and prints the table; each run leaves a record
in `benchmarks/records`, and a command that was stopped goes on behind the last one. `--agents`, `--seeds`,
`--cap-minutes` and `--threads` choose, `--table` prints what is recorded and runs nothing.

clipdrive has a budget over which its rates and noise fall: its time is that of `collect` and `train` with that budget,
their start included, judged once at the end by 24 laps; `clipdrive-4000` and so on have a smaller `train.env_steps`.
Stable-Baselines3's TD3 and SAC learn on the same environment until a probe of their policy (12 starts of 300 m, both
directions, every 20 s) reaches 0.95 and 24 laps confirm it, or until the cap. Evaluations are not on the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.judging import REACHED, drives
from benchmarks.runs import (
    folder_md5,
    machine,
    markdown_table,
    params_with,
    still_so,
    store,
    stored,
    whole_numbers,
)
from clipdrive.params import Params, params_as_values
from clipdrive.training.checkpoint import state_folder
from clipdrive.training.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[1]
OURS = "clipdrive"
BUDGETS = (4000, 3000, 2000)  # beside the default
PEERS = {"own defaults": ("sb3-td3", "sb3-sac"), "our settings": ("sb3-td3-our-settings", "sb3-sac-our-settings")}
AGENTS = (OURS, *(f"{OURS}-{steps}" for steps in BUDGETS), *PEERS["own defaults"], *PEERS["our settings"])
GOALS = {"own defaults": 10, "our settings": 3}  # how many times sooner clipdrive drives than the best of them
PROBE_EVERY_S = 20.0
LAPS = 24
HEADER = ["agent", "wall time, median (each seed)", "environment steps", "seeds that drive", "x clipdrive's time"]


def recorded(
    agent: str, seed: int, cap_minutes: float, threads: int, only_look: bool = False
) -> dict[str, Any] | None:
    """The record of one run, made now unless one stands that still answers the question."""
    name = f"time-to-driver-{agent}-seed{seed}"
    own = agent.startswith(OURS)
    params = _params(agent, seed, threads)
    basis = {"threads": threads} | (_basis_of_ours(params) if own else _basis_of_peer(agent, params))
    record = stored(name)
    if record and answers(record, basis, 0.0 if only_look else cap_minutes, own):  # shown whatever its cap
        return record
    if only_look:
        return None
    print(f"== {name}", flush=True)
    result = _ours(name, params) if own else _peer(agent, params, basis["settings"], cap_minutes, threads)
    record = {"name": name, "cap_minutes": None if own else cap_minutes, "machine": machine(), "basis": basis} | result
    store(name, record)
    return record


def answers(record: Mapping[str, Any], basis: Mapping[str, Any], cap_minutes: float, ended: bool) -> bool:
    """Whether a record is of this run, and its driver came, or had at least as much time as is given now."""
    return still_so(record["basis"], basis) and (ended or record["reached"] or record["cap_minutes"] >= cap_minutes)


def _params(agent: str, seed: int, threads: int) -> Params:
    changes = {"seed": seed, "evaluate.starts": LAPS, "evaluate.film": False, "train.torch_threads": threads}
    if agent.startswith(f"{OURS}-"):
        changes["train.env_steps"] = int(agent.removeprefix(f"{OURS}-"))
    return params_with(changes)


def _basis_of_ours(params: Params) -> dict[str, Any]:
    values = params_as_values(params)
    del values["gate"]
    return {"params": values}


def _basis_of_peer(agent: str, params: Params) -> dict[str, Any]:
    from benchmarks.peer_drivers import environment_values, settings

    given = settings(params, _algorithm(agent), agent in PEERS["our settings"])
    return {"params": environment_values(params), "settings": given}


def _algorithm(agent: str) -> str:
    return agent.split("-")[1]


def _ours(name: str, params: Params) -> dict[str, Any]:
    """The stages' own commands in an empty folder: collect and train on the clock, evaluate behind."""
    folder = state_folder() / "benchmarks" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open(folder / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(params_as_values(params), file)
    if (ROOT / params.tracks.folder).exists():
        (folder / params.tracks.folder).symlink_to(ROOT / params.tracks.folder)
    taken = {stage: _stage_s(stage, folder) for stage in ("collect", "train")}
    laps = evaluate(params, folder / "models" / "agent", folder / "evaluation", ("agent",))["agent"]
    collected, trained = (
        json.loads((folder / path / "metrics.json").read_text(encoding="utf-8"))
        for path in ("data/episodes", "runs/train")
    )
    result = {
        "reached": drives(laps["route_completion_mean"]),
        "time_s": round(sum(taken.values()), 1),
        "env_steps": collected["steps"] + trained["env_steps"],
        "updates": trained["updates"],
        "laps": laps,
        "stages_s": {stage: round(seconds, 1) for stage, seconds in taken.items()},
        "agent_md5": folder_md5(folder / "models" / "agent"),
    }
    shutil.rmtree(folder)
    return result


def _stage_s(stage: str, folder: Path) -> float:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    surroundings = {"PYTHONPATH": os.pathsep.join(paths), "CLIPDRIVE_STATE": str(folder / "state")}
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, env=os.environ | surroundings, check=True)
    return time.perf_counter() - begun


def _peer(agent: str, params: Params, given: dict[str, Any], cap_minutes: float, threads: int) -> dict[str, Any]:
    from benchmarks.peer_drivers import train_peer

    return train_peer(params, _algorithm(agent), given, 60.0 * cap_minutes, threads, PROBE_EVERY_S)


def median_s(records: Sequence[Mapping[str, Any]]) -> tuple[float, bool]:
    """The median time to a driver, and whether it is only known to be more than that."""
    return _median([record["time_s"] for record in records], records)


def times_ours(records: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]) -> tuple[float, bool]:
    """The median over the seeds of a run's time / that of clipdrive with the same seed, and whether it is more.

    By seed, since a seed's runs follow each other, on a machine that is not as quick every day; nan where no seed of
    clipdrive's drove.
    """
    by_seed = {_seed(record): record["time_s"] for record in ours if record["reached"]}
    both = [record for record in records if _seed(record) in by_seed]
    return _median([record["time_s"] / by_seed[_seed(record)] for record in both], both) if both else (math.nan, True)


def _seed(record: Mapping[str, Any]) -> int:
    return record["basis"]["params"]["seed"]


def _median(values: Sequence[float], records: Sequence[Mapping[str, Any]]) -> tuple[float, bool]:
    """The median of the records' values, and whether it is only a lower bound."""
    sure = [value if record["reached"] else math.inf for value, record in zip(values, records, strict=True)]
    return statistics.median(values), statistics.median(sure) > statistics.median(values)


def table(recorded_runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What is recorded, an agent a row, then the goals and whether they are held."""
    rows = []
    for agent, records in recorded_runs.items():
        if records:
            seconds, is_open = median_s(records)
            more = "> " if is_open else ""
            each = " / ".join(_time(record["time_s"], not record["reached"]) for record in records)
            steps = statistics.median(record["env_steps"] for record in records)
            count = f"{sum(record['reached'] for record in records)} of {len(records)}"
            times, is_more = times_ours(records, recorded_runs.get(OURS, ()))
            ratio = "-" if math.isnan(times) else f"{'> ' if is_more else ''}{times:.2f}"
            rows.append([agent, f"{_time(seconds, is_open)} ({each})", f"{more}{steps:,.0f}", count, ratio])
    return "\n".join([markdown_table(HEADER, rows), "", *verdicts(recorded_runs)])


def _time(seconds: float, is_open: bool) -> str:
    """`> 20 min` where a run was ended without a driver."""
    text = f"{seconds:.0f} s" if seconds < 600.0 else f"{seconds / 60.0:.1f} min"
    return f"> {text}" if is_open else text


def verdicts(recorded_runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """A line for clipdrive's shortest sure budget, and one for each goal."""
    sure = {
        agent: records
        for agent, records in recorded_runs.items()
        if agent.startswith(OURS) and records and all(record["reached"] for record in records)
    }
    lines = []
    if sure:
        shortest = min(sure, key=lambda agent: statistics.median(record["env_steps"] for record in sure[agent]))
        seconds = _time(*median_s(sure[shortest]))
        lines.append(f"shortest budget with which every seed reaches {REACHED}: {shortest}, {seconds}")
    for name, peers in PEERS.items():
        found = {peer: recorded_runs[peer] for peer in peers if recorded_runs.get(peer)}
        if found and OURS in sure:
            lines.append(_goal(name, found, sure[OURS]))
    return lines


def _goal(name: str, found: Mapping[str, Sequence[Mapping[str, Any]]], ours: Sequence[Mapping[str, Any]]) -> str:
    ratios = {peer: times_ours(records, ours) for peer, records in found.items()}
    best = min(ratios, key=lambda peer: (ratios[peer][1], ratios[peer][0]))
    times, is_open = ratios[best]
    holds = "yes" if times >= GOALS[name] else "open, the cap is too short to tell" if is_open else "NO"
    more = "more than " if is_open else ""
    return (
        f"best of Stable-Baselines3 with {name}: {best}, {_time(*median_s(found[best]))}, "
        f"{more}{times:.1f} x clipdrive's; {GOALS[name]} x asked: {holds}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_driver", description=__doc__.split("\n")[0])
    parser.add_argument("--agents", default=",".join(AGENTS), help=f"comma-separated (default {','.join(AGENTS)})")
    parser.add_argument("--seeds", type=whole_numbers, default=[0, 1, 2], help="comma-separated (default 0,1,2)")
    parser.add_argument("--cap-minutes", type=float, default=30.0, help="of a peer's training (default 30)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--table", action="store_true", help="print what is recorded, run nothing")
    arguments = parser.parse_args()
    agents = arguments.agents.split(",")
    if unknown := sorted(set(agents) - set(AGENTS)):
        parser.error(f"--agents: got {unknown[0]}, allowed: {', '.join(AGENTS)}")
    os.environ.setdefault("CLIPDRIVE_DEVICE", "cpu")
    if not arguments.table:  # the server's own code is compiled once, and on nobody's clock
        subprocess.run([sys.executable, "-m", "clipdrive.carla_server", "--compile-only"], check=True)
    runs: dict[str, list[dict[str, Any]]] = {agent: [] for agent in agents}
    for seed in arguments.seeds:
        for agent in agents:
            record = recorded(agent, seed, arguments.cap_minutes, arguments.threads, only_look=arguments.table)
            runs[agent] += [record] if record else []
    print(table(runs))


if __name__ == "__main__":
    main()
