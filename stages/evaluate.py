"""evaluate: drive the agent without noise on unseen tracks, beside an untrained agent and the follower."""

from __future__ import annotations

from pathlib import Path

from clipdrive.params import load_params
from clipdrive.profile import Profile
from clipdrive.stage import run, state_folder


def main() -> None:
    profile = Profile("evaluate")

    from clipdrive.training.evaluation import evaluate

    evaluate(load_params(), agent_folder=Path("models/agent"), folder=Path("evaluation"), profile=profile)
    profile.finish(state_folder() / "profiles")


if __name__ == "__main__":
    run(main)
