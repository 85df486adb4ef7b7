"""Where episode i begins: a function of the seed and of i alone, whoever drives it.

Only `spawn.kind: last` looks back: there, a run of `episodes_per_load` episodes is a chain on one track in
one direction, each link beginning at the last checkpoint that the one before reached, so that the chain
depends on (seed, chain) alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipdrive.params import SpawnParams
from clipdrive.tracks.route import Route

COLLECT, TRAIN, EVALUATE = 1, 2, 3  # streams of random numbers, so that no stage repeats another's episodes
_ORDER, _CHAIN, _WEATHER = 101, 102, 103  # streams beside those of the episodes
LATERAL_CAP_HALF_WIDTHS = 0.8
OPEN_ROUTE_RESERVE_M = 50.0
BEFORE_TURN_M = 20.0  # how far before a turn, at most, an episode begins that begins near one
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class Start:
    """How an episode begins: place along the route, offset (right positive), heading error and speed."""

    s_m: float
    offset_m: float = 0.0
    heading_error_rad: float = 0.0
    speed_mps: float = 0.0


def episode_generator(seed: int, stream: int, episode: int) -> np.random.Generator:
    """The generator of everything random in one episode."""
    return np.random.default_rng([seed, stream, episode])


def track_of_episode(names: tuple[str, ...], seed: int, stream: int, episode: int, episodes_per_load: int) -> str:
    """The track of an episode: all tracks in an order drawn from the seed, each for `episodes_per_load`
    episodes."""
    order = np.random.default_rng([seed, _ORDER, stream]).permutation(len(names))
    return names[order[(episode // episodes_per_load) % len(names)]]


def weather_of_episode(weathers: tuple[str, ...] | None, seed: int, stream: int, episode: int) -> str | None:
    """The weather of an episode, each of `weathers` with the same chance; None where there are none."""
    if weathers is None:
        return None
    rng = np.random.default_rng([seed, _WEATHER, stream, episode])
    return weathers[int(rng.integers(len(weathers)))]


def direction_of_episode(
    spawn: SpawnParams, rng: np.random.Generator, seed: int, stream: int, episode: int, episodes_per_load: int
) -> str:
    """The direction of an episode, either with the same chance (in a chain of `last`: the chain's)."""
    drawn = int(rng.integers(2))
    if spawn.kind == "last":
        chain = np.random.default_rng([seed, _CHAIN, stream, episode // episodes_per_load])
        drawn = int(chain.integers(2))
    return DIRECTIONS[drawn]


def draw_start(
    spawn: SpawnParams, route: Route, rng: np.random.Generator, last_checkpoint_s_m: float | None = None
) -> Start:
    """The start of an episode on `route`.

    checkpoint: a random checkpoint, or a place near a random turn to the left or right, with noise on offset
    (within 0.8 of the half width), heading and speed, a share of the episodes at rest; last:
    `last_checkpoint_s_m`, at rest and in the middle; start: the route's beginning, likewise.
    """
    if spawn.kind == "start":
        return Start(0.0)
    if spawn.kind == "last":
        return Start(last_checkpoint_s_m or 0.0)
    checkpoints = route.checkpoints(spawn.every_m)
    if not route.closed:
        checkpoints = checkpoints[checkpoints <= max(route.length_m - OPEN_ROUTE_RESERVE_M, 0.0)]
    s_m = float(checkpoints[rng.integers(len(checkpoints))])
    if spawn.near_turn_share > 0.0 and rng.random() < spawn.near_turn_share:
        s_m = _near_turn(route, rng, s_m)
    half_width_m = float(np.interp(s_m, route.s_m, route.half_width_m))
    widest_m = min(spawn.lateral_m, LATERAL_CAP_HALF_WIDTHS * half_width_m)
    offset_m = float(rng.uniform(-1.0, 1.0)) * widest_m
    heading_error_rad = float(rng.uniform(-1.0, 1.0)) * spawn.heading_rad
    at_rest = rng.random() < spawn.standstill_share
    speed_mps = float(rng.random()) * spawn.speed_mps
    return Start(s_m, offset_m, heading_error_rad, 0.0 if at_rest else speed_mps)


def _near_turn(route: Route, rng: np.random.Generator, otherwise_m: float) -> float:
    """A place from BEFORE_TURN_M before a random turn up to its end; `otherwise_m` where none leads left or right."""
    turns = [turn for turn in route.turns if turn.kind != "straight"]
    if not turns:
        return otherwise_m
    turn = turns[rng.integers(len(turns))]
    s_m = float(rng.uniform(turn.begin_m - BEFORE_TURN_M, turn.end_m))
    return s_m % route.length_m if route.closed else max(s_m, 0.0)
