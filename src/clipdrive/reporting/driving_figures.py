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

from clipdrive.reporting.style import DRIVER_COLORS, ENDING_COLORS, SOFT, STYLE, panel, save

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
            drawn["training_starts"] = _training_starts(folder / "training_starts.png", training)
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
    figure, axes = _maps(tracks)
    slowest, fastest = trajectories["speed_mps"].quantile([0.02, 1.0])
    lines = None
    for episode, rows in trajectories.groupby("episode"):
        lap = laps.loc[episode]
        axis = axes[lap["track"]]
        points = np.column_stack([rows["x_m"], -rows["y_m"]])  # (n, 2); y grows to the right in CARLA
        pieces = np.stack([points[:-1], points[1:]], axis=1)  # (n-1, 2, 2)
        lines = LineCollection(pieces, cmap="viridis", linewidths=1.6, alpha=0.85)
        lines.set_array(rows["speed_mps"].to_numpy()[1:])
        lines.set_clim(slowest, max(fastest, slowest + 0.1))
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


def _training_starts(path: Path, training: pd.DataFrame) -> Path:
    """A row a track and direction: each episode is a line along the route, from its start to its ending."""
    ways = sorted(set(zip(training["track"], training["direction"], strict=True)), key=lambda way: _natural(*way))
    row_of = {way: row for row, way in enumerate(ways)}
    figure = Figure(figsize=(10.6, 0.17 * len(ways) + 1.2), layout="constrained")
    axis = figure.subplots()
    rows = np.array([row_of[way] for way in zip(training["track"], training["direction"], strict=True)])
    begins = training["spawn_s_m"].to_numpy()
    ends = begins + training["progress_m"].to_numpy()
    axis.hlines(rows, begins, ends, color=SOFT, linewidth=2.2)
    axis.scatter(begins, rows, s=12, color=START, linewidths=0, zorder=3, label="began")
    for ending, color in ENDING_COLORS.items():
        ended = (training["ending"] == ending).to_numpy()
        if ended.any():
            axis.scatter(
                ends[ended], rows[ended], s=18, marker="x", color=color, linewidths=1.1, zorder=2, label=ending
            )
    axis.set(xlabel="along the route, across its start where the lap is closed [m]", ylim=(len(ways) - 0.3, -0.7))
    axis.set_yticks(range(len(ways)), [f"{_short(track)} {direction}" for track, direction in ways], fontsize=7)
    figure.legend(loc="outside upper left", ncols=len(ENDING_COLORS) + 1)
    return save(figure, path)


def _maps(tracks: list[str]) -> tuple[Figure, dict[str, Axes]]:
    """A grid of square maps without ticks, one a track."""
    columns = min(len(tracks), 3)
    lines = math.ceil(len(tracks) / columns)
    figure = Figure(figsize=(3.6 * columns, 3.6 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in grid:
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_axis_off()
    return figure, dict(zip(tracks, grid, strict=False))


def _short(track: str) -> str:
    return track.rsplit("/", 1)[-1].removesuffix(".xodr")


def _natural(track: str, direction: str) -> tuple[str, int, bool]:
    """Sorts circuit:2 before circuit:10, and forward before backward."""
    head, _, tail = track.rpartition(":")
    return (head, int(tail), direction != "forward") if tail.isdigit() else (track, 0, direction != "forward")
