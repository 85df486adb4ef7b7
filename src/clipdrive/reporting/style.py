"""How all figures look, and how they are saved so that the same numbers give the same bytes."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

AGENT, FOLLOWER, UNTRAINED = "#1f5fbf", "#2e7d32", "#8a8f98"
DRIVER_COLORS = {"agent": AGENT, "follower": FOLLOWER, "untrained": UNTRAINED}  # in the order of the tables
ENDING_COLORS = {
    "lap": "#2e7d32",
    "time_limit": "#2471a3",
    "run_end": "#aab2bd",
    "server_fault": "#7d8590",
    "stuck": "#d68910",
    "off_road": "#c0392b",
    "collision": "#7d3c98",
    "terminated": "#a04000",
}
LIMIT = "#b3261e"
DETAIL = "#d98324"
SOFT = "#b9c4d0"

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#3c4450",
    "axes.grid": True,
    "grid.color": "#e6e9ee",
    "xtick.color": "#3c4450",
    "ytick.color": "#3c4450",
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.4,
    "path.simplify": True,
    "svg.hashsalt": "clipdrive",
}


def panel(title: str, x_label: str, y_label: str, size_in: tuple[float, float] = (5.4, 3.2)) -> tuple[Figure, Axes]:
    """A figure with one axis; call inside `matplotlib.rc_context(STYLE)`."""
    figure = Figure(figsize=size_in)  # fixed margins: fitting them would take half of the stage's time
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.15, top=0.91)
    axis = figure.subplots()
    axis.set(title=title, xlabel=x_label, ylabel=y_label)
    return figure, axis


def log_scale(axis: Axes) -> None:
    """A logarithmic y axis with plain numbers at its ticks; linear where nothing drawn is positive."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axis.get_lines()] or [[]])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return
    axis.set_yscale("log")
    few_decades = values.max() < 300 * values.min()
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few_decades else (1.0,)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG without the name of the program that wrote it; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, metadata={"Software": None})
    return path


def legend(axis: Axes, **options: object) -> None:
    """A legend where there is something to name."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(**options)
