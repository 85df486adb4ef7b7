"""evaluate: drive the agent without noise on unseen tracks, beside an untrained agent and the follower."""

from __future__ import annotations

from pathlib import Path

from clipdrive.params import load_params
from clipdrive.stage import run


def main() -> None:
    from clipdrive.training.evaluation import evaluate

    evaluate(load_params(), agent_folder=Path("models/agent"), folder=Path("evaluation"))


if __name__ == "__main__":
    run(main)
