"""A row of the episode log: what an episode driven while learning was like."""

from __future__ import annotations

from typing import Any

import numpy as np

from clipdrive.params import DRIVE

COUNTERS = ("episode", "env_step", "update")
WATCHED = ("q_mean", "return_mc_mean")  # by ReturnWatch
TASK_COLUMNS = (*COUNTERS, "steps", "return", "ending", *WATCHED)
DRIVE_COLUMNS = (
    *COUNTERS,
    "track",
    "direction",
    "steps",
    "return",
    "progress_m",
    "route_completion",
    "ending",
    "speed_mean_mps",
    "offset_abs_mean_m",
    "spawn_s_m",
    "spawn_x_m",
    "spawn_y_m",
    "end_x_m",
    "end_y_m",
    *WATCHED,
)


def episode_columns(task: str) -> tuple[str, ...]:
    return DRIVE_COLUMNS if task == DRIVE else TASK_COLUMNS


class EpisodeTally:
    """Gathers one episode's rewards and infos, from the info of its reset on."""

    def __init__(self, task: str, first: dict[str, Any]) -> None:
        self._drives, self._first, self._last = task == DRIVE, first, first
        self._total, self._steps = 0.0, 0
        self._speeds_mps: list[float] = []
        self._offsets_m: list[float] = []

    def add(self, reward: float, info: dict[str, Any]) -> None:
        self._total += reward
        self._steps += 1
        self._last = info
        if self._drives:
            self._speeds_mps.append(info["speed_mps"])
            self._offsets_m.append(abs(info["offset_m"]))

    @property
    def steps(self) -> int:
        return self._steps

    def row(self, ending: str | None) -> dict[str, Any]:
        """All columns but the counters and what is watched; `ending` is None where the run ended first."""
        first, last = self._first, self._last
        row = {"steps": self._steps, "return": float(self._total), "ending": ending or "run_end"}
        if not self._drives:
            return row
        return row | {
            "track": first["track"],
            "direction": first["direction"],
            "progress_m": float(last["progress_m"]),
            "route_completion": float(last["route_completion"]),
            "speed_mean_mps": float(np.mean(self._speeds_mps)),
            "offset_abs_mean_m": float(np.mean(self._offsets_m)),
            "spawn_s_m": float(first["s_m"]),
            "spawn_x_m": float(first["x_m"]),
            "spawn_y_m": float(first["y_m"]),
            "end_x_m": float(last["x_m"]),
            "end_y_m": float(last["y_m"]),
        }
