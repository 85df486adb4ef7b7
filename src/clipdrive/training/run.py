"""One training run: the loop of driving and learning, and what its checkpoint holds.

Driving and learning overlap with a fixed lag. While a leg of two decisions is driven on the pilot's thread, the main
thread makes the updates that are due for the steps before that leg, from a memory that ends there; then both meet, and
the leg's steps enter the memory. So an action is taken with the weights that the updates due two to three decisions
earlier have left, and every step brings as many updates as the params say, whichever of the two is faster. At an
episode's end all that is due is learned before the next begins, and nothing is on its way when a checkpoint is written.
A Gymnasium task, which is quick and has published results to be compared with, is driven without lag: act, step, learn.
"""

from __future__ import annotations

import shutil
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipdrive.agents.store import write_agent
from clipdrive.driving.spawn import TRAIN
from clipdrive.experience.episodes import EpisodeError, read_episodes
from clipdrive.experience.memory import ReplayMemory, as_rows
from clipdrive.params import DRIVE, Params
from clipdrive.profile import Profile
from clipdrive.stage import state_folder
from clipdrive.tasks.task import open_task, task_shape
from clipdrive.training.checkpoint import CheckpointFolder
from clipdrive.training.episode_rows import EpisodeTally, episode_columns
from clipdrive.training.learning import Learner, exploration_noise
from clipdrive.training.logs import CsvLog
from clipdrive.training.metrics import LAST_EPISODES, summary
from clipdrive.training.pilot import Pilot, PilotAhead, Step
from clipdrive.training.returns import EpisodeTrace, ReturnWatch
from clipdrive.training.snapshots import SNAPSHOTS, snapshot_folder

LOGS = ("updates.csv", "episodes.csv", "layers.csv")


