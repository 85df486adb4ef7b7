"""report: publish the metrics and the curves for Git, draw the figures and write the page."""

from __future__ import annotations

from pathlib import Path

from clipdrive.params import load_params
from clipdrive.stage import run


def main() -> None:
    from clipdrive.reporting.report import report

    report(
        load_params(),
        episodes_folder=Path("data/episodes"),
        spawns_picture=Path("data/pictures/spawns.png"),
        train_folder=Path("runs/train"),
        evaluation_folder=Path("evaluation"),
        reports_folder=Path("reports"),
    )


if __name__ == "__main__":
    run(main)
