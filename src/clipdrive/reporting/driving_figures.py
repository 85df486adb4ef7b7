"""Figures of where the car drove: the evaluation's laps on their maps, and where training began and ended."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from clipdrive.reporting.style import DRIVER_COLORS, ENDING_COLORS, STYLE, panel, save

CLEAN = "lap"  # the ending of a lap driven whole
START = "#1e8449"


def draw_driving(
    folder: Path, laps: pd.DataFrame, trajectories: pd.DataFrame, training: pd.DataFrame
) -> dict[str, Path]:
    """Draw the evaluation's and the training's maps into `folder`; returns the figures' paths by name."""
    drawn: dict[str, Path] = {}
    with matplotlib.rc_context(STYLE):
        drawn["completion"] = _completion(folder / "completion.png", laps)
        drawn["speed_offset"] = _speed_offset(folder / "speed_offset.png", laps)
        if len(trajectories):
            drawn["laps"] = _laps(folder / "laps.png", laps, trajectories)
        if len(training):
            drawn["training_map"] = _training_map(folder / "training_map.png", training)
    return drawn


def _completion(path: Path, laps: pd.DataFrame) -> Path:
    figure, axis = panel("Route completion, lap by lap, best first", "share of the laps", "route completion")
    for width, (driver, color) in zip((1.8, 3.6, 1.8), reversed(list(DRIVER_COLORS.items())), strict=True):
        values = np.sort(laps.loc[laps["driver"] == driver, "route_completion"])[::-1]
        if len(values):
            share = np.linspace(0.0, 1.0, len(values) + 1)
            axis.stairs(values, share, color=color, linewidth=width, baseline=None, label=driver)
    axis.set(xlim=(0, 1), ylim=(0, 1.03))
    axis.legend(loc="center left")
    return save(figure, path)


def _speed_offset(path: Path, laps: pd.DataFrame) -> Path:
    figure, axis = panel("Each lap: how fast, how far from the middle", "mean speed [m/s]", "mean |offset| [m]")
    for driver, color in reversed(list(DRIVER_COLORS.items())):
        rows = laps[laps["driver"] == driver]
        failed = rows["ending"] != CLEAN
        axis.scatter(rows["speed_mean_mps"], rows["offset_abs_mean_m"], s=14, color=color, linewidths=0, label=driver)
        crosses = rows[failed]
        axis.scatter(crosses["speed_mean_mps"], crosses["offset_abs_mean_m"], s=30, color=color, marker="x")
    axis.scatter([], [], s=30, color="#3c4450", marker="x", label="not clean")
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.legend(loc="best")
    return save(figure, path)


def _laps(path: Path, laps: pd.DataFrame, trajectories: pd.DataFrame) -> Path:
    laps = laps[laps["driver"] == "agent"].set_index("episode")
    tracks = list(dict.fromkeys(laps["track"]))
    figure, axes = _maps(tracks, width_in=3.6)
    fastest = max(float(trajectories["speed_mps"].max()), 1.0)
    lines = None
    for episode, rows in trajectories.groupby("episode"):
        lap = laps.loc[episode]
        axis = axes[lap["track"]]
        points = np.column_stack([rows["x_m"], -rows["y_m"]])  # (n, 2); y grows to the right in CARLA
        pieces = np.stack([points[:-1], points[1:]], axis=1)  # (n-1, 2, 2)
        lines = LineCollection(pieces, cmap="viridis", linewidths=1.6, alpha=0.85)
        lines.set_array(rows["speed_mps"].to_numpy()[1:])
        lines.set_clim(0.0, fastest)
        axis.add_collection(lines)
        axis.plot(*points[0], marker="o", markersize=3.5, color=START)
        if lap["ending"] != CLEAN:
            axis.plot(*points[-1], marker="X", markersize=7, color=ENDING_COLORS.get(lap["ending"], "#555555"))
    for track, axis in axes.items():
        axis.autoscale_view()
        clean = laps.loc[laps["track"] == track, "ending"] == CLEAN
        axis.set_title(f"{_short(track)}: {clean.sum()} of {len(clean)} clean")
    if lines is not None:
        figure.colorbar(lines, ax=list(axes.values()), label="speed [m/s]", shrink=0.6, pad=0.01)
    return save(figure, path)


def _training_map(path: Path, training: pd.DataFrame) -> Path:
    tracks = list(dict.fromkeys(training.sort_values("track", key=lambda c: c.map(_natural))["track"]))
    figure, axes = _maps(tracks, width_in=2.1)
    for track, rows in training.groupby("track"):
        axis = axes[track]
        for row in rows.itertuples():
            axis.plot([row.spawn_x_m, row.end_x_m], [-row.spawn_y_m, -row.end_y_m], color="#d5dae1", linewidth=0.6)
        axis.scatter(rows["spawn_x_m"], -rows["spawn_y_m"], s=9, color=START, linewidths=0, zorder=3)
        colors = [ENDING_COLORS.get(ending, "#555555") for ending in rows["ending"]]
        axis.scatter(rows["end_x_m"], -rows["end_y_m"], s=13, marker="x", color=colors, linewidths=0.9, zorder=2)
        axis.set_title(_short(track), fontsize=8)
    first = next(iter(axes.values()))
    handles = [first.scatter([], [], s=12, color=START, label="began")]
    for ending in ENDING_COLORS:
        if (training["ending"] == ending).any():
            handles.append(first.scatter([], [], s=16, marker="x", color=ENDING_COLORS[ending], label=ending))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return save(figure, path)


def _maps(tracks: list[str], width_in: float) -> tuple[Figure, dict[str, Axes]]:
    """A grid of square maps without ticks, one a track."""
    columns = min(len(tracks), 3 if width_in > 3 else 5)
    lines = math.ceil(len(tracks) / columns)
    figure = Figure(figsize=(width_in * columns, width_in * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in grid:
        axis.set_aspect("equal", adjustable="datalim")
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
    for axis in grid[len(tracks) :]:
        axis.set_axis_off()
    return figure, dict(zip(tracks, grid, strict=False))


def _short(track: str) -> str:
    return track.rsplit("/", 1)[-1].removesuffix(".xodr")


def _natural(track: str) -> tuple[str, int]:
    head, _, tail = track.rpartition(":")
    return (head, int(tail)) if tail.isdigit() else (track, 0)
