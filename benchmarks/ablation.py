"""The ablation: what the default has that the TD3 paper has not, one thing changed at a time, a run each.

`python -m benchmarks.ablation` prints the table that the README shows; `--only NAME` runs one row.
"""

from __future__ import annotations

import argparse

from benchmarks.runs import markdown_table, recorded_run

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
HEADER = ["changed", "route completion", "clean laps", "speed, m/s", "saturated actions", "|Q| max / bound"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--only", choices=sorted(ROWS), action="append", help="run this row (may be repeated)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only or ROWS:
        changes = {"seed": arguments.seed, "evaluate.film": False} | ROWS[name]
        record = recorded_run(f"ablation-{name}-seed{arguments.seed}", changes, ("agent",))
        agent, train = record["evaluate"]["agent"], record["train"]
        rows.append(
            [
                name,
                f"{agent['route_completion_mean']:.3f}",
                f"{100 * agent['clean_share']:.0f} %",
                f"{agent['speed_mean_mps']:.1f}",
                f"{100 * train['actor']['saturated_share_last']:.0f} %",
                f"{train['q']['abs_max']:.1f} / {train['q']['bound']:.0f}",
            ]
        )
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    main()
