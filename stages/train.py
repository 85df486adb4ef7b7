"""train: learn from the episodes, then drive and learn in turn; write the agent and its record."""

from __future__ import annotations

from pathlib import Path

from clipdrive.params import load_params
from clipdrive.stage import run


def main() -> None:
    from clipdrive.training.train import train

    train(
        load_params(),
        episodes=Path("data/episodes"),
        agent_folder=Path("models/agent"),
        run_folder=Path("runs/train"),
    )


if __name__ == "__main__":
    run(main)
