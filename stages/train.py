"""train: learn from the episodes, then drive and learn side by side; write the agent and its record."""

from __future__ import annotations

from pathlib import Path

from clipdrive.params import load_params
from clipdrive.profile import Profile
from clipdrive.stage import run, state_folder


def main() -> None:
    profile = Profile("train")

    from clipdrive.training.train import train

    train(
        load_params(),
        episodes=Path("data/episodes"),
        agent_folder=Path("models/agent"),
        run_folder=Path("runs/train"),
        profile=profile,
    )
    profile.finish(state_folder() / "profiles")


if __name__ == "__main__":
    run(main)
