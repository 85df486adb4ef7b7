"""The train stage, offline on synthetic episodes: repeatable, resumable, and stopped by what is not sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipdrive.agents.clipping import ClippedOptimizer
from clipdrive.agents.store import read_agent
from clipdrive.agents.td3 import TD3
from clipdrive.experience.episodes import Episode, EpisodeError, write_episode
from clipdrive.experience.replay import PrioritisedReplay
from clipdrive.training.run import TrainingRun
from clipdrive.training.train import TrainError, train
from interruption import interrupted_after
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
    "train__detail_every_updates": 8,
    "train__memory_steps": 60,  # the 75 rows below wrap it round
}
RUN_OUTPUTS = ("updates.csv", "episodes.csv", "layers.csv", "metrics.json")
OUTPUTS = ("models/agent.pt", "models/agent.json", *(f"run/{name}" for name in RUN_OUTPUTS))


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
    assert metrics["updates"] == 40
    # actor: hidden, norm, out; critic: two such heads, two convolutions, dense and its norm; weight and bias each
    parameters = 2 * (3 + 2 * 3 + 4)
    assert metrics["certificate"] == {
        "updates": 40,
        "violations": 0,
        "parameters": parameters,
        "parameters_in_one_group": parameters,
        "shared": 0,
        "targets_stepped": 0,
    }


@pytest.mark.parametrize("stop_at", [3, 10, 27, 39])
def test_interrupted_and_started_again_it_ends_with_the_same_bytes(tmp_path, episodes, monkeypatch, stop_at):
    run(episodes, tmp_path / "whole")
    with interrupted_after(stop_at):
        run(episodes, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    updates_done, real = [], TD3.update
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


def test_a_target_that_something_steps_fails_the_stage(tmp_path, episodes, monkeypatch):
    real = ClippedOptimizer.step

    def step_and_move_a_target(self, *args, **kwargs):
        result = real(self, *args, **kwargs)
        for td3 in agents:
            td3.critic_target.q1.out.weight.data.mul_(1.001)
        return result

    agents, begin = [], TD3.__init__
    monkeypatch.setattr(TD3, "__init__", lambda self, *a: (begin(self, *a), agents.append(self))[0])
    monkeypatch.setattr(ClippedOptimizer, "step", step_and_move_a_target)
    with pytest.raises(TrainError, match="1 tensors of the targets were stepped; targets only follow") as caught:
        run(episodes, tmp_path / "out")
    certificate = json.loads(Path(str(caught.value).rsplit(" ", 1)[1]).read_text())
    assert certificate["certificate"]["targets_stepped"] == 1


def test_a_structure_that_comes_apart_on_the_way_fails_the_stage(tmp_path, episodes, monkeypatch):
    real = TD3.update

    def update_and_let_a_target_take_gradients(self, *args, **kwargs):
        result = real(self, *args, **kwargs)
        self.critic_target.q1.out.weight.requires_grad_(True)
        return result

    monkeypatch.setattr(TD3, "update", update_and_let_a_target_take_gradients)
    sentence = r"^after the last update: critic_target.q1.out.weight is a target's and takes gradients; targets only .*"
    with pytest.raises(TrainError, match=sentence) as caught:
        run(episodes, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    certificate = json.loads(Path(str(caught.value).rsplit(" ", 1)[1]).read_text())["certificate"]
    assert "takes gradients" in certificate["structure"] and certificate["updates"] == 40


def test_a_gradient_that_is_not_finite_fails_the_stage_and_keeps_the_batch(tmp_path, episodes, monkeypatch):
    real = TD3._target
    monkeypatch.setattr(TD3, "_target", lambda self, batch: real(self, batch) * (1.0 if self.updates < 12 else np.nan))
    sentence = r"^update 13: gradient of critic_cnn.conv1.weight is not finite; the step was not taken; its batch is in"
    with pytest.raises(TrainError, match=sentence) as caught:
        run(episodes, tmp_path / "out")
    assert list((tmp_path / "state" / "checkpoints").glob("*/state.pt"))  # kept, of update 10
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


def test_priorities_follow_the_rows_drawn_and_beta_the_share_of_the_run(tmp_path, episodes, monkeypatch):
    drawn, learned, draw, learn = [], [], PrioritisedReplay.draw, PrioritisedReplay.learned

    def noted_draw(self, size, rng, share):
        drawn.append((share, result := draw(self, size, rng, share)))
        return result

    monkeypatch.setattr(PrioritisedReplay, "draw", noted_draw)
    monkeypatch.setattr(PrioritisedReplay, "learned", lambda self, *what: (learned.append(what), learn(self, *what))[1])
    run(episodes, tmp_path / "out", replay="prioritised", n_step=3)
    assert [share for share, _ in drawn] == pytest.approx(np.arange(40) / 40)
    for (_, batch), (rows, errors) in zip(drawn, learned, strict=True):
        assert np.array_equal(batch.rows, rows) and errors.shape == (8,) and (errors > 0).all()


def test_layers_are_measured_every_nth_update(tmp_path, episodes):
    import pandas as pd

    run(episodes, tmp_path / "out", clip__critic_cnn=0.01)
    table = pd.read_csv(tmp_path / "out" / "run" / "layers.csv")
    assert table["update"].tolist() == [8, 16, 24, 32, 40]
    layers = [f"critic_cnn.{name}" for name in ("conv1", "conv2", "dense", "norm")]
    after = np.sqrt(sum(table[f"norm_after.{layer}"] ** 2 for layer in layers))
    assert after.to_numpy() == pytest.approx(0.01, rel=1e-5)
    for layer in [*layers, "critic_head.q1.hidden", "critic_head.q2.out", "actor_head.out"]:
        assert (table[f"norm_before.{layer}"] > 0).all() and (table[f"update_ratio.{layer}"] > 0).all()


def test_a_q_beyond_its_bound_is_said_and_ends_the_training_only_where_asked(tmp_path, episodes, capsys):
    ill = {"gamma": 0.0, "critic_lr": 0.5, "reward__crash": "none"}  # the bound is 1
    metrics = run(episodes, tmp_path / "on", **ill)
    assert metrics["updates"] == 40 and metrics["q"]["bound_passed_updates"] > 1
    assert capsys.readouterr().err.count("passed its bound R_max / (1 - gamma) = 1: the critic has diverged") == 1
    metrics = run(episodes, tmp_path / "off", **ill, train__stop_on_q_bound=True)
    assert metrics["updates"] < 40 and metrics["q"]["bound_passed_updates"] == 1
    assert read_agent(tmp_path / "off" / "models") is not None


def test_a_training_that_was_ended_stays_so_where_its_outputs_were_cut_off(tmp_path, episodes, monkeypatch):
    ended = {"gamma": 0.0, "critic_lr": 0.5, "reward__crash": "none", "train__stop_on_q_bound": True}
    ended["train__checkpoint_every_steps"] = 1
    run(episodes, tmp_path / "whole", **ended)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingRun, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(episodes, tmp_path / "again", **ended)
    run(episodes, tmp_path / "again", **ended)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_a_dead_actor_is_said_and_ends_the_training_only_where_asked(tmp_path, episodes, capsys, monkeypatch):
    monkeypatch.setattr("clipdrive.training.metrics.DEAD_AFTER", 5)
    ill = {"actor_init_scale": 1.0, "actor_lr": 1.0, "saturation_penalty": 0.0, "policy_delay": 1, "layer_norm": False}
    metrics = run(episodes, tmp_path / "on", **ill)
    assert metrics["updates"] == 40 and metrics["actor"]["dead_updates"] > 1
    assert "the actor is dead at update" in capsys.readouterr().err
    metrics = run(episodes, tmp_path / "off", **ill, train__stop_on_dead_actor=True)
    assert metrics["updates"] < 40 and metrics["actor"]["dead_updates"] == 1
    assert run(episodes, tmp_path / "well")["actor"]["dead_updates"] == 0


def test_event_files_hold_the_logged_scalars_and_lie_outside_the_outs(tmp_path, episodes):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    import pandas as pd

    every = {"train__tensorboard": True, "train__log_every_updates": 3}
    with interrupted_after(37):  # row 33 of the first try is hidden: the second goes on behind update 30
        run(episodes, tmp_path / "out", **every)
    run(episodes, tmp_path / "out", **every)
    (folder,) = (tmp_path / "state" / "tensorboard").iterdir()
    events = accumulator.EventAccumulator(str(folder)).Reload()
    table = pd.read_csv(tmp_path / "out" / "run" / "updates.csv")
    scalars = events.Scalars("norm_before/critic_cnn")
    assert [s.step for s in scalars] == table["update"].tolist()
    assert [s.value for s in scalars] == pytest.approx(table["norm_before.critic_cnn"].tolist(), rel=1e-6)
    assert {p.name for p in (tmp_path / "out" / "run").iterdir()} == set(RUN_OUTPUTS)
