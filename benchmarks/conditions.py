"""The table of conditions: one agent, untouched, on roads and in weathers that it has not been trained for.

`python -m benchmarks.conditions` judges `models/agent` and prints the table that docs/conditions.md shows; `--maps
FOLDER` adds the OpenDRIVE maps of towns that lie there (Town01.xodr, Town02.xodr). Each cell is kept in
`benchmarks/records/conditions.json` as it is driven; a command that was stopped goes on behind the last one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.runs import folder_md5, machine, markdown_table, params_with, still_so, store, stored
from clipdrive.params import Params, params_as_values
from clipdrive.training.checkpoint import state_folder
from clipdrive.training.evaluation import evaluate

WEATHERS = {  # none is the world's own, in which the agent was trained unless the params say otherwise
    "as trained": "none",
    "high sun": ["sun_altitude_angle:90"],
    "low sun": ["sun_altitude_angle:5"],
    "overcast": ["CloudyNoon cloudiness:100"],
    "fog": ["fog_density:30"],
    "hard rain": ["HardRainNoon"],
    "hard rain, low sun": ["HardRainSunset"],
    "dusk": ["sun_altitude_angle:-6"],
    "night": ["sun_altitude_angle:-60"],
}
UNSEEN_WEATHERS = tuple(WEATHERS)[1:]
LIKE, UNSEEN, TOWNS = "circuits of the training", "unseen circuits", "unseen towns"
COLUMNS = ("route_completion_mean", "clean_share", "speed_mean_mps")


def roads_of(params: Params, maps: Path | None) -> dict[str, dict[str, Any]]:
    """Changes of the params for each kind of road; six circuits of the training, every map of the folder."""
    roads = {LIKE: {"tracks.evaluation": list(params.tracks.training[:6])}, UNSEEN: {}}
    if maps is not None:
        roads[TOWNS] = {"tracks.evaluation": maps_in(maps), "tracks.folder": str(maps)}
    return roads


def maps_in(folder: Path) -> list[str]:
    """Names of the OpenDRIVE maps in the folder that `--maps` names; SystemExit with one sentence where it has none."""
    names = sorted(path.name for path in folder.glob("*.xodr"))
    if not names:
        raise SystemExit(f"error: --maps: got {folder}, which has no .xodr file")
    return names


def judged(
    record: dict[str, Any], name: str, agent: Path, key: str, changes: dict[str, Any], driver: str
) -> dict[str, float]:
    """The metrics of one driver under some changes of the params, from the record of that name or driven now."""
    cell = record["cells"].get(key)
    # where the maps lie and what else is set do not concern a cell, but what it was driven with does
    settings = {param: value for param, value in changes.items() if param != "tracks.folder"}
    if cell is None or cell["settings"] != settings:
        print(f"== {key}", flush=True)
        folder = state_folder() / "benchmarks" / "conditions"
        folder.parent.mkdir(parents=True, exist_ok=True)
        metrics = evaluate(params_with(changes), agent, folder, (driver,))[driver]
        record["cells"][key] = cell = {"settings": settings, "metrics": metrics}
        store(name, record)
    return cell["metrics"]


def record_of(name: str, agent: Path) -> dict[str, Any]:
    """The record of that name so far, if it is of this agent and of these params; else an empty one."""
    values = params_as_values(params_with({}))
    new = {"agent_md5": folder_md5(agent), "params": values, "machine": machine(), "cells": {}}
    record = stored(name)
    if record and record["agent_md5"] == new["agent_md5"] and still_so(record["params"], values):
        return record
    return new


def cell_text(metrics: dict[str, float]) -> str:
    completion, clean, speed = (metrics[name] for name in COLUMNS)
    return f"{completion:.3f}, {100 * clean:.0f} %, {speed:.1f}"


def mean_of(cells: Sequence[dict[str, float]]) -> dict[str, float]:
    """The plain mean over cells of as many laps each."""
    return {name: sum(cell[name] for cell in cells) / len(cells) for name in COLUMNS}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conditions", description=__doc__)
    parser.add_argument("--agent", type=Path, default=Path("models/agent"), help="its folder (default models/agent)")
    parser.add_argument("--maps", type=Path, help="a folder with towns' maps as .xodr; none: no column of towns")
    parser.add_argument("--starts", type=int, default=24, help="laps a cell (default 24)")
    parser.add_argument("--exposure", choices=("none", "auto"), help="in place of the params' (a record of its own)")
    arguments = parser.parse_args()
    exposure = {"exposure": arguments.exposure} if arguments.exposure else {}
    name = f"conditions-exposure-{arguments.exposure}" if exposure else "conditions"
    record = record_of(name, arguments.agent)
    table: dict[str, dict[str, dict[str, float]]] = {weather: {} for weather in [*WEATHERS, "follower"]}
    roads = roads_of(params_with({}), arguments.maps)
    common = {"evaluate.starts": arguments.starts, "evaluate.film": False} | exposure
    for road, changes in roads.items():
        for weather, value in WEATHERS.items():
            cell = common | changes | {"evaluate.weather": value}
            table[weather][road] = judged(record, name, arguments.agent, f"{road}, {weather}", cell, "agent")
        cell = common | changes
        table["follower"][road] = judged(record, name, arguments.agent, f"{road}, follower", cell, "follower")
    table["mean of the unseen weathers"] = {
        road: mean_of([table[weather][road] for weather in UNSEEN_WEATHERS]) for road in roads
    }
    rows = [[weather, *(cell_text(table[weather][road]) for road in roads)] for weather in table]
    print(markdown_table(["weather (route completion, clean, m/s)", *roads], rows))


if __name__ == "__main__":
    main()
