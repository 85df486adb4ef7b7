"""collect: drive N workers and store their episodes, the data set of train."""

from __future__ import annotations

from pathlib import Path

from clipdrive.params import load_params
from clipdrive.profile import Profile
from clipdrive.stage import run, state_folder


def main() -> None:
    profile = Profile("collect")

    from clipdrive.experience.collect import collect

    collect(load_params(), folder=Path("data/episodes"), picture=Path("data/pictures/spawns.png"), profile=profile)
    profile.finish(state_folder() / "profiles")


if __name__ == "__main__":
    run(main)
