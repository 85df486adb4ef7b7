"""The report stage, from files alone: publish metrics and curves for Git, draw the figures, write the page."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from clipdrive.params import DRIVE, Params, params_as_values
from clipdrive.reporting import page, task_report
from clipdrive.reporting.curves import read_table, write_curve
from clipdrive.reporting.driving_figures import draw_driving
from clipdrive.reporting.files import flat, read_json, write_metrics
from clipdrive.reporting.findings import findings
from clipdrive.reporting.gate import Metrics, judge
from clipdrive.reporting.tables import (
    data_table,
    driving_table,
    gradient_table,
    params_table,
    text_of,
    track_table,
)
from clipdrive.reporting.training_figures import draw_training, groups_of

UPDATES = (
    "update env_step critic_loss actor_loss q1_mean q2_mean q_abs_max q_gap_mean target_min target_max "
    "td_error_mean td_error_p99 action_abs_mean saturated_share"
).split()
EPISODES = "env_step track direction return progress_m ending spawn_s_m".split()
LAPS = "driver episode track direction route_completion ending speed_mean_mps offset_abs_mean_m".split()
TRAJECTORIES = "episode step x_m y_m speed_mps".split()


@dataclass(frozen=True)
class Run:
    """Everything the stages left that the report shows."""

    metrics: Mapping[str, Mapping[str, Any]]  # stage -> nested metrics
    updates: pd.DataFrame
    episodes: pd.DataFrame
    laps: pd.DataFrame
    trajectories: pd.DataFrame
    spawns_picture: Path
    film: Path

    @property
    def flat_metrics(self) -> Metrics:
        return {stage: flat(values) for stage, values in self.metrics.items()}


def report(
    params: Params,
    episodes_folder: Path,
    spawns_picture: Path,
    train_folder: Path,
    evaluation_folder: Path,
    reports_folder: Path,
) -> None:
    """Write metrics/, curves/, figures/ and report.html into `reports_folder`.

    Raises ReportError for an input that is missing or damaged, before anything is written.
    """
    drives = params.task == DRIVE
    run = read_run(episodes_folder, spawns_picture, train_folder, evaluation_folder, drives)
    part = reports_folder.with_name(reports_folder.name + ".part")  # nothing half-written, on a full disk
    shutil.rmtree(part, ignore_errors=True)
    try:
        _write(params, run, part)
        for made in sorted(part.iterdir()):
            _put_in_place(made, reports_folder / made.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(params: Params, run: Run, folder: Path) -> None:
    for stage, values in run.metrics.items():
        write_metrics(folder / "metrics" / f"{stage}.json", values)
    for name, table in {"updates": run.updates, "episodes": run.episodes, "evaluation": run.laps}.items():
        write_curve(folder / "curves" / f"{name}.csv", table)
    drawn = draw_training(folder / "figures", run.updates, run.episodes, run.flat_metrics["train"])
    if params.task == DRIVE:
        drawn |= draw_driving(folder / "figures", run.laps, run.trajectories, run.episodes)
    else:
        drawn |= task_report.draw_evaluation(folder / "figures", run.laps)
    (folder / "report.html").write_text(report_page(params, run, drawn), encoding="utf-8")


def _put_in_place(made: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    made.replace(target)


def read_run(
    episodes_folder: Path, spawns_picture: Path, train_folder: Path, evaluation_folder: Path, drives: bool = True
) -> Run:
    """Everything that the other stages left; raises ReportError. A Gymnasium task has no trajectories."""
    trajectories = evaluation_folder / "trajectories.csv"
    return Run(
        metrics={
            "collect": read_json(episodes_folder / "metrics.json"),
            "train": read_json(train_folder / "metrics.json"),
            "evaluate": read_json(evaluation_folder / "metrics.json"),
        },
        updates=read_table(train_folder / "updates.csv", UPDATES),
        episodes=read_table(train_folder / "episodes.csv", EPISODES if drives else task_report.EPISODES),
        laps=read_table(evaluation_folder / "episodes.csv", LAPS if drives else task_report.EVALUATION),
        trajectories=read_table(trajectories, TRAJECTORIES) if drives else pd.DataFrame(columns=TRAJECTORIES),
        spawns_picture=spawns_picture,
        film=evaluation_folder / "film.gif",
    )


def report_page(params: Params, run: Run, drawn: Mapping[str, Path]) -> str:
    """The page's HTML; `drawn` are the figures by name."""
    if params.task != DRIVE:
        return _task_page(params, run, drawn)
    parts = [
        ("verdict", "What came out", _verdict(params, run)),
        ("driving", "Driving on unseen tracks", _driving(params, run, drawn)),
        ("learning", "Learning", _learning(run, drawn)),
        ("gradients", "Gradients", _gradients(run, drawn)),
        ("values", "Q-values and actions", _values(run, drawn)),
        ("data", "Where episodes began and ended", _data(run, drawn)),
        ("params", "Params", _params(params)),
    ]
    train = run.flat_metrics["train"]
    lead = (
        f"{params.algorithm}, seed {params.seed}, simulator {params.simulator}. Learned on "
        f"{len(params.tracks.training)} tracks, judged on {len(params.tracks.evaluation)} unseen; "
        f"{text_of(train.get('env_steps'), ',.0f')} decisions driven, {text_of(train.get('updates'), ',.0f')} updates."
    )
    return page.page("clipdrive: what the agent learned", lead, parts)


