"""collect: drive N workers and store their episodes, the data set of train."""

from __future__ import annotations

from pathlib import Path

from clipdrive.params import load_params
from clipdrive.stage import run


def main() -> None:
    from clipdrive.experience.collect import collect

    collect(load_params(), folder=Path("data/episodes"), picture=Path("data/pictures/spawns.png"))


if __name__ == "__main__":
    run(main)
