"""Where the agents lie that train keeps on its way, one every `train.snapshot_every_steps` decisions."""

from __future__ import annotations

from pathlib import Path

SNAPSHOTS = "snapshots"


def snapshot_folder(agent_folder: Path, env_step: int) -> Path:
    """Of the agent after `env_step` decisions."""
    return agent_folder / SNAPSHOTS / f"step_{env_step:09d}"


def snapshots_in(agent_folder: Path) -> dict[int, Path]:
    """The snapshots' folders by their decisions, in order."""
    folders = sorted((agent_folder / SNAPSHOTS).glob("step_*"))
    return {int(folder.name.removeprefix("step_")): folder for folder in folders}