def _task_page(params: Params, run: Run, drawn: Mapping[str, Path]) -> str:
    metrics = run.flat_metrics
    parts = [
        ("verdict", "What came out", task_report.verdict(params, metrics)),
        ("returns", "Returns without noise", task_report.evaluation(params, metrics, drawn)),
        ("learning", "Learning", _learning(run, drawn)),
        ("gradients", "Gradients", _gradients(run, drawn)),
        ("values", "Q-values and actions", _values(run, drawn)),
        ("data", "What collect drove", page.table(data_table(metrics["collect"]))),
        ("params", "Params", page.table(params_table(params_as_values(params)), words=True)),
    ]
    steps, updates = (text_of(metrics["train"].get(name), ",.0f") for name in ("env_steps", "updates"))
    lead = f"{params.task}: {params.algorithm}, seed {params.seed}; {steps} steps driven, {updates} updates."
    return page.page("clipdrive: what the agent learned", lead, parts)


def _verdict(params: Params, run: Run) -> str:
    metrics = run.flat_metrics
    agent, train = metrics["evaluate"], metrics["train"]
    completion, clean, certificate = judge(params.gate, metrics)[:3]
    slow = (agent.get("speed_ratio_to_follower") or 0.0) < 0.5
    passed = (train.get("q.abs_max") or 0.0) > (train.get("q.bound") or 0.0)
    crashes = agent.get("agent.crashes_per_km")

    def level(good: bool) -> str:
        return "good" if good else "bad"

    items = [
        (
            level(completion.passed),
            text_of(completion.value, ".3f"),
            f"route completion, {completion.allowed} asked",
        ),
        (level(clean.passed), text_of(clean.value, ".0%"), f"clean laps, {clean.allowed} asked"),
        (level(not crashes), text_of(crashes, ".2f"), "crashes per driven km"),
        (
            "note" if slow else "good",
            f"{text_of(agent.get('agent.speed_mean_mps'), '.1f')} m/s",
            f"mean speed, {text_of(agent.get('speed_ratio_to_follower'), '.2f')} of the follower's",
        ),
        (level(certificate.passed), text_of(certificate.value, ".0f"), "clip violations"),
        (
            level(not passed),
            text_of(train.get("q.abs_max"), ".3g"),
            f"largest |Q|, bound {text_of(train.get('q.bound'), '.4g')}",
        ),
    ]
    return page.cards(items) + page.finding_list(findings(params, metrics))


