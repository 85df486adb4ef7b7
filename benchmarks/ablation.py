"""The ablation: what the default has that the TD3 paper has not, one thing changed at a time, a run for each seed.

`python -m benchmarks.ablation` prints the table that the README shows; `--only NAME` runs one row, `--seeds` chooses
the seeds, `--table` prints what is recorded and runs nothing. A command that was stopped goes on behind the last run.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.runs import markdown_table, recorded_run, whole_numbers

PLAIN = {
    "batch_size": 100,
    "mirror": False,
    "layer_norm": False,
    "encoder": "separate",
    "saturation_penalty": 0.0,
    "actor_init_scale": 1.0,
    "exploration_noise": 0.1,
    "exploration_noise_end": 0.1,
    "lr_constant_share": 1.0,
    "clip.actor_cnn": "none",
    "clip.actor_head": "none",
    "clip.critic_cnn": "none",
    "clip.critic_head": "none",
}
ROWS = {
    "default": {},
    "no-mirror": {"mirror": False},
    "no-layer-norm": {"layer_norm": False},
    "no-target-speed": {"reward.target_speed_mps": "none", "reward.speed_max_mps": 20.0},
    "encoder-separate": {"encoder": "separate"},
    "no-saturation-penalty": {"saturation_penalty": 0.0},
    "no-decay": {"lr_constant_share": 1.0, "exploration_noise": 0.1, "exploration_noise_end": 0.1},
    "no-clip": {name: value for name, value in PLAIN.items() if name.startswith("clip.")},
    "batch-100": {"batch_size": 100},
    "image-shift": {"image_shift_px": 4},
    "follower-data": {"collect.driver": "follower"},
    "plain-td3": PLAIN,
}
HEADER = ["changed", "seeds", "route completion", "clean laps", "speed, m/s", "saturated actions"]
HEADER += ["\\|Q\\| max / bound"]


def row(name: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Means over the seeds, each with its smallest and largest."""
    agents, trained = [record["evaluate"]["agent"] for record in records], [record["train"] for record in records]
    return [
        name,
        str(len(records)),
        spread([agent["route_completion_mean"] for agent in agents], 3),
        spread([100 * agent["clean_share"] for agent in agents], 0) + " %",
        spread([agent["speed_mean_mps"] for agent in agents], 1),
        spread([100 * train["actor"]["saturated_share_last"] for train in trained], 0) + " %",
        spread([train["q"]["abs_max"] for train in trained], 1) + f" / {trained[0]['q']['bound']:.0f}",
    ]


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, and smallest to largest where there are several values."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} .. {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=sorted(ROWS), action="append", help="run this row (may be repeated)")
    parser.add_argument("--seeds", type=whole_numbers, default=[0, 1, 2], help="comma-separated (default 0,1,2)")
    parser.add_argument("--table", action="store_true", help="print what is recorded, run nothing")
    arguments = parser.parse_args()
    names = arguments.only or ROWS
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in arguments.seeds:  # every row of one seed before the next seed
        for name in names:
            changes = {"seed": seed, "evaluate.film": False} | ROWS[name]
            record = recorded_run(f"ablation-{name}-seed{seed}", changes, ("agent",), only_look=arguments.table)
            runs[name] += [record] if record else []
    print(markdown_table(HEADER, [row(name, records) for name, records in runs.items() if records]))


if __name__ == "__main__":
    main()
