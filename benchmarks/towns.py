"""Towns in one lane, with turns: an agent trained on generated towns, in towns and on circuits that it has never seen.

`python -m benchmarks.towns` trains an agent a seed with the changes of `TOWNS` (TD3+BC on the follower's episodes) and
judges it on unseen generated towns, there in eight unseen weathers too, on unseen circuits and, with `--maps FOLDER`,
on the OpenDRIVE maps in that folder (Town01.xodr, Town02.xodr), beside the follower at the same target speed; it prints
the table that docs/conditions.md shows. `--agent towns-online` trains TD3 while it drives in place of it. Records are
kept in `benchmarks/records`, and a command that was stopped goes on behind the last cell.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.conditions import UNSEEN_WEATHERS, WEATHERS, judged, maps_in
from benchmarks.runs import folder_md5, markdown_table, recorded_run, whole_numbers
from clipdrive.training.checkpoint import state_folder

TASK: dict[str, Any] = {
    "route_command": True,
    "mirror": False,
    "tracks.follow": "lane",
    "tracks.junctions": "turns",
    "tracks.evaluation": [f"town:{number}" for number in range(1001, 1007)],
    "camera.fov_deg": 110.0,
    "camera.pitch_deg": -20.0,
    "reward.target_speed_mps": 6.0,
    "reward.speed_max_mps": 6.0,
    "spawn.lateral_m": 1.2,
    "spawn.speed_mps": 6.0,
    "evaluate.starts": 12,
    "evaluate.lap_limit_s": 900.0,
}
TOWNS = TASK | {
    "tracks.training": [f"town:{number}" for number in range(1, 21)],
    "spawn.near_turn_share": 0.4,
    "algorithm": "td3_bc",
    "encoder": "separate",
    "collect.driver": "follower",
    "collect.episodes": 160,
    "train.updates_before_driving": 16000,
    "train.env_steps": 0,
}
ONLINE = TASK | {
    "tracks.training": [f"town:{number}" for number in range(1, 61)],
    "spawn.near_turn_share": 0.6,
    "ending.stuck_after_s": 2.5,
    "collect.driver": "mixed",
    "collect.episodes": 120,
    "gamma": 0.97,
    "tau": 0.02,
    "exploration_noise": 0.3,
    "train.updates_before_driving": 2000,
    "train.env_steps": 30000,
}
AGENTS = {"towns": TOWNS, "towns-online": ONLINE}
GENERATED = "unseen generated towns"
ROADS: dict[str, dict[str, Any]] = {
    GENERATED: {},
    f"{GENERATED}, unseen weathers": {
        "evaluate.weather": [line for weather in UNSEEN_WEATHERS for line in WEATHERS[weather]],
        "evaluate.starts": 16,
    },
    "unseen circuits": {"tracks.evaluation": [f"circuit:{number}" for number in range(1001, 1007)]},
}
MAP_STARTS = 4  # laps a map, of some kilometres each; half of them in either direction
HEADER = ["roads", "driver", "route completion", "clean laps", "speed, m/s", "off the middle, m"]


def roads_with(maps: Path | None) -> dict[str, dict[str, Any]]:
    """Changes of the params for each kind of road, every map of the folder for itself."""
    if maps is None:
        return ROADS
    common = {"tracks.folder": str(maps), "evaluate.starts": MAP_STARTS}
    return ROADS | {f"{Path(name).stem}, unseen": common | {"tracks.evaluation": [name]} for name in maps_in(maps)}


def row(road: str, driver: str, metrics: dict[str, float]) -> list[str]:
    return [
        road,
        driver,
        f"{metrics['route_completion_mean']:.3f}",
        f"{100 * metrics['clean_share']:.0f} %",
        f"{metrics['speed_mean_mps']:.2f}",
        f"{metrics['offset_abs_mean_m']:.2f}",
    ]


def judged_run(name: str, changes: dict[str, Any], roads: dict[str, dict[str, Any]], driver: str) -> list[list[str]]:
    """A row a road, of an agent that is trained now unless its record stands; the follower does as well beside any."""
    record = recorded_run(name, changes, ("agent",))
    record.setdefault("cells", {})
    agent = state_folder() / "benchmarks" / name / "agent"
    rows = []
    for road, differing in roads.items():
        key = f"{road}, {driver}"
        if road == GENERATED and driver == "agent":  # what the run itself is judged on
            metrics = record["evaluate"]["agent"]
        else:
            if key not in record["cells"]:
                _require(agent, record)
            metrics = judged(record, name, agent, key, changes | differing, driver)
        rows.append(row(road, driver if driver == "follower" else name, metrics))
    return rows


def _require(agent: Path, record: dict[str, Any]) -> None:
    if not agent.exists() or folder_md5(agent) != record["agent_md5"]:
        raise SystemExit(
            f"error: {agent}: got no agent, or another than the record's; allowed: the recorded one "
            f"(without benchmarks/records/{record['name']}.json it is trained again)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.towns", description=__doc__)
    parser.add_argument("--agent", choices=tuple(AGENTS), default="towns", help="how it learns (default %(default)s)")
    parser.add_argument("--seeds", type=whole_numbers, default=[0, 1, 2], help="comma-separated (default 0,1,2)")
    parser.add_argument("--maps", type=Path, help="a folder with towns' maps as .xodr; none: generated towns alone")
    arguments = parser.parse_args()
    roads = roads_with(arguments.maps)
    rows = []
    for number, seed in enumerate(arguments.seeds):
        name = f"{arguments.agent}-seed{seed}"
        changes = AGENTS[arguments.agent] | {"seed": seed, "evaluate.film": False}
        rows += judged_run(name, changes, roads, "agent")
        if number == 0:
            rows += judged_run(name, changes, roads, "follower")
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    main()
