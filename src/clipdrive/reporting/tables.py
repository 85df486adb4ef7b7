"""The page's tables, as rows of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from clipdrive.reporting.driving_figures import CLEAN
from clipdrive.reporting.files import flat
from clipdrive.reporting.style import DRIVER_COLORS

Rows = list[list[str]]  # the first is the head

DRIVING = (  # metric, its words, its format
    ("route_completion_mean", "route completion", ".3f"),
    ("clean_share", "clean laps", ".0%"),
    ("laps", "laps driven", ".0f"),
    ("driven_km", "driven [km]", ".1f"),
    ("crashes_per_km", "crashes per km", ".3f"),
    ("off_road_per_km", "off-road events per km", ".3f"),
    ("stuck_share", "stuck", ".0%"),
    ("speed_mean_mps", "mean speed [m/s]", ".2f"),
    ("offset_abs_mean_m", "mean |offset| [m]", ".2f"),
    ("jerk_mean_mps3", "mean jerk [m/s³]", ".1f"),
    ("return_mean", "return", ".1f"),
)
NORMS = (
    ("limit", "limit", ".4g"),
    ("before_mean", "mean before", ".3g"),
    ("before_p99", "99% before", ".3g"),
    ("before_max", "largest before", ".3g"),
    ("after_max", "largest in a step", ".6g"),
    ("clipped_share", "steps clipped", ".1%"),
    ("updates", "steps", ".0f"),
)


def text_of(value: Any, form: str, missing: str = "–") -> str:
    """A number by its format; a missing one as a dash."""
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return missing
    return format(value, form)


def driving_table(evaluate: Mapping[str, Any]) -> Rows:
    """The agent beside the baselines, a metric a row."""
    head = ["", *DRIVER_COLORS]
    body = [
        [words, *(text_of(evaluate.get(f"{driver}.{name}"), form) for driver in DRIVER_COLORS)]
        for name, words, form in DRIVING
    ]
    return [head, *body]


def track_table(laps: pd.DataFrame) -> Rows:
    """The agent's laps by track and direction."""
    rows = [
        [
            "track",
            "direction",
            "laps",
            "completion",
            "lowest",
            "clean",
            "speed [m/s]",
            "|offset| [m]",
            "endings",
        ]
    ]
    agent = laps[laps["driver"] == "agent"]
    for (track, direction), part in agent.groupby(["track", "direction"], sort=False):
        counts = part["ending"].value_counts()
        rows.append(
            [
                str(track),
                str(direction),
                str(len(part)),
                f"{part['route_completion'].mean():.3f}",
                f"{part['route_completion'].min():.3f}",
                f"{(part['ending'] == CLEAN).mean():.0%}",
                f"{part['speed_mean_mps'].mean():.2f}",
                f"{part['offset_abs_mean_m'].mean():.2f}",
                ", ".join(f"{name} {count}" for name, count in counts.items()),
            ]
        )
    return rows


def gradient_table(train: Mapping[str, Any]) -> Rows:
    """The certificate: a gradient group a row."""
    groups = dict.fromkeys(name.split(".")[1] for name in train if name.startswith("gradient."))
    rows = [["group", *(words for _, words, _ in NORMS)]]
    for group in groups:
        cells = [text_of(train.get(f"gradient.{group}.{name}"), form, "none") for name, _, form in NORMS]
        rows.append([group, *cells])
    return rows


def data_table(collect: Mapping[str, Any]) -> Rows:
    """What collect drove, a metric a row."""
    return [["collect", ""], *([name, text_of(value, ",.6g", str(value))] for name, value in collect.items())]


def params_table(values: Mapping[str, Any]) -> Rows:
    """Every key of params.yaml with its value."""
    rows = [["key", "value"]]
    for key, value in flat(values).items():
        rows.append([key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)])
    return rows
