"""Figures of the train stage: learning curves, gradient norms, Q-values, actions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from clipdrive.reporting.style import (
    AGENT,
    DETAIL,
    ENDING_COLORS,
    FOLLOWER,
    LIMIT,
    SOFT,
    STYLE,
    legend,
    log_scale,
    panel,
    save,
)

SMOOTH_EPISODES = 15
SMOOTH_ROWS = 20
GROUP_COLORS = (DETAIL, "#7d3c98", AGENT, FOLLOWER)


def groups_of(updates: pd.DataFrame) -> list[str]:
    """The gradient groups that the update log has columns of."""
    return [name.removeprefix("norm_before.") for name in updates.columns if name.startswith("norm_before.")]


def draw_training(
    folder: Path, updates: pd.DataFrame, episodes: pd.DataFrame, metrics: Mapping[str, Any]
) -> dict[str, Path]:
    """Draw every figure of the train stage into `folder`; returns their paths by name. `metrics` are flat."""
    drawn: dict[str, Path] = {}
    with matplotlib.rc_context(STYLE):
        if len(episodes):
            drawn["return"] = _episodes(folder / "return.png", episodes, "return", "Return of each episode")
            if "progress_m" in episodes.columns:
                title = "Distance driven along the route"
                drawn["progress"] = _episodes(folder / "progress.png", episodes, "progress_m", title, "m")
            drawn["endings"] = _endings(folder / "endings.png", episodes)
        if len(updates):
            drawn["q_values"] = _q_values(folder / "q_values.png", updates, metrics.get("q.bound"))
            drawn["td_error"] = _td_error(folder / "td_error.png", updates)
            drawn["losses"] = _losses(folder / "losses.png", updates)
            drawn["actions"] = _actions(folder / "actions.png", updates)
            for group in groups_of(updates):
                limit = metrics.get(f"gradient.{group}.limit")
                drawn[f"gradient_{group}"] = _norms(folder / f"gradient_{group}.png", updates, group, limit)
            title = f"Share of clipped steps, mean of {SMOOTH_ROWS} rows"
            drawn["clipped"] = _per_group(folder / "clipped.png", updates, "clipped", title, smooth=SMOOTH_ROWS)
            title = "Size of an update: |change| / |weights|"
            drawn["update_ratio"] = _per_group(folder / "update_ratio.png", updates, "update_ratio", title, log=True)
    return drawn


def _episodes(path: Path, episodes: pd.DataFrame, column: str, title: str, unit: str = "") -> Path:
    figure, axis = panel(title, "decisions driven", unit)
    for ending, color in ENDING_COLORS.items():
        rows = episodes[episodes["ending"] == ending]
        if len(rows):
            axis.scatter(rows["env_step"], rows[column], s=9, color=color, alpha=0.75, linewidths=0, label=ending)
    smooth = episodes[column].rolling(SMOOTH_EPISODES, min_periods=1).median()
    axis.plot(episodes["env_step"], smooth, color="#1b2430", label=f"median of {SMOOTH_EPISODES}")
    legend(axis, ncols=2, loc="best")
    return save(figure, path)


def _endings(path: Path, episodes: pd.DataFrame) -> Path:
    figure, axis = panel("How episodes ended", "decisions driven", "share of the episodes")
    bins = min(20, max(1, len(episodes) // 5))
    number = pd.Series(np.arange(len(episodes)) * bins // len(episodes), index=episodes.index)
    names = [name for name in ENDING_COLORS if (episodes["ending"] == name).any()]
    shares = pd.crosstab(number, episodes["ending"], normalize="index")[names]
    ends = episodes.groupby(number)["env_step"].max().to_numpy()
    starts = np.concatenate([[0], ends[:-1]])
    bottom = np.zeros(len(shares))
    for name in names:
        height = shares[name].to_numpy()
        axis.bar(starts, height, ends - starts, bottom, align="edge", color=ENDING_COLORS[name], label=name)
        bottom += height
    axis.set_ylim(0, 1)
    axis.grid(False)
    figure.subplots_adjust(bottom=0.25)
    figure.legend(ncols=len(names), loc="lower center")
    return save(figure, path)


def _norms(path: Path, updates: pd.DataFrame, group: str, limit: float | None) -> Path:
    figure, axis = panel(f"Gradient norm: {group}", "update", "2-norm")
    rows = updates.dropna(subset=[f"norm_before.{group}"])
    axis.plot(rows["update"], rows[f"norm_before.{group}"], color=DETAIL, linewidth=0.9, label="before the clip")
    axis.plot(
        rows["update"],
        rows[f"norm_after.{group}"],
        color=AGENT,
        linewidth=0.9,
        label="in the optimiser's step",
    )
    if limit is not None:
        axis.axhline(limit, color=LIMIT, linestyle="--", linewidth=1.2, label=f"limit {limit:g}")
    log_scale(axis)
    legend(axis, loc="best")
    return save(figure, path)


def _per_group(path: Path, updates: pd.DataFrame, kind: str, title: str, log: bool = False, smooth: int = 1) -> Path:
    figure, axis = panel(title, "update", "")
    for group, color in zip(groups_of(updates), GROUP_COLORS, strict=False):
        if f"{kind}.{group}" in updates.columns:
            rows = updates.dropna(subset=[f"{kind}.{group}"])
            values = rows[f"{kind}.{group}"].rolling(smooth, min_periods=1).mean()
            axis.plot(rows["update"], values, color=color, linewidth=1.0, label=group)
    if log:
        log_scale(axis)
    else:
        axis.set_ylim(-0.02, 1.02)
    legend(axis, loc="best")
    return save(figure, path)


def _q_values(path: Path, updates: pd.DataFrame, bound: float | None) -> Path:
    figure, axis = panel("Q-values of the sampled batches", "update", "")
    x = updates["update"]
    axis.fill_between(x, updates["target_min"], updates["target_max"], color=SOFT, alpha=0.5, linewidth=0)
    axis.plot([], [], color=SOFT, linewidth=6, label="targets, least to largest")
    axis.plot(x, updates["q_abs_max"], color=DETAIL, linewidth=1.0, label="largest |Q|")
    axis.plot(x, updates["q1_mean"], color=AGENT, label="Q1, mean")
    axis.plot(x, updates["q2_mean"], color="#7d3c98", linestyle=":", label="Q2, mean")
    if bound is not None:
        axis.axhline(bound, color=LIMIT, linestyle="--", linewidth=1.2, label=f"bound {bound:g}")
    legend(axis, ncols=2, loc="best")
    return save(figure, path)


def _td_error(path: Path, updates: pd.DataFrame) -> Path:
    figure, axis = panel("TD error |Q - target| and the critics' gap |Q1 - Q2|", "update", "")
    axis.plot(updates["update"], updates["td_error_p99"], color=SOFT, label="TD error, 99th percentile")
    axis.plot(updates["update"], updates["td_error_mean"], color=AGENT, label="TD error, mean")
    axis.plot(updates["update"], updates["q_gap_mean"], color=DETAIL, linewidth=1.0, label="gap, mean")
    log_scale(axis)
    legend(axis, loc="best")
    return save(figure, path)


def _losses(path: Path, updates: pd.DataFrame) -> Path:
    figure, axis = panel("Losses", "update", "critic")
    axis.plot(updates["update"], updates["critic_loss"], color=AGENT, linewidth=1.0, label="critic")
    log_scale(axis)
    actor = updates.dropna(subset=["actor_loss"])
    figure.subplots_adjust(right=0.88)
    other = axis.twinx()
    other.plot(actor["update"], actor["actor_loss"], color=DETAIL, linewidth=1.0, label="actor")
    other.set_ylabel("actor")
    other.spines["right"].set_visible(True)
    other.grid(False)
    handles = [*axis.get_lines(), *other.get_lines()]
    axis.legend(handles, [line.get_label() for line in handles], loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2)
    return save(figure, path)


def _actions(path: Path, updates: pd.DataFrame) -> Path:
    figure, axis = panel("Actions of the actor, and the noise on them", "update", "")
    rows = updates.dropna(subset=["action_abs_mean"])
    axis.plot(rows["update"], rows["saturated_share"], color=LIMIT, label="share of saturated actions")
    axis.plot(rows["update"], rows["action_abs_mean"], color=AGENT, label="|action|, mean")
    if "exploration_noise" in updates.columns:
        noise = updates["exploration_noise"]
        axis.plot(updates["update"], noise, color=SOFT, label="exploration noise, standard deviation")
    axis.set_ylim(-0.02, 1.02)
    legend(axis, loc="best")
    return save(figure, path)
