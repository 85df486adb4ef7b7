"""What the page shows of a Gymnasium task in place of laps, maps and a film: returns by the agent's age."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import pandas as pd

from clipdrive.params import Params
from clipdrive.reporting import page
from clipdrive.reporting.findings import findings
from clipdrive.reporting.gate import Metrics, judge
from clipdrive.reporting.style import AGENT, SOFT, STYLE, UNTRAINED, legend, panel, save
from clipdrive.reporting.tables import Rows, text_of

EPISODES = "env_step return ending".split()
EVALUATION = "driver env_step episode steps return ending".split()
RETURNS = (
    ("episodes", "episodes", ".0f"),
    ("return_mean", "return, mean", ".1f"),
    ("return_sd", "standard deviation", ".1f"),
    ("return_min", "least", ".1f"),
    ("steps_mean", "steps, mean", ".1f"),
    ("return_best_of_last_3", "best of the last 3 snapshots", ".1f"),
    ("return_best_of_last_5", "best of the last 5 snapshots", ".1f"),
)


def draw_evaluation(folder: Path, rows: pd.DataFrame) -> dict[str, Path]:
    """Draw the returns of the snapshots, where there are any; returns the figure's path by name."""
    agent = rows[(rows["driver"] == "agent") & rows["env_step"].notna()]
    if not len(agent):
        return {}
    with matplotlib.rc_context(STYLE):
        figure, axis = panel("Return without noise, by what was driven before", "steps driven while learning", "return")
        by_age = agent.groupby("env_step")["return"]
        ages = by_age.mean().index.to_numpy()
        low, high = by_age.min(), by_age.max()
        axis.fill_between(ages, low, high, color=SOFT, alpha=0.5, linewidth=0, label="least to largest")
        axis.plot(ages, by_age.mean(), color=AGENT, label="agent, mean")
        untrained = rows.loc[rows["driver"] == "untrained", "return"].mean()
        axis.axhline(untrained, color=UNTRAINED, linestyle="--", label="untrained, mean")
        legend(axis, loc="best")
        return {"evaluation": save(figure, folder / "evaluation.png")}


def verdict(params: Params, metrics: Metrics) -> str:
    """The cards and the findings at the top of the page."""
    checks = {check.metric: check for check in judge(params.gate, metrics)}
    returns, certificate = checks["return"], checks["clip violations"]
    train = metrics["train"]
    items = [
        ("good" if returns.passed else "bad", text_of(returns.value, ".1f"), f"return, {returns.allowed} asked"),
        ("good" if certificate.passed else "bad", text_of(certificate.value, ".0f"), "clip violations"),
        ("note", text_of(train.get("q.abs_max"), ".3g"), f"largest |Q|, bound {text_of(train.get('q.bound'), '.4g')}"),
    ]
    return page.cards(items) + page.finding_list(findings(params, metrics))


def evaluation(params: Params, metrics: Metrics, drawn: Mapping[str, Path]) -> str:
    text = (
        f"{params.evaluate.starts} episodes of {params.task} without noise, from the same start states for every agent "
        "and every seed of a run."
    )
    return (
        page.paragraph(text)
        + page.table(return_table(metrics["evaluate"]))
        + page.figures(page.figure(drawn.get("evaluation"), "Snapshots of the agent, every so many steps."))
    )


def return_table(evaluate: Mapping[str, object]) -> Rows:
    drivers = ("agent", "untrained")
    rows = [["", *drivers]]
    for name, words, form in RETURNS:
        if f"agent.{name}" in evaluate:
            rows.append([words, *(text_of(evaluate.get(f"{driver}.{name}"), form) for driver in drivers)])
    return rows