def _driving(params: Params, run: Run, drawn: Mapping[str, Path]) -> str:
    text = (
        f"{params.evaluate.starts} laps without noise, from evenly spaced starts in both directions, on tracks that "
        "neither collect nor train has seen; the same starts for the follower, which knows the road and does not use "
        "the camera, and for an agent with untrained weights. A clean lap is driven whole: no off-road, collision or "
        "stuck ending, and not out of time."
    )
    film = page.figure(run.film, "The first minute of a lap: what the agent's camera sees, and where it is.", "film")
    return (
        page.paragraph(text)
        + page.beside(page.table(driving_table(run.flat_metrics["evaluate"])), film)
        + page.figures(
            page.figure(drawn.get("completion"), "Right of where a line falls, laps ended early."),
            page.figure(drawn.get("speed_offset"), "Low is in the middle of the road; right is fast."),
            page.figure(
                drawn.get("laps"),
                "The agent's laps, coloured by speed. Dot: start; cross: where a lap ended that was not clean.",
                "wide",
            ),
        )
        + page.table(track_table(run.laps))
    )


def _learning(run: Run, drawn: Mapping[str, Path]) -> str:
    text = "The episodes that the agent drove while it learned, with exploration noise, each from a random checkpoint."
    return page.paragraph(text) + page.figures(
        page.figure(drawn.get("return"), "Sum of an episode's rewards; episodes are cut at the time limit."),
        page.figure(drawn.get("progress"), "Metres along the route from the start to the ending."),
        page.figure(drawn.get("endings"), "Failures should give way to the time limit."),
        page.figure(
            drawn.get("losses"),
            "The critic's loss alone proves nothing: a failed critic can have a small one.",
        ),
    )


def _gradients(run: Run, drawn: Mapping[str, Path]) -> str:
    text = (
        "The 2-norm of each group's gradient, measured before the clip and again inside the optimiser's step, "
        "where nothing can change it any more. Between the two lies the clip. The certificate covers every update."
    )
    pictures = [
        page.figure(drawn.get(f"gradient_{group}"), f"{group}: the lower line may not rise above the limit.")
        for group in groups_of(run.updates)
    ]
    pictures += [
        page.figure(drawn.get("clipped"), "Share since the last logged update; 1: the limit works as a normaliser."),
        page.figure(drawn.get("update_ratio"), "Around 0.001 is usual with Adam, and it falls with the learning rate."),
    ]
    return page.paragraph(text) + page.table(gradient_table(run.flat_metrics["train"])) + page.figures(*pictures)


def _values(run: Run, drawn: Mapping[str, Path]) -> str:
    text = (
        "No policy can earn more than R_max / (1 - gamma), R_max being the largest |reward| of a decision. "
        "A |Q| above that bound is a critic that has diverged."
    )
    return page.paragraph(text) + page.figures(
        page.figure(drawn.get("q_values"), "Means, largest |Q| and targets of the sampled batches."),
        page.figure(drawn.get("td_error"), "How far the critics are from their targets, and from each other."),
        page.figure(drawn.get("actions"), "Saturated: a tanh so far out that it passes almost no gradient."),
    )


def _data(run: Run, drawn: Mapping[str, Path]) -> str:
    return page.figures(
        page.figure(run.spawns_picture, "collect: where its episodes began and ended.", "wide"),
        page.figure(
            drawn.get("training_starts"),
            "train: from where (dot) to where (cross) each episode went on its route.",
            "wide",
        ),
    ) + page.table(data_table(run.flat_metrics["collect"]))


def _params(params: Params) -> str:
    values = params_as_values(params)
    tracks = values["tracks"]
    text = f"Learned on {', '.join(tracks['training'])}; judged on {', '.join(tracks['evaluation'])}."
    return page.paragraph(text) + page.details("All keys of params.yaml", page.table(params_table(values), words=True))
