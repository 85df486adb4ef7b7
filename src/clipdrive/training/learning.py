"""The learner: the agent, and all that its updates read and leave behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipdrive.agents.clipping import ClippingError
from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.structure import GroupError
from clipdrive.agents.td3 import TD3, Batch
from clipdrive.driving.spawn import TRAIN
from clipdrive.experience.memory import ReplayMemory
from clipdrive.experience.replay import Drawn, replay_of
from clipdrive.params import Params
from clipdrive.profile import Profile
from clipdrive.progress import Progress
from clipdrive.tasks.task import TaskShape, largest_step_reward
from clipdrive.training.checkpoint import as_arrays, as_tensors
from clipdrive.training.events import EventFiles
from clipdrive.training.logs import CsvLog
from clipdrive.training.metrics import UpdateMeter, layer_columns, layer_row, update_columns
from clipdrive.training.watch import HealthWatch


class Learner:
    """Makes updates from `memory`, which whoever drives fills, and logs them."""

    def __init__(
        self, params: Params, shape: TaskShape, memory: ReplayMemory, device: torch.device, profile: Profile
    ) -> None:
        self.params, self.device, self.profile = params, device, profile
        torch.manual_seed(params.seed)  # the networks' first weights
        generator = torch.Generator(device).manual_seed(params.seed + 1)
        spec = NetworkSpec.of(params, shape.state_size, shape.action_size, shape.frame)
        self.agent = TD3(spec, params, device, generator)
        self.replay = replay_of(params, memory)
        self.sampling_rng = np.random.default_rng([params.seed, TRAIN, 0])
        largest = largest_step_reward(params)
        self.meter = UpdateMeter(math.inf if largest is None else largest / (1.0 - params.gamma))
        self.watch = HealthWatch(params.train, self.meter)
        self.total_updates = 0
        self.failed: tuple[int, Batch] | None = None  # the update that was refused, and its batch
        self.progress: Progress | None = None
        self._events: EventFiles | None = None
        self._logs: list[CsvLog | EventFiles] = []

    def open_logs(self, folder: Path, offsets: tuple[int, int] | None, events: Path | None) -> None:
        """Begin the logs in `folder`, or cut them at `offsets` and go on; event files too where a folder is given.

        After `load_state`: what event files hold of updates behind the checkpoint is hidden.
        """
        updates, layers = offsets or (None, None)
        self.update_log = CsvLog(folder / "updates.csv", update_columns(self.agent), updates)
        self.layer_log = CsvLog(folder / "layers.csv", layer_columns(self.agent), layers)
        self._logs = [self.update_log, self.layer_log]
        if events is not None:
            self._events = EventFiles(events, self.agent.updates + 1)
            self._logs.append(self._events)

    def expect(self, total_updates: int) -> None:
        """How many updates the run will make: learning rates fall, and progress is shown, against it."""
        self.total_updates = total_updates
        self.progress = Progress("train", total_updates, "updates")
        if self.agent.updates > 0:
            self.progress.advance(self.agent.updates, "taken up from the checkpoint")

    @property
    def can_learn(self) -> bool:
        """Whether there is a batch to learn from, and nothing has ended the training."""
        return not self.watch.stopped and self.replay.holds(self.params.batch_size)

    def update(self, env_steps: int) -> None:
        """One update, after `env_steps` driven decisions; raises ClippingError and GroupError."""
        factor, share = self._lr_factor(), self.agent.updates / max(self.total_updates, 1)
        self.agent.set_learning_rates(factor)
        number, train = self.agent.updates + 1, self.params.train
        logged, detailed = number % train.log_every_updates == 0, number % train.detail_every_updates == 0
        with self.profile.part("sample"):
            drawn = self.replay.draw(self.params.batch_size, self.sampling_rng, share)
            batch = self._batch(drawn)
        try:
            with self.profile.part("update"):
                update = self.agent.update(batch, measure_update=logged or detailed)
        except (ClippingError, GroupError):
            self.failed = (number, batch)
            raise
        with self.profile.part("sample"):
            if self.params.replay == "prioritised":
                self.replay.learned(drawn.rows, update.td_errors.cpu().numpy())
        with self.profile.part("log"):
            self.meter.add(update)
            if logged:
                counters = {"update": self.agent.updates, "env_step": env_steps, "lr_factor": factor}
                noise = {"exploration_noise": exploration_noise(self.params, env_steps)}
                self._log(self.update_log, self.meter.row(update, counters | noise))
            if detailed:
                self._log(self.layer_log, layer_row(update, number))
            self.progress.advance(1, f"Q {self.meter.scalars['q1_mean']:.2f}, {env_steps} steps driven")
            self.watch.look(self.agent.updates, self.progress)

    def _lr_factor(self) -> float:
        done = self.agent.updates / max(self.total_updates, 1)
        constant = self.params.lr_constant_share
        if done <= constant:
            return 1.0
        return 1.0 + (self.params.lr_end - 1.0) * (done - constant) / (1.0 - constant)

    def _batch(self, drawn: Drawn) -> Batch:
        arrays = vars(drawn.transitions) | {"steps": drawn.steps, "weights": drawn.weights}
        return Batch(
            **{name: None if a is None else torch.from_numpy(a).to(self.device) for name, a in arrays.items()}
        )

    def _log(self, log: CsvLog, row: dict[str, float]) -> None:
        log.add(row)
        if self._events is not None:
            self._events.add(row)

    def q_values(self, observations: list[dict[str, np.ndarray]], actions: list[np.ndarray]) -> np.ndarray:
        """The first critic's values (n,) of actions taken in observations."""
        given = torch.from_numpy(np.stack(actions)).to(self.device)
        return self.agent.q_values(*self._tensors(observations), given).cpu().numpy()

    def action(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """The agent's action (A,), without noise."""
        return self.agent.act(*self._tensors([observation]))[0].cpu().numpy()

    def _tensors(self, observations: list[dict[str, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
        arrays = (np.stack([o[name] for o in observations]) for name in ("frames", "state"))
        frames, states = (torch.from_numpy(array).to(self.device) for array in arrays)
        return frames, states

    def state(self) -> dict[str, Any]:
        """All that shapes further updates, and where the logs stand."""
        return {
            "agent": self.agent.state(),
            "meter": self.meter.state(),
            "watch": self.watch.state(),
            "replay": as_tensors(self.replay.state()),
            "sampling_rng": self.sampling_rng.bit_generator.state,
            "offsets": (self.update_log.offset(), self.layer_log.offset()),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, with the memory's rows back in place; the logs apart."""
        self.agent.load_state(state["agent"])
        self.meter.load_state(state["meter"])
        self.watch.load_state(state["watch"])
        self.replay.load_state(as_arrays(state["replay"]))
        self.sampling_rng.bit_generator.state = state["sampling_rng"]

    def close(self) -> None:
        if self.progress is not None:
            self.progress.close()
        for log in self._logs:
            log.close()


def exploration_noise(params: Params, env_steps: int) -> float:
    """The standard deviation of the noise on actions after so many decisions: a line from begin to end."""
    share = env_steps / max(params.train.env_steps, 1)
    begin, end = params.exploration_noise, params.exploration_noise_end
    return begin + (end - begin) * share