class TrainingRun:
    """The memory, the learner and the pilot of one run, with the counters and generators that a checkpoint holds."""

    def __init__(self, params: Params, checkpoint: CheckpointFolder, device: torch.device, profile: Profile) -> None:
        self.params, self.checkpoint, self.profile = params, checkpoint, profile
        self.shape = shape = task_shape(params)
        self.memory = ReplayMemory(
            params.train.memory_steps, shape.frame, shape.state_size, shape.action_size, shape.stack
        )
        self.learner = Learner(params, shape, self.memory, device, profile)
        self.noise_rng = np.random.default_rng([params.seed, TRAIN, 1])
        self.returns = ReturnWatch(params.gamma)
        self.env_steps = self.episode = self.collected_steps = 0
        self.faults = {"restarts": 0, "truncated_episodes": 0}
        self.last_episodes: deque[dict[str, Any]] = deque(maxlen=LAST_EPISODES)
        self.episode_log: CsvLog | None = None
        self.pilot: Pilot | None = None
        self._restarts_counted = 0
        self._saved_at = (0, 0)

    def start(self, episodes: Path) -> None:
        """Take up the checkpoint, or fill the memory from the collected episodes."""
        folder = self.checkpoint.folder
        with self.profile.part("checkpoint"):
            state = self.checkpoint.load(self.memory)
        events = state_folder() / "tensorboard" / folder.name if self.params.train.tensorboard else None
        if state:
            self._load_state(state)
        else:
            self._fill_memory(episodes)
        self.learner.open_logs(folder, state["learner"]["offsets"] if state else None, events)
        columns = episode_columns(self.params.task)
        self.episode_log = CsvLog(folder / "episodes.csv", columns, state["episodes_offset"] if state else None)
        self.learner.expect(self._total_updates())

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

    def _updates_due(self, env_steps: int) -> int:
        train = self.params.train
        return train.updates_before_driving + int(env_steps * train.updates_per_step)

    def learn_before_driving(self) -> None:
        learner, train = self.learner, self.params.train
        while learner.agent.updates < train.updates_before_driving and learner.can_learn:
            learner.update(self.env_steps)
            if learner.agent.updates - self._saved_at[1] >= train.checkpoint_every_steps:
                self.save()

    def drive_and_learn(self) -> None:
        params = self.params
        if not self._goes_on:
            return
        env = open_task(params, TRAIN)
        overlaps = params.task == DRIVE
        self.pilot = PilotAhead(env, self.learner.agent) if overlaps else Pilot(env, self.learner.action)
        while self._goes_on:
            self._drive_episode()
            due = self.env_steps - self._saved_at[0] >= params.train.checkpoint_every_steps
            chained = params.spawn.kind == "last" and self.episode % params.tracks.episodes_per_load != 0
            if due and not chained:  # the next link of a chain would need the simulator's memory
                self.save()

    @property
    def _goes_on(self) -> bool:
        return self.env_steps < self.params.train.env_steps and not self.learner.watch.stopped

    def _drive_episode(self) -> None:
        pilot = self.pilot
        with self.profile.part("simulate"):
            observation, info = pilot.begin(self.episode)
        tally, trace = EpisodeTally(self.params.task, info), EpisodeTrace()
        self.memory.begin(self._frame(observation), observation["state"])
        last: Step | None = None
        done = fault = False
        while not (done or fault) and self._goes_on:
            with self.profile.part("simulate"):
                leg = pilot.start(observation, self._noise(pilot.decisions))
            if pilot.ahead:
                self._learn_what_is_due()
            with self.profile.part("simulate"):
                leg = leg.result()
            for last in leg.steps:
                self._record(last, tally, trace)
            if last is not None:
                observation, done = last.after, last.terminated or last.truncated
            fault = leg.fault
            if not pilot.ahead or self._at_snapshot:
                self._learn_what_is_due()
            if self._at_snapshot:
                self._keep_snapshot()
        if done and self._goes_on:
            pilot.prepare(self.episode + 1)
        self._learn_what_is_due()
        self._count_restarts()
        if last is None:
            return  # nothing of it was received: the same episode again
        self.faults["truncated_episodes"] += fault
        watched = self._watch_return(trace, last) if done else {}
        counters = {"episode": self.episode, "env_step": self.env_steps, "update": self.learner.agent.updates}
        row = counters | tally.row("server_fault" if fault else last.info["ending"]) | watched
        self.episode_log.add(row)
        self.last_episodes.append(row)
        self.episode += 1

    def _noise(self, decisions: int) -> np.ndarray:
        """Exploration noise (n, A) of the next leg: up to so many decisions, not past a snapshot or the run's end."""
        left = self.params.train.env_steps - self.env_steps
        every = self.params.train.snapshot_every_steps
        if every is not None:
            left = min(left, every - self.env_steps % every)
        deviations = [exploration_noise(self.params, self.env_steps + i) for i in range(min(decisions, left))]
        return np.stack([self.noise_rng.normal(0.0, sd, self.shape.action_size) for sd in deviations])

    def _record(self, step: Step, tally: EpisodeTally, trace: EpisodeTrace) -> None:
        self.memory.add(step.action, step.reward, step.terminated, self._frame(step.after), step.after["state"])
        trace.add(step.before, step.action, step.reward)
        tally.add(step.reward, step.info)
        self.env_steps += 1

    def _learn_what_is_due(self) -> None:
        while self.learner.agent.updates < self._updates_due(self.env_steps) and self.learner.can_learn:
            self.learner.update(self.env_steps)

    def _frame(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return observation["frames"][-self.shape.frame[0] :]  # the newest of the stack, (C, H, W)

    @property
    def _at_snapshot(self) -> bool:
        every = self.params.train.snapshot_every_steps
        return every is not None and self.env_steps > 0 and self.env_steps % every == 0

    def _keep_snapshot(self) -> None:
        folder = snapshot_folder(self.checkpoint.folder, self.env_steps)
        write_agent(folder, self.learner.agent, asdict(self.params.camera))

    def _watch_return(self, trace: EpisodeTrace, end: Step) -> dict[str, float]:
        last = None if end.terminated else (end.after, self.learner.action(end.after))
        return self.returns.add(trace, self.learner.q_values, last)

    def _count_restarts(self) -> None:
        if self.pilot is not None:
            self.faults["restarts"] += self.pilot.env.restarts - self._restarts_counted
            self._restarts_counted = self.pilot.env.restarts

    def save(self) -> None:
        """Write the checkpoint; the memory must stand at an episode's end."""
        self._count_restarts()
        with self.profile.part("checkpoint"):
            state = {
                "learner": self.learner.state(),
                "returns": self.returns.state(),
                "collected_steps": self.collected_steps,
                "env_steps": self.env_steps,
                "episode": self.episode,
                "faults": self.faults,
                "last_episodes": list(self.last_episodes),
                "noise_rng": self.noise_rng.bit_generator.state,
                "episodes_offset": self.episode_log.offset(),
            }
            self.checkpoint.save(state, self.memory)
        self._saved_at = (self.env_steps, self.learner.agent.updates)

    def _load_state(self, state: dict[str, Any]) -> None:
        self.learner.load_state(state["learner"])
        self.returns.load_state(state["returns"])
        self.collected_steps = state["collected_steps"]
        self.env_steps, self.episode, self.faults = state["env_steps"], state["episode"], state["faults"]
        self.last_episodes.extend(state["last_episodes"])
        self.noise_rng.bit_generator.state = state["noise_rng"]
        self._saved_at = (self.env_steps, self.learner.agent.updates)

    def write(self, agent_folder: Path, run_folder: Path) -> dict[str, Any]:
        """Write the agent, its snapshots and the logs; returns the run's metrics."""
        agent, folder = self.learner.agent, self.checkpoint.folder
        metrics = summary(agent, self.learner.meter, self.returns, list(self.last_episodes), self.env_steps)
        write_agent(agent_folder, agent, asdict(self.params.camera))
        run_folder.mkdir(parents=True, exist_ok=True)
        for name in LOGS:
            shutil.copyfile(folder / name, run_folder / name)
        shutil.rmtree(agent_folder / SNAPSHOTS, ignore_errors=True)
        if (folder / SNAPSHOTS).exists():
            shutil.copytree(folder / SNAPSHOTS, agent_folder / SNAPSHOTS)
        return metrics | {"faults": self.faults}

    def close(self) -> None:
        """End what was begun, the leg on its way first; may be called at any time."""
        try:
            if self.pilot is not None:
                self.pilot.close()
        finally:
            self.learner.close()
            if self.episode_log is not None:
                self.episode_log.close()
