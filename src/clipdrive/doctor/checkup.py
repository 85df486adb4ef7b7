"""Checks the agent that params.yaml describes: its structure, then a few real updates on real observations."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clipdrive.agents.clipping import ClippingError
from clipdrive.agents.device import prepare_torch, training_device
from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.structure import GroupError
from clipdrive.agents.td3 import TD3, Batch
from clipdrive.doctor.probe import Probe, watch
from clipdrive.experience.collect import collect
from clipdrive.experience.episodes import EpisodeError, read_episodes
from clipdrive.experience.memory import ReplayMemory, as_rows
from clipdrive.experience.replay import replay_of
from clipdrive.params import Params
from clipdrive.tasks.task import TaskShape, task_shape

DRIVEN_EPISODES = 4


@dataclass(frozen=True)
class Checkup:
    """What the doctor says of an agent: the probe of its updates (None: it never came so far), and what stopped it."""

    probe: Probe | None
    stopped: str | None
    structure: dict[str, int]

    @property
    def sound(self) -> bool:
        return self.stopped is None and self.probe is not None and self.probe.sound

    def __str__(self) -> str:
        lines = []
        if self.structure:
            lines += [
                f"structure: {self.structure['parameters']} tensors are trained, each in one group of one optimiser; "
                f"{self.structure['shared']} modules shared, {self.structure['targets_stepped']} targets stepped",
                "",
            ]
        if self.probe is not None:
            lines.append(str(self.probe))
        if self.stopped is not None:
            lines += ["", f"stopped: {self.stopped}", "not sound"]
        return "\n".join(lines)


def check_params(params: Params, episodes: Path, updates: int) -> Checkup:
    """Build the agent and take `updates` steps on the episodes in `episodes`, or on a short drive where none are.

    Nothing is written. Raises EpisodeError where the episodes are not those of the params.
    """
    prepare_torch(params.train.torch_threads)
    device = training_device()
    shape = task_shape(params)
    memory = _memory(params, shape, episodes)
    torch.manual_seed(params.seed)
    spec = NetworkSpec.of(params, shape.state_size, shape.action_size, shape.frame)
    try:
        agent = TD3(spec, params, device, torch.Generator(device).manual_seed(params.seed + 1))
    except GroupError as error:
        return Checkup(None, str(error), {})
    return check_agent(agent, _batches(params, memory, updates, device))


def check_agent(agent: TD3, batches: Iterable[Batch]) -> Checkup:
    """Take an update with each batch under the doctor's eyes; what the agent logs is compared as well."""
    optimizers, groups, limits = {}, {}, {}
    for clipped in agent.optimizers:
        for group in clipped.optimizer.param_groups:
            optimizers[group["name"].split("_")[0]] = clipped.optimizer
            groups[group["name"]] = list(zip(group["layers"], group["params"], strict=True))
            rule = clipped.rules.get(group["name"])
            limits[group["name"]] = rule.limit if rule is not None and rule.kind != "value" else None
    stopped, structure = None, {}
    with watch(optimizers, groups, limits, say=None) as probe:
        try:
            structure = agent.structure()
            for batch in batches:
                for name, norms in agent.update(batch).norms.items():
                    probe.logged(name, norms.after)
        except (ClippingError, GroupError) as error:
            stopped = str(error)
    return Checkup(probe, stopped, structure)


def _memory(params: Params, shape: TaskShape, episodes: Path) -> ReplayMemory:
    if (episodes / "manifest.json").exists():
        return _filled(params, shape, episodes)
    short = dataclasses.replace(
        params,
        simulator="bundled",
        tracks=dataclasses.replace(params.tracks, training=("circuit:1",)),
        collect=dataclasses.replace(params.collect, episodes=DRIVEN_EPISODES),
    )
    with tempfile.TemporaryDirectory() as folder:
        collect(short, Path(folder) / "episodes", Path(folder) / "spawns.png")
        return _filled(params, shape, Path(folder) / "episodes")


def _filled(params: Params, shape: TaskShape, folder: Path) -> ReplayMemory:
    memory = ReplayMemory(params.train.memory_steps, shape.frame, shape.state_size, shape.action_size, shape.stack)
    for episode in read_episodes(folder):
        if as_rows(episode.frames).shape[1:] != shape.frame:
            raise EpisodeError(f"{folder}: got frames of {episode.frames.shape[1:]}, allowed: what camera says")
        memory.add_episode(episode)
    return memory


def _batches(params: Params, memory: ReplayMemory, updates: int, device: torch.device) -> Iterator[Batch]:
    """Batches as train draws them; fewer where `replay: none` has no more steps to give."""
    rng, replay = np.random.default_rng(params.seed), replay_of(params, memory)
    for number in range(updates):
        if not replay.holds(params.batch_size):
            return
        drawn = replay.draw(params.batch_size, rng, number / updates)
        arrays = vars(drawn.transitions) | {"steps": drawn.steps, "weights": drawn.weights}
        yield Batch(**{name: None if a is None else torch.from_numpy(a).to(device) for name, a in arrays.items()})
