"""A small made-up run on disk, for the tests of the report, the gate and the film."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GROUPS = {"actor_head": 1.0, "critic_cnn": 10.0, "critic_head": 10.0}
TRAINING = [f"circuit:{i}" for i in range(1, 21)]
EVALUATION = [f"circuit:{i}" for i in range(1001, 1007)]


def circle(track: str, points: int = 400) -> np.ndarray:
    """A wavy closed road (points, 2) in metres, another for each track."""
    rng = np.random.default_rng(sum(track.encode()))
    angle = np.linspace(0.0, 2 * np.pi, points)
    radius = 130 + sum(rng.normal(0, 18 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 7))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def write_run(root: Path, updates: int = 300, episodes: int = 120, starts: int = 24) -> None:
    """Write data/, runs/train/ and evaluation/ below `root` as the stages do: a run that went well."""
    rng = np.random.default_rng(0)
    _write_collect(root)
    _write_train(root / "runs" / "train", rng, updates, episodes)
    _write_evaluation(root / "evaluation", rng, starts)


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; `a__b` is b in a."""
    content = json.loads(path.read_text())
    for name, value in values.items():
        *parents, key = name.split("__")
        section = content
        for parent in parents:
            section = section[parent]
        section[key] = value
    path.write_text(json.dumps(content))


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_collect(root: Path) -> None:
    metrics = {
        "episodes": 60,
        "steps": 1900,
        "metres": 3400.25,
        "return_mean": 4.5,
        "endings": {"off_road": 50, "stuck": 8, "collision": 0, "time_limit": 2},
        "checkpoints_visited_share": 0.21,
        "standstill_share": 0.25,
    }
    _json(root / "data/episodes/metrics.json", metrics)
    _json(root / "data/episodes/manifest.json", [])
    (root / "data/pictures").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (900, 500), (235, 238, 242)).save(root / "data/pictures/spawns.png")


def _write_train(folder: Path, rng: np.random.Generator, updates: int, episodes: int) -> None:
    rows = []
    for i in range(1, updates + 1):
        t = i / updates
        q = 16 * (1 - math.exp(-4 * t))
        row: dict[str, Any] = {
            "update": 10 * i,
            "env_step": int(max(0, t - 0.08) * 13000),
            "critic_loss": 0.15 * math.exp(rng.normal(0, 0.3)),
            "q1_mean": q + rng.normal(0, 0.2),
            "q2_mean": q + rng.normal(0, 0.2),
            "q_abs_max": q * 1.3 + 1 + abs(rng.normal(0, 0.4)),
            "q_gap_mean": 0.4 * math.exp(rng.normal(0, 0.2)),
            "target_mean": q,
            "target_min": min(-1.0, q - 12),
            "target_max": q * 1.25 + 1,
            "td_error_mean": 0.3 * math.exp(rng.normal(0, 0.2)),
            "td_error_p99": 1.6 * math.exp(rng.normal(0, 0.2)),
            "lr_factor": min(1.0, 2 - 1.9 * t),
            "exploration_noise": 0.4 - 0.35 * t,
        }
        if i % 2 == 0:
            row |= {
                "actor_loss": -q,
                "action_abs_mean": 0.35,
                "saturated_share": 0.02 + 0.1 * math.exp(-10 * t),
            }
        for group, limit in GROUPS.items():
            if group.startswith("actor") and i % 2:
                continue
            before = 0.5 * limit * math.exp(rng.normal(0, 0.5))
            row |= {
                f"norm_before.{group}": before,
                f"norm_after.{group}": min(before, limit),
                f"clipped.{group}": float(before > limit),
                f"update_ratio.{group}": 1e-3 * math.exp(rng.normal(-t, 0.2)),
            }
        rows.append(row)
    _csv(folder / "updates.csv", rows)
    _csv(folder / "episodes.csv", _training_episodes(rng, episodes))
    gradient = {
        group: {
            "updates": 3000,
            "clipped_share": 0.08,
            "before_mean": 0.5 * limit,
            "before_p99": 1.3 * limit,
            "before_max": 2.2 * limit,
            "after_max": limit,
            "limit": limit,
        }
        for group, limit in GROUPS.items()
    }
    metrics = {
        "env_steps": 12000,
        "updates": 6500,
        "q": {
            "abs_max": 22.4,
            "bound": 100.0,
            "bound_passed_updates": 0,
            "mean_last": 15.9,
            "gap_mean_last": 0.41,
            "td_error_p99_last": 1.6,
        },
        "loss": {"critic_last": 0.15, "actor_last": -15.7},
        "actor": {"action_abs_mean_last": 0.35, "saturated_share_last": 0.02},
        "faults": {"restarts": 0},
        "gradient": gradient,
        "certificate": {"updates": 6500, "violations": 0},
        "driving": {
            "episodes": episodes,
            "return_last": 320.5,
            "progress_last_m": 410.2,
            "failed_share_last": 0.05,
        },
    }
    _json(folder / "metrics.json", metrics)


