"""The train stage, offline on synthetic episodes: repeatable, resumable, and stopped by what is not sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipdrive.agents.store import read_agent
from clipdrive.agents.td3 import TD3
from clipdrive.experience.episodes import Episode, EpisodeError, write_episode
from clipdrive.training.train import TrainError, train
from small_params import params_with

OFFLINE = {
    "camera__height_px": 36,
    "camera__width_px": 36,
    "feature_units": 16,
    "hidden_units": 16,
    "batch_size": 8,
    "train__env_steps": 0,
    "train__updates_before_driving": 40,
    "train__torch_threads": 1,
    "train__checkpoint_every_steps": 10,
    "train__memory_steps": 60,  # the 75 rows below wrap it round
}
OUTPUTS = ("models/agent.pt", "models/agent.json", "run/updates.csv", "run/episodes.csv", "run/metrics.json")


@pytest.fixture()
def episodes(tmp_path) -> Path:
    folder, rng, rows = tmp_path / "episodes", np.random.default_rng(0), []
    folder.mkdir()
    for index in range(5):
        steps = 14
        ends = np.arange(steps) == steps - 1
        episode = Episode(
            rng.integers(0, 256, (steps + 1, 36, 36), dtype=np.uint8),
            rng.normal(size=(steps + 1, 3)).astype(np.float32),
            rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            rng.uniform(-1, 1, steps).astype(np.float32),
            ends & (index % 2 == 0),
            ends & (index % 2 == 1),
        )
        name = f"episode_{index:05d}.npz"
        rows.append({"file": name, "crc32": write_episode(folder / name, episode)})
    (folder / "manifest.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(autouse=True)
def own_state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDRIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CLIPDRIVE_DEVICE", "cpu")


def run(episodes: Path, folder: Path, **changes) -> dict:
    return train(params_with(**(OFFLINE | changes)), episodes, folder / "models", folder / "run")


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def test_two_runs_give_the_same_bytes_and_leave_no_checkpoint(tmp_path, episodes):
    metrics = run(episodes, tmp_path / "a")
    run(episodes, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not list((tmp_path / "state" / "checkpoints").iterdir())
    assert metrics["updates"] == 40 and metrics["certificate"] == {"updates": 40, "violations": 0}


@pytest.mark.parametrize("stop_at", [3, 10, 27, 39])
def test_interrupted_and_started_again_it_ends_with_the_same_bytes(tmp_path, episodes, monkeypatch, stop_at):
    run(episodes, tmp_path / "whole")
    real = TD3.update

    def update(self, *args, **kwargs):
        if self.updates == stop_at:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(TD3, "update", update)
        with pytest.raises(KeyboardInterrupt):
            run(episodes, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    updates_done = []
    monkeypatch.setattr(TD3, "update", lambda self, *a, **k: updates_done.append(1) or real(self, *a, **k))
    run(episodes, tmp_path / "again")
    assert len(updates_done) == 40 - 10 * (stop_at // 10)  # it did take up the checkpoint
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_gradients_altered_after_the_clip_fail_the_stage(tmp_path, episodes, monkeypatch):
    real = torch.nn.utils.clip_grads_with_norm_

    def clip_then_spoil(parameters, *args, **kwargs):
        parameters = list(parameters)
        real(parameters, *args, **kwargs)
        parameters[0].grad.mul_(1e4)

    monkeypatch.setattr(torch.nn.utils, "clip_grads_with_norm_", clip_then_spoil)
    with pytest.raises(TrainError, match=r"group critic_cnn: the step would use .* certificate is in (.*)") as caught:
        run(episodes, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    certificate = json.loads(Path(str(caught.value).rsplit(" ", 1)[1]).read_text())
    assert certificate["certificate"]["violations"] == 1


def test_a_gradient_that_is_not_finite_fails_the_stage_and_keeps_the_batch(tmp_path, episodes, monkeypatch):
    real = TD3._target
    monkeypatch.setattr(TD3, "_target", lambda self, batch: real(self, batch) * float("nan"))
    with pytest.raises(TrainError, match="is not finite") as caught:
        run(episodes, tmp_path / "out")
    batch = torch.load(Path(str(caught.value).rsplit(" ", 1)[1]).with_name("batch.pt"), weights_only=True)
    assert batch["frames"].shape == (8, 3, 36, 36)


@pytest.mark.parametrize("encoder", ["critic", "separate"])
def test_the_delivered_agent_drives(tmp_path, episodes, encoder):
    run(episodes, tmp_path / "out", encoder=encoder)
    driver = read_agent(tmp_path / "out" / "models")
    action = driver.act({"frames": np.zeros((3, 36, 36), np.uint8), "state": np.zeros(3, np.float32)})
    assert action.shape == (2,) and np.abs(action).max() <= 1.0


def test_log_rows_hold_the_norms_before_and_after_each_within_its_limit(tmp_path, episodes):
    import pandas as pd

    run(episodes, tmp_path / "out", encoder="separate", clip__critic_head=0.05, clip__actor_cnn="none")
    table = pd.read_csv(tmp_path / "out" / "run" / "updates.csv")
    assert len(table) == 4
    for group in ("actor_cnn", "actor_head", "critic_cnn", "critic_head"):
        assert (table[f"norm_before.{group}"] > 0).all()
    assert (table["norm_after.critic_head"] <= 0.05 * (1 + 1e-5)).all()
    assert (table["clipped.critic_head"] == 1.0).all() and (table["clipped.actor_cnn"] == 0.0).all()


def test_episodes_of_another_camera_are_refused(tmp_path, episodes):
    with pytest.raises(EpisodeError, match="got frames of .36, 36., allowed: what camera"):
        run(episodes, tmp_path / "out", camera__height_px=40)
