"""The proof: the whole pipeline on several seeds, 100 laps of unseen circuits each, beside the baselines.

`python -m benchmarks.proof` prints the table that the README shows, and says of each seed whether it holds what is
asked; it ends with 1 where one does not. `--seeds 0,1,2` chooses the seeds, `--table` prints what is recorded and runs
nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.runs import DRIVERS, markdown_table, recorded_run, whole_numbers

COMPLETION, CLEAN, SPEED = 0.998, 0.99, 0.9  # at least; the speed as a share of the follower's
ASKED = (
    f"asked of each seed: route completion {COMPLETION}, {100 * CLEAN:.0f} % clean laps, "
    f"{SPEED} of the follower's mean speed"
)
HEADER = ["driver", "route completion", "clean laps", "off-road / km", "crashes / km", "offset, m", "speed, m/s"]
HEADER += ["holds"]


def row(name: str, metrics: Mapping[str, Any], verdict: str) -> list[str]:
    return [
        name,
        f"{metrics['route_completion_mean']:.3f}",
        f"{100 * metrics['clean_share']:.0f} %",
        f"{metrics['off_road_per_km']:.3f}",
        f"{metrics['crashes_per_km']:.3f}",
        f"{metrics['offset_abs_mean_m']:.2f}",
        f"{metrics['speed_mean_mps']:.2f}",
        verdict,
    ]


def verdict(agent: Mapping[str, Any], follower: Mapping[str, Any] | None) -> str:
    """`yes`, or what is missing; the speed counts where there is a follower to compare with."""
    missing = []
    if agent["route_completion_mean"] < COMPLETION:
        missing.append("route completion")
    if agent["clean_share"] < CLEAN:
        missing.append("clean laps")
    if follower is None:
        missing.append("no follower to compare with")
    elif agent["speed_mean_mps"] < SPEED * follower["speed_mean_mps"]:
        missing.append("speed")
    return "NO: " + ", ".join(missing) if missing else "yes"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proof", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=whole_numbers, default=[0, 1, 2, 3, 4], help="comma-separated (default 0 to 4)")
    parser.add_argument("--starts", type=int, default=100, help="laps a driver and seed (default 100)")
    parser.add_argument("--table", action="store_true", help="print what is recorded, run nothing")
    arguments = parser.parse_args()
    evaluations: dict[int, dict[str, Any]] = {}
    for seed in arguments.seeds:
        changes = {"seed": seed, "evaluate.starts": arguments.starts, "evaluate.film": False}
        last = seed == arguments.seeds[-1] and not arguments.table  # the baselines do the same whatever the seed
        drivers = DRIVERS if last else ("agent",)
        record = recorded_run(f"proof-seed{seed}", changes, drivers, only_look=arguments.table)
        if record:
            evaluations[seed] = record["evaluate"]
    baselines = {driver: found[driver] for found in evaluations.values() for driver in DRIVERS[1:] if driver in found}
    verdicts = {seed: verdict(found["agent"], baselines.get("follower")) for seed, found in evaluations.items()}
    rows = [row(f"agent, seed {seed}", found["agent"], verdicts[seed]) for seed, found in evaluations.items()]
    rows += [row(driver, metrics, "") for driver, metrics in baselines.items()]
    print(markdown_table(HEADER, rows), ASKED, sep="\n\n")
    sys.exit(int(any(said != "yes" for said in verdicts.values())))


if __name__ == "__main__":
    main()
