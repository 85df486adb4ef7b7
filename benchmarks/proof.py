"""The proof: the whole pipeline on several seeds, 100 laps of unseen circuits each, beside the baselines.

`python -m benchmarks.proof` prints the table that the README shows. `--seeds 0,1,2` chooses the seeds.
"""

from __future__ import annotations

import argparse

from benchmarks.runs import DRIVERS, markdown_table, recorded_run

HEADER = ["driver", "route completion", "clean laps", "off-road / km", "crashes / km", "offset, m", "speed, m/s"]


def row(name: str, metrics: dict) -> list[str]:
    return [
        name,
        f"{metrics['route_completion_mean']:.3f}",
        f"{100 * metrics['clean_share']:.0f} %",
        f"{metrics['off_road_per_km']:.3f}",
        f"{metrics['crashes_per_km']:.3f}",
        f"{metrics['offset_abs_mean_m']:.2f}",
        f"{metrics['speed_mean_mps']:.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proof", description=__doc__)
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated seeds (default 0,1,2)")
    parser.add_argument("--starts", type=int, default=100, help="laps a driver and seed (default 100)")
    arguments = parser.parse_args()
    seeds = [int(text) for text in arguments.seeds.split(",")]
    rows = []
    for seed in seeds:
        changes = {"seed": seed, "evaluate.starts": arguments.starts, "evaluate.film": False}
        last = seed == seeds[-1]  # the baselines do the same whatever the seed
        record = recorded_run(f"proof-seed{seed}", changes, DRIVERS if last else ("agent",))
        rows.append(row(f"agent, seed {seed}", record["evaluate"]["agent"]))
    rows += [row(driver, record["evaluate"][driver]) for driver in DRIVERS[1:]]
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    main()