def _training_episodes(rng: np.random.Generator, episodes: int) -> list[dict[str, Any]]:
    rows, step = [], 0
    for i in range(episodes):
        skill = 1 / (1 + math.exp(-12 * (i / episodes - 0.35)))
        good = rng.random() < skill
        steps = int(500 if good else 20 + rng.exponential(60))
        step += steps
        track = TRAINING[int(rng.integers(20))]
        road = circle(track)
        begin = int(rng.integers(400))
        end = int(begin + 0.8 * steps) % 400
        rows.append(
            {
                "episode": i,
                "env_step": step,
                "update": step // 2,
                "track": track,
                "direction": ("forward", "backward")[i % 2],
                "steps": steps,
                "return": steps * 0.75 * skill,
                "progress_m": steps * 0.9 * (0.5 + skill / 2),
                "route_completion": min(1.0, steps * 0.9 / 1000),
                "ending": "time_limit" if good else ("off_road", "stuck", "collision")[int(rng.integers(3))],
                "speed_mean_mps": 4 + 5 * skill,
                "offset_abs_mean_m": 1.6 - skill,
                "spawn_s_m": 2.5 * begin,
                "spawn_x_m": road[begin, 0],
                "spawn_y_m": road[begin, 1],
                "end_x_m": road[end, 0],
                "end_y_m": road[end, 1],
            }
        )
    return rows


def _write_evaluation(folder: Path, rng: np.random.Generator, starts: int) -> None:
    quality = {"agent": (0.99, 9.1, 0.45), "follower": (1.0, 9.6, 0.15), "untrained": (0.06, 2.5, 1.4)}
    laps, steps, metrics = [], [], {}
    for driver, (completion, speed, offset) in quality.items():
        for i in range(starts):
            track = EVALUATION[i % 6]
            done = (
                1.0
                if driver != "untrained" and rng.random() < completion
                else float(rng.uniform(0.0, 0.5 * completion))
            )
            lap = {
                "driver": driver,
                "episode": i,
                "track": track,
                "direction": ("forward", "backward")[(i // 6) % 2],
                "start_s_m": 40.0 * i,
                "steps": int(1000 * done / speed * 10),
                "route_completion": done,
                "ending": "lap" if done == 1.0 else "off_road",
                "driven_m": 1000 * done,
                "speed_mean_mps": speed + rng.normal(0, 0.3),
                "offset_abs_mean_m": abs(offset + rng.normal(0, 0.05)),
                "jerk_mean_mps3": 2.0,
                "return": 800 * done,
            }
            laps.append(lap)
            if driver == "agent":
                road = circle(track)[:: 1 if i // 6 % 2 == 0 else -1]
                for k, (x, y) in enumerate(road[: max(2, int(400 * done)) : 2]):
                    row = {"episode": i, "step": 5 * k, "x_m": x, "y_m": y}
                    steps.append(row | {"speed_mps": 9 + 2 * math.sin(k / 9), "offset_m": 0.3})
        mine = [lap for lap in laps if lap["driver"] == driver]
        driven = sum(lap["driven_m"] for lap in mine) / 1000
        off = sum(lap["ending"] == "off_road" for lap in mine)
        metrics[driver] = {
            "route_completion_mean": sum(lap["route_completion"] for lap in mine) / starts,
            "clean_share": 1 - off / starts,
            "crashes_per_km": 0.0,
            "off_road_per_km": off / max(driven, 1e-3),
            "stuck_share": 0.0,
            "offset_abs_mean_m": offset,
            "speed_mean_mps": speed,
            "jerk_mean_mps3": 2.0,
            "return_mean": 800 * completion,
            "laps": starts,
            "driven_km": driven,
        }
    metrics["speed_ratio_to_follower"] = 9.1 / 9.6
    _csv(folder / "episodes.csv", laps)
    _csv(folder / "trajectories.csv", steps)
    _json(folder / "metrics.json", metrics)
