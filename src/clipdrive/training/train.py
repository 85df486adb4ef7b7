"""The train stage: fill the memory from the episodes, learn on them, then drive and learn in turn.

Interrupted anywhere and started again, it ends with the same bits: everything that shapes the rest of the run is in the
checkpoint, and episode i of the driving depends on (seed, i) alone.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from clipdrive.agents.clipping import ClippingError
from clipdrive.agents.device import prepare_torch, training_device
from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.store import write_agent
from clipdrive.agents.td3 import TD3, Batch
from clipdrive.driving.spawn import TRAIN
from clipdrive.experience.episodes import EpisodeError, read_episodes
from clipdrive.experience.memory import ReplayMemory, as_rows
from clipdrive.experience.replay import Drawn, replay_of
from clipdrive.params import DRIVE, Params, params_as_values
from clipdrive.progress import Progress
from clipdrive.simulator.announcing import announce_servers
from clipdrive.simulator.errors import ServerFault, ServerLost
from clipdrive.simulator.supervisor import until_done
from clipdrive.tasks.task import largest_step_reward, open_task, task_shape
from clipdrive.training.checkpoint import CheckpointFolder, as_arrays, as_tensors, run_key, state_folder
from clipdrive.training.episode_rows import EpisodeTally, episode_columns
from clipdrive.training.events import EventFiles
from clipdrive.training.logs import CsvLog
from clipdrive.training.metrics import (
    LAST_EPISODES,
    UpdateMeter,
    certificate,
    layer_columns,
    layer_row,
    summary,
    update_columns,
)
from clipdrive.training.returns import EpisodeTrace, ReturnWatch
from clipdrive.training.snapshots import SNAPSHOTS, snapshot_folder


class TrainError(RuntimeError):
    """Training was stopped because what it did was not sound."""


def train(params: Params, episodes: Path, agent_folder: Path, run_folder: Path) -> dict[str, Any]:
    """Train on the episodes in `episodes`; write the agent and the run's logs and metrics; return the metrics.

    Raises TrainError when a gradient breaks its limit or is not finite (the certificate goes to the failure folder),
    EpisodeError for a bad input, CheckpointError for a damaged checkpoint. When the simulator is lost for good, the
    checkpoint is written first.
    """
    if params.task == DRIVE and params.train.env_steps > 0:
        announce_servers(params)
    prepare_torch(params.train.torch_threads)
    values = params_as_values(params)
    for name in ("evaluate", "gate", "collect"):
        del values[name]
    del values["tracks"]["evaluation"]
    key = run_key(values, [episodes, Path(params.tracks.folder)])
    checkpoint = CheckpointFolder(key)
    run = _Run(params, checkpoint)
    try:
        run.start(episodes)
        run.learn_before_driving()
        run.drive_and_learn()
    except ClippingError as error:
        raise run.failure(error, key) from error
    except ServerLost as error:
        run.save()
        raise TrainError(f"{error}; the same command goes on from the checkpoint that was written") from error
    finally:
        run.close()
    metrics = run.write(agent_folder, run_folder)
    checkpoint.remove()
    return metrics


class _Run:
    """One training run: the agent, its memory, and the counters and generators that a checkpoint holds."""

    def __init__(self, params: Params, checkpoint: CheckpointFolder) -> None:
        self.params, self.checkpoint = params, checkpoint
        self.device = training_device()
        torch.manual_seed(params.seed)  # the networks' first weights
        generator = torch.Generator(self.device).manual_seed(params.seed + 1)
        self.shape = shape = task_shape(params)
        self.spec = NetworkSpec.of(params, shape.state_size, shape.action_size, shape.frame)
        self.agent = TD3(self.spec, params, self.device, generator)
        self.memory = ReplayMemory(
            params.train.memory_steps, shape.frame, shape.state_size, shape.action_size, shape.stack
        )
        self.sampling_rng = np.random.default_rng([params.seed, TRAIN, 0])
        self.noise_rng = np.random.default_rng([params.seed, TRAIN, 1])
        self.replay = replay_of(params, self.memory)
        largest = largest_step_reward(params)
        self.meter = UpdateMeter(math.inf if largest is None else largest / (1.0 - params.gamma))
        self.returns = ReturnWatch(params.gamma)
        self.events: EventFiles | None = None
        self.stopped = False
        self._said: list[str] = []
        self._failed: tuple[int, Batch] | None = None
        self.env_steps = 0
        self.episode = 0
        self.faults = {"restarts": 0, "truncated_episodes": 0}
        self._restarts_counted = 0
        self.last_episodes: deque[dict[str, Any]] = deque(maxlen=LAST_EPISODES)
        self.collected_steps = 0
        self.progress: Progress | None = None
        self.env: gymnasium.Env | None = None

    def start(self, episodes: Path) -> None:
        """Take up the checkpoint, or fill the memory from the collected episodes."""
        state = self.checkpoint.load(self.memory)
        self._saved_at = (0, 0)
        folder = self.checkpoint.folder
        offsets = state["offsets"] if state else (None, None, None)
        self.update_log = CsvLog(folder / "updates.csv", update_columns(self.agent), offsets[0])
        self.episode_log = CsvLog(folder / "episodes.csv", episode_columns(self.params.task), offsets[1])
        self.layer_log = CsvLog(folder / "layers.csv", layer_columns(self.agent), offsets[2])
        if self.params.train.tensorboard:
            self.events = EventFiles(state_folder() / "tensorboard" / folder.name, offsets[0] or 0)
        if state:
            self._load_state(state)
        else:
            self._fill_memory(episodes)
        self.total_updates = self._total_updates()
        self.progress = Progress("train", self.total_updates, "updates")
        if state:
            self.progress.advance(self.agent.updates, "taken up from the checkpoint")

    def _fill_memory(self, episodes: Path) -> None:
        for episode in read_episodes(episodes):
            if as_rows(episode.frames).shape[1:] != self.shape.frame:
                raise EpisodeError(
                    f"{episodes}: got frames of {episode.frames.shape[1:]}, allowed: what camera in params.yaml says"
                )
            self.memory.add_episode(episode)
            self.collected_steps += episode.steps

    def _total_updates(self) -> int:
        total = self._updates_due(self.params.train.env_steps)
        if self.params.replay == "none":  # no step serves twice
            total = min(total, (self.collected_steps + self.params.train.env_steps) // self.params.batch_size)
        return total

    def learn_before_driving(self) -> None:
        before_driving = self.params.train.updates_before_driving
        while self.agent.updates < before_driving and self._has_batch() and not self.stopped:
            self._update()
            if self.agent.updates - self._saved_at[1] >= self.params.train.checkpoint_every_steps:
                self.save()

    def drive_and_learn(self) -> None:
        params = self.params
        if self.env_steps >= params.train.env_steps or self.stopped:
            return
        self.env = open_task(params, TRAIN)
        while self.env_steps < params.train.env_steps and not self.stopped:
            self._drive_episode()
            due = self.env_steps - self._saved_at[0] >= params.train.checkpoint_every_steps
            chained = params.spawn.kind == "last" and self.episode % params.tracks.episodes_per_load != 0
            if due and not chained:  # the next link of a chain would need the simulator's memory
                self.save()

    def _drive_episode(self) -> None:
        observation, info = until_done(lambda: self.env.reset(options={"episode": self.episode}))
        tally = EpisodeTally(self.params.task, info)
        self.memory.begin(self._frame(observation), observation["state"])
        done, terminated, trace = False, False, EpisodeTrace()
        while not done and self.env_steps < self.params.train.env_steps and not self.stopped:
            action, before = self._explore(observation), observation
            try:
                observation, reward, terminated, truncated, info = self.env.step(action)
            except ServerFault:
                info = info | {"ending": "server_fault"}
                break
            self.memory.add(action, reward, terminated, self._frame(observation), observation["state"])
            trace.add(before, action, reward)
            self.env_steps += 1
            tally.add(reward, info)
            done = terminated or truncated
            while self.agent.updates < self._updates_due(self.env_steps) and self._has_batch() and not self.stopped:
                self._update()
            self._keep_snapshot()
        self._count_restarts()
        if tally.steps == 0:
            return  # nothing of it was received: the same episode again
        self.faults["truncated_episodes"] += info["ending"] == "server_fault"
        watched = self._watch_return(trace, observation, terminated) if done else {}
        counters = {"episode": self.episode, "env_step": self.env_steps, "update": self.agent.updates}
        row = counters | tally.row(info["ending"]) | watched
        self.episode_log.add(row)
        self.last_episodes.append(row)
        self.episode += 1

    def _count_restarts(self) -> None:
        if self.env is not None:
            self.faults["restarts"] += self.env.restarts - self._restarts_counted
            self._restarts_counted = self.env.restarts

    def _has_batch(self) -> bool:
        return self.replay.holds(self.params.batch_size)

    def _keep_snapshot(self) -> None:
        every = self.params.train.snapshot_every_steps
        if every is not None and self.env_steps % every == 0:
            folder = snapshot_folder(self.checkpoint.folder, self.env_steps)
            write_agent(folder, self.agent, asdict(self.params.camera))

    def _updates_due(self, env_steps: int) -> int:
        train = self.params.train
        return train.updates_before_driving + int(env_steps * train.updates_per_step)

    def _watch_return(
        self, trace: EpisodeTrace, observation: dict[str, np.ndarray], terminated: bool
    ) -> dict[str, float]:
        def q_of(observations: list[dict[str, np.ndarray]], actions: list[np.ndarray]) -> np.ndarray:
            given = torch.from_numpy(np.stack(actions)).to(self.device)
            return self.agent.q_values(*self._tensors(observations), given).cpu().numpy()

        last = None if terminated else (observation, self._action(observation))
        return self.returns.add(trace, q_of, last)

    def _tensors(self, observations: list[dict[str, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
        arrays = (np.stack([o[name] for o in observations]) for name in ("frames", "state"))
        frames, states = (torch.from_numpy(array).to(self.device) for array in arrays)
        return frames, states

    def _action(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return self.agent.act(*self._tensors([observation]))[0].cpu().numpy()

    def _explore(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        action = self._action(observation)
        noise = self.noise_rng.normal(0.0, self._exploration_noise(), self.shape.action_size)
        return np.clip(action + noise, -1.0, 1.0).astype(np.float32)

    def _exploration_noise(self) -> float:
        share = self.env_steps / max(self.params.train.env_steps, 1)
        begin, end = self.params.exploration_noise, self.params.exploration_noise_end
        return begin + (end - begin) * share

    def _lr_factor(self) -> float:
        done = self.agent.updates / max(self.total_updates, 1)
        constant = self.params.lr_constant_share
        if done <= constant:
            return 1.0
        return 1.0 + (self.params.lr_end - 1.0) * (done - constant) / (1.0 - constant)

    def _update(self) -> None:
        factor = self._lr_factor()
        self.agent.set_learning_rates(factor)
        number, train = self.agent.updates + 1, self.params.train
        logged, detailed = number % train.log_every_updates == 0, number % train.detail_every_updates == 0
        share = self.agent.updates / max(self.total_updates, 1)
        drawn = self.replay.draw(self.params.batch_size, self.sampling_rng, share)
        batch = self._batch(drawn)
        try:
            update = self.agent.update(batch, measure_update=logged or detailed)
        except ClippingError:
            self._failed = (number, batch)
            raise
        if self.params.replay == "prioritised":
            self.replay.learned(drawn.rows, update.td_errors.cpu().numpy())
        self.meter.add(update)
        if logged:
            extra = {
                "update": self.agent.updates,
                "env_step": self.env_steps,
                "lr_factor": factor,
                "exploration_noise": self._exploration_noise(),
            }
            self._log(self.update_log, self.meter.row(update, extra))
        if detailed:
            self._log(self.layer_log, layer_row(update, number))
        self.progress.advance(1, f"Q {self.meter.scalars['q1_mean']:.2f}, {self.env_steps} steps driven")
        self._watch()

    def _log(self, log: CsvLog, row: dict[str, float]) -> None:
        log.add(row)
        if self.events is not None:
            self.events.add(row)

    def _watch(self) -> None:
        """Say once what is ill with Q or the actor, and end the training there where the params say so."""
        meter, train, update = self.meter, self.params.train, self.agent.updates
        q_passed, dead = meter.bound_passed_updates > 0, meter.dead_actor_updates > 0
        if q_passed and "q" not in self._said:
            self._said.append("q")
            self.progress.say(
                f"|Q| is {meter.q_abs_max:.4g} at update {update} and passed its bound R_max / (1 - gamma) = "
                f"{meter.q_bound:.4g}: the critic has diverged"
            )
        if dead and "actor" not in self._said:
            self._said.append("actor")
            self.progress.say(f"the actor is dead at update {update}: its tanh is saturated and its gradient gone")
        if (q_passed and train.stop_on_q_bound) or (dead and train.stop_on_dead_actor):
            self.stopped = True
            self.progress.say(f"training ends at update {update}, as the params say, with what it has")

    def _batch(self, drawn: Drawn) -> Batch:
        arrays = vars(drawn.transitions) | {"steps": drawn.steps, "weights": drawn.weights}
        return Batch(
            **{name: None if a is None else torch.from_numpy(a).to(self.device) for name, a in arrays.items()}
        )

    def _frame(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return observation["frames"][-self.shape.frame[0] :]  # the newest of the stack, (C, H, W)

    def save(self) -> None:
        """Write the checkpoint; the memory must stand at an episode's end."""
        self._count_restarts()
        state = {
            "agent": self.agent.state(),
            "meter": self.meter.state(),
            "returns": self.returns.state(),
            "said": self._said,
            "replay": as_tensors(self.replay.state()),
            "collected_steps": self.collected_steps,
            "env_steps": self.env_steps,
            "episode": self.episode,
            "faults": self.faults,
            "last_episodes": list(self.last_episodes),
            "sampling_rng": self.sampling_rng.bit_generator.state,
            "noise_rng": self.noise_rng.bit_generator.state,
            "offsets": tuple(log.offset() for log in (self.update_log, self.episode_log, self.layer_log)),
        }
        self.checkpoint.save(state, self.memory)
        self._saved_at = (self.env_steps, self.agent.updates)

    def _load_state(self, state: dict[str, Any]) -> None:
        self.agent.load_state(state["agent"])
        self.meter.load_state(state["meter"])
        self.returns.load_state(state["returns"])
        self._said = state["said"]
        self.replay.load_state(as_arrays(state["replay"]))
        self.collected_steps = state["collected_steps"]
        self.env_steps, self.episode, self.faults = state["env_steps"], state["episode"], state["faults"]
        self.last_episodes.extend(state["last_episodes"])
        self.sampling_rng.bit_generator.state = state["sampling_rng"]
        self.noise_rng.bit_generator.state = state["noise_rng"]
        self._saved_at = (self.env_steps, self.agent.updates)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.close()
        if self.events is not None:
            self.events.close()
        if self.env is not None:
            self.env.close()

    def failure(self, error: ClippingError, key: str) -> TrainError:
        """Keep the certificate, and the batch, of a run that had to stop; the error that says where they are."""
        folder = state_folder() / "failures" / key
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(certificate(self.agent), indent=2)
        (folder / "certificate.json").write_text(text + "\n", encoding="utf-8")
        number, batch = self._failed
        torch.save(vars(batch), folder / "batch.pt")
        return TrainError(
            f"update {number}: {error}; its batch is in {folder / 'batch.pt'}, "
            f"the certificate is in {folder / 'certificate.json'}"
        )

    def write(self, agent_folder: Path, run_folder: Path) -> dict[str, Any]:
        self.update_log.close()
        self.episode_log.close()
        self.layer_log.close()
        metrics = summary(self.agent, self.meter, self.returns, list(self.last_episodes), self.env_steps)
        metrics["faults"] = self.faults
        write_agent(agent_folder, self.agent, asdict(self.params.camera))
        run_folder.mkdir(parents=True, exist_ok=True)
        for name in ("updates.csv", "episodes.csv", "layers.csv"):
            shutil.copyfile(self.checkpoint.folder / name, run_folder / name)
        shutil.rmtree(agent_folder / SNAPSHOTS, ignore_errors=True)
        if (self.checkpoint.folder / SNAPSHOTS).exists():
            shutil.copytree(self.checkpoint.folder / SNAPSHOTS, agent_folder / SNAPSHOTS)
        text = json.dumps(metrics, indent=2, allow_nan=False)
        (run_folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
        return metrics
