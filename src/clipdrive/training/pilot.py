"""Who drives while learning: a few decisions at a time, on a thread of its own while the main thread learns.

The thread decides by a copy of the agent, taken when a leg begins, so what the main thread learns meanwhile cannot
reach it: a run's bits do not depend on which of the two is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch

from clipdrive.agents.store import Driver
from clipdrive.agents.td3 import TD3
from clipdrive.simulator.errors import ServerFault
from clipdrive.simulator.supervisor import until_done

DECISIONS_A_LEG = 2  # an update takes as long as two to four decisions

Observation = dict[str, np.ndarray]


@dataclass(frozen=True)
class Step:
    """One decision and what it led to."""

    before: Observation
    action: np.ndarray
    after: Observation
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


@dataclass
class Leg:
    """Decisions of one episode in a row; `fault`: the server failed behind the last of them."""

    steps: list[Step] = field(default_factory=list)
    fault: bool = False


class Pilot:
    """Drives `env`, one decision a leg; `act` gives an action (A,) for an observation."""

    ahead, decisions = False, 1

    def __init__(self, env: gymnasium.Env, act: Callable[[Observation], np.ndarray]) -> None:
        self.env, self._act = env, act

    def begin(self, episode: int) -> tuple[Observation, dict[str, Any]]:
        """The first observation and info of an episode; again after each ServerFault. Raises ServerLost."""
        return until_done(lambda: self.env.reset(options={"episode": episode}))

    def prepare(self, episode: int) -> None:
        """`begin(episode)` is going to be called, and may be done meanwhile."""

    def start(self, observation: Observation, noise: np.ndarray) -> Future[Leg]:
        """A leg from `observation`, of a decision for each row of `noise` (n, A), which is added to the actions."""
        done: Future[Leg] = Future()
        done.set_result(self._fly(observation, noise))
        return done

    def _fly(self, observation: Observation, noise: np.ndarray) -> Leg:
        leg = Leg()
        for row in noise:
            action = np.clip(self._act(observation) + row, -1.0, 1.0).astype(np.float32)
            before = observation
            try:
                observation, reward, terminated, truncated, info = self.env.step(action)
            except ServerFault:
                leg.fault = True
                break
            leg.steps.append(Step(before, action, observation, reward, terminated, truncated, info))
            if terminated or truncated:
                break
        return leg

    def close(self) -> None:
        self.env.close()


class PilotAhead(Pilot):
    """A pilot on a thread of its own, who decides by a copy of `agent` on the CPU."""

    ahead, decisions = True, DECISIONS_A_LEG

    def __init__(self, env: gymnasium.Env, agent: TD3) -> None:
        self._agent, self._copy = agent, Driver(agent.spec)
        super().__init__(env, self._copy.act)
        self._prepared: Future | None = None
        threads = torch.get_num_threads()
        self._thread = ThreadPoolExecutor(1, "pilot")
        self._thread.submit(_compute_on_one_thread).result()
        torch.set_num_threads(threads)  # of this thread, and of any that is begun from now on

    def prepare(self, episode: int) -> None:
        self._prepared = self._thread.submit(self.env.reset, options={"episode": episode})

    def begin(self, episode: int) -> tuple[Observation, dict[str, Any]]:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            try:
                return prepared.result()
            except ServerFault:
                pass
        return super().begin(episode)  # in the main thread, where a signal ends the pauses between restarts

    def start(self, observation: Observation, noise: np.ndarray) -> Future[Leg]:
        self._follow()
        return self._thread.submit(self._fly, observation, noise)

    @torch.no_grad()
    def _follow(self) -> None:
        for copy, online in ((self._copy.actor, self._agent.actor), (self._copy.critic, self._agent.critic)):
            torch._foreach_copy_(list(copy.parameters()), list(online.parameters()))

    def close(self) -> None:
        """Wait for the leg that is on its way, whose calls have deadlines, and close the environment."""
        try:
            self._thread.shutdown(wait=True)
        finally:
            super().close()


def _compute_on_one_thread() -> None:
    """For the calling thread: the cores belong to the updates."""
    torch.get_num_threads()  # the first call in a thread sets the number that all have
    torch.set_num_threads(1)
