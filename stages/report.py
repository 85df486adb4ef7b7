"""report: publish the metrics and the curves for Git, draw the figures and write the page."""

from __future__ import annotations

from pathlib import Path

from clipdrive.params import load_params
from clipdrive.profile import Profile
from clipdrive.stage import run, state_folder


def main() -> None:
    profile = Profile("report")

    from clipdrive.reporting.report import report

    profile.started()
    report(
        load_params(),
        episodes_folder=Path("data/episodes"),
        spawns_picture=Path("data/pictures/spawns.png"),
        train_folder=Path("runs/train"),
        evaluation_folder=Path("evaluation"),
        reports_folder=Path("reports"),
    )
    profile.finish(state_folder() / "profiles")


if __name__ == "__main__":
    run(main)
