"""The train stage: fill the memory from the episodes, learn on them, then drive and learn side by side.

Interrupted anywhere and started again, it ends with the same bits: everything that shapes the rest of the run is in the
checkpoint, and episode i of the driving depends on (seed, i) alone. The loop is in run.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from clipdrive.agents.clipping import ClippingError
from clipdrive.agents.device import prepare_torch, training_device
from clipdrive.agents.structure import GroupError
from clipdrive.digits import write_json
from clipdrive.params import DRIVE, Params, params_as_values
from clipdrive.profile import Profile
from clipdrive.simulator.announcing import announce_servers
from clipdrive.simulator.errors import ServerLost
from clipdrive.stage import state_folder
from clipdrive.tasks.task import task_shape
from clipdrive.training.capacity import bytes_a_step, free_memory, require_free_memory
from clipdrive.training.checkpoint import CheckpointFolder, run_key
from clipdrive.training.learning import Learner
from clipdrive.training.metrics import certificate
from clipdrive.training.run import TrainingRun


class TrainError(RuntimeError):
    """Training was stopped because what it did was not sound."""


def train(
    params: Params, episodes: Path, agent_folder: Path, run_folder: Path, profile: Profile | None = None
) -> dict[str, Any]:
    """Train on the episodes in `episodes`; write the agent and the run's logs and metrics; return the metrics.

    Raises TrainError when a gradient breaks its limit or is not finite, or a step moves a target (the certificate goes
    to the failure folder), CapacityError for a memory that does not fit into the machine's, EpisodeError for a bad
    input, CheckpointError for a damaged checkpoint. When the simulator is lost for good, the checkpoint is written
    first.
    """
    if params.task == DRIVE and params.train.env_steps > 0:
        announce_servers(params)
    prepare_torch(params.train.torch_threads)
    require_free_memory(params.train.memory_steps, bytes_a_step(task_shape(params), params.replay), free_memory())
    key = run_key(_values_in_use(params), [episodes, Path(params.tracks.folder)])
    checkpoint = CheckpointFolder(key)
    run = TrainingRun(params, checkpoint, training_device(), profile or Profile("train"))
    run.profile.started()
    try:
        run.start(episodes)
        run.learn_before_driving()
        run.drive_and_learn()
        run.learner.agent.structure()  # nothing is written of an agent that has come apart
    except (ClippingError, GroupError) as error:
        raise _failure(error, run.learner, state_folder() / "failures" / key) from error
    except ServerLost as error:
        run.save()
        raise TrainError(f"{error}; the same command goes on from the checkpoint that was written") from error
    finally:
        run.close()
    metrics = write_json(run_folder / "metrics.json", run.write(agent_folder, run_folder))
    checkpoint.remove()
    return metrics


def _values_in_use(params: Params) -> dict[str, Any]:
    values = params_as_values(params)
    for name in ("evaluate", "gate", "collect"):
        del values[name]
    del values["tracks"]["evaluation"]
    return values


def _failure(error: ClippingError | GroupError, learner: Learner, folder: Path) -> TrainError:
    """Keep the certificate, and an update's batch, of a run that had to stop; the error that says where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        structure: dict[str, Any] = learner.agent.structure()
    except GroupError as unsound:
        structure = {"structure": str(unsound)}
    text = json.dumps(certificate(learner.agent, structure), indent=2)  # of what failed: NaN is allowed
    (folder / "certificate.json").write_text(text + "\n", encoding="utf-8")
    if learner.failed is None:
        return TrainError(f"after the last update: {error}; the certificate is in {folder / 'certificate.json'}")
    number, batch = learner.failed
    torch.save(vars(batch), folder / "batch.pt")
    return TrainError(
        f"update {number}: {error}; its batch is in {folder / 'batch.pt'}, "
        f"the certificate is in {folder / 'certificate.json'}"
    )
