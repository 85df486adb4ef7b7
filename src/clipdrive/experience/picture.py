"""The map picture of a data set: where its episodes began and ended on each track."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib.figure import Figure

ENDING_COLORS = {"off_road": "#c0392b", "collision": "#7d3c98", "stuck": "#d68910", "time_limit": "#2471a3"}


def draw_spawns(path: Path, rows: list[dict[str, Any]], routes: Mapping[str, np.ndarray]) -> None:
    """Write a PNG with one small map a track; `routes` maps a track to its points (n, 2) in metres, y right."""
    by_track: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_track[row["track"]].append(row)
    columns = min(5, len(by_track))
    lines = math.ceil(len(by_track) / columns)
    figure = Figure(figsize=(2.6 * columns, 2.6 * lines + 0.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns, squeeze=False)).ravel()
    for axis in axes[len(by_track) :]:
        axis.set_axis_off()
    for axis, (track, episodes) in zip(axes, by_track.items(), strict=False):
        points = routes[track]
        axis.plot(points[:, 0], -points[:, 1], color="#bbbbbb", linewidth=3, zorder=1)
        starts = np.array([[row["spawn"]["x_m"], -row["spawn"]["y_m"]] for row in episodes])
        axis.scatter(*starts.T, s=14, color="#1e8449", zorder=3)
        for row in episodes:
            x, y = row["end"]["x_m"], -row["end"]["y_m"]
            axis.scatter([x], [y], s=16, marker="x", color=ENDING_COLORS.get(row["ending"], "#555555"), zorder=2)
        axis.set_title(track.rsplit("/", 1)[-1], fontsize=8)
        axis.set_aspect("equal")
        axis.tick_params(labelsize=6)
    handles = [
        axes[0].scatter([], [], s=14, color="#1e8449", label="began"),
        *(axes[0].scatter([], [], s=16, marker="x", color=c, label=name) for name, c in ENDING_COLORS.items()),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    figure.savefig(path, dpi=90, metadata={"Software": None})
