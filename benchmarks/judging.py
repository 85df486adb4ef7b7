"""When a policy drives: a quick probe on the unseen circuits, whole laps to confirm it, and a clock that stands still
meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from clipdrive.params import Params
from clipdrive.simulator.supervisor import until_done
from clipdrive.training.laps import Start, drive_lap, evaluation_env, evaluation_starts, summarise

REACHED = 0.95  # mean route completion of a driver
PROBE_STARTS, PROBE_M, PROBE_DECISIONS = 12, 300.0, 1000  # a probe: so many starts, each so far, or 100 s long


def drives(route_completion: float) -> bool:
    return route_completion >= REACHED


class Clock:
    """Seconds of training; `stopped` holds it, and leaves one thread to whatever is judged meanwhile."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._begun = time.perf_counter()
        self._held_s = 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begun - self._held_s

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        begun = time.perf_counter()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(self._threads)
        self._held_s += time.perf_counter() - begun


class Judge:
    """Drives on the unseen circuits without noise: a quick probe, and the laps of the evaluation."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self._env = evaluation_env(params)
        self._lengths: list[tuple[str, float]] = []

    def probe(self, actor: Any) -> float:
        """Mean share of PROBE_M driven without a failure."""
        return float(np.mean([until_done(self._part, actor, start) for start in self._starts(PROBE_STARTS)]))

    def whole_laps(self, actor: Any) -> dict[str, float]:
        """The evaluation's metrics of the agent."""
        starts = self._starts(self._params.evaluate.starts)
        laps = [until_done(drive_lap, self._env, "agent", actor, start) for start in starts]
        return summarise([lap["row"] for lap in laps])["agent"]

    def close(self) -> None:
        self._env.close()

    def _starts(self, count: int) -> list[Start]:
        if not self._lengths:
            tracks = {name: until_done(self._env.open_track, name) for name in self._env.track_names}
            self._lengths = [(name, track.route_forward.length_m) for name, track in tracks.items()]
        return evaluation_starts(self._lengths, count, self._params.evaluate.weather)

    def _part(self, actor: Any, start: Start) -> float:
        options = {"track": start.track, "direction": start.direction, "s_m": start.s_m, "weather": start.weather}
        observation, info = self._env.reset(options=options | {"time_limit_steps": PROBE_DECISIONS})
        done = False
        while not done and info["progress_m"] < PROBE_M:
            observation, _, terminated, truncated, info = self._env.step(actor.act(observation))
            done = terminated or truncated
        return min(max(info["progress_m"] / PROBE_M, 0.0), 1.0)
