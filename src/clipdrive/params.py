"""The typed, frozen view of params.yaml: every key known, typed and in range, or one sentence that says what is not.

There are no defaults here: params.yaml is the only home of a value. YAML is read by version 1.2's rules, as DVC writes
it (`1e-05` is a float and `yes` is a string); `none` stands for "switched off" where a key allows it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from clipdrive.params_reader import Choice, ParamsError, Range, section, show
from clipdrive.weather import WeatherError, parse_weather

ANY = Range()
POSITIVE = Range(0.0, open_low=True)
NOT_NEGATIVE = Range(0.0)
SHARE = Range(0.0, 1.0)
COUNT = Range(1)
COUNT_OR_ZERO = Range(0)


@dataclass(frozen=True)
class Tracks:
    training: tuple[str, ...]
    evaluation: tuple[str, ...]
    folder: str
    follow: Annotated[str, Choice(("road", "lane"))]
    junctions: Annotated[str, Choice(("straight", "turns"))]
    verge_m: Annotated[float, Range(0.5, 50.0)]
    wall_height_m: Annotated[float, Range(0.1, 10.0)]
    episodes_per_load: Annotated[int, COUNT]
    weather: tuple[str, ...] | None


@dataclass(frozen=True)
class CameraParams:
    color: Annotated[str, Choice(("gray", "rgb"))]
    width_px: Annotated[int, Range(36, 1920)]
    height_px: Annotated[int, Range(36, 1920)]
    fov_deg: Annotated[float, Range(10.0, 170.0)]
    forward_m: Annotated[float, Range(-10.0, 10.0)]
    up_m: Annotated[float, Range(0.1, 50.0)]
    pitch_deg: Annotated[float, Range(-90.0, 90.0)]
    stack: Annotated[int, Range(1, 16)]


@dataclass(frozen=True)
class VehicleParams:
    blueprint: str
    step_s: Annotated[float, Range(0.001, 0.1)]
    action_repeat: Annotated[int, Range(1, 20)]
    speed_scale_mps: Annotated[float, POSITIVE]


@dataclass(frozen=True)
class RewardParams:
    kind: Annotated[str, Choice(("perot", "mnih", "margin", "sigmoid", "goal"))]
    speed_max_mps: Annotated[float, POSITIVE]
    target_speed_mps: Annotated[float | None, POSITIVE]
    crash: Annotated[float | None, Range(-100.0, 0.0)]
    largest: Annotated[float | None, POSITIVE]


@dataclass(frozen=True)
class EndingParams:
    off_road: bool
    off_road_margin_m: Annotated[float, Range(-1.0, 20.0)]
    collision: bool
    stuck: bool
    stuck_distance_m: Annotated[float, POSITIVE]
    stuck_after_s: Annotated[float, POSITIVE]
    time_limit_steps: Annotated[int, COUNT]


@dataclass(frozen=True)
class SpawnParams:
    kind: Annotated[str, Choice(("checkpoint", "last", "start"))]
    every_m: Annotated[float, Range(1.0, 10000.0)]
    lateral_m: Annotated[float, NOT_NEGATIVE]
    heading_rad: Annotated[float, Range(0.0, math.pi)]
    speed_mps: Annotated[float, NOT_NEGATIVE]
    standstill_share: Annotated[float, SHARE]
    near_turn_share: Annotated[float, SHARE]


@dataclass(frozen=True)
class CollectParams:
    driver: Annotated[str, Choice(("random", "follower", "mixed"))]
    episodes: Annotated[int, COUNT]
    steps: Annotated[int | None, COUNT]
    correlation: Annotated[float, Range(0.0, 1.0, open_high=True)]
    action_sd: Annotated[float, NOT_NEGATIVE]
    throttle_mean: Annotated[float, Range(-1.0, 1.0)]
    follower_noise: Annotated[float, NOT_NEGATIVE]
    follower_share: Annotated[float, SHARE]


@dataclass(frozen=True)
class TrainParams:
    updates_before_driving: Annotated[int, COUNT_OR_ZERO]
    env_steps: Annotated[int, COUNT_OR_ZERO]
    updates_per_step: Annotated[float, Range(0.0, 100.0)]
    memory_steps: Annotated[int, Range(10)]
    torch_threads: Annotated[int, Range(1, 256)]
    checkpoint_every_steps: Annotated[int, COUNT]
    log_every_updates: Annotated[int, COUNT]
    detail_every_updates: Annotated[int, COUNT]
    tensorboard: bool
    stop_on_q_bound: bool
    stop_on_dead_actor: bool
    snapshot_every_steps: Annotated[int | None, COUNT]


@dataclass(frozen=True)
class ClipParams:
    actor_cnn: Annotated[float | None, POSITIVE]
    actor_memory: Annotated[float | None, POSITIVE]
    actor_head: Annotated[float | None, POSITIVE]
    critic_cnn: Annotated[float | None, POSITIVE]
    critic_memory: Annotated[float | None, POSITIVE]
    critic_head: Annotated[float | None, POSITIVE]
    percentile: Annotated[float, Range(0.0, 100.0)]
    history_updates: Annotated[int, COUNT]


CLIP_KIND = Choice(("norm", "value", "adaptive"))


@dataclass(frozen=True)
class ClipKindParams:
    actor_cnn: Annotated[str, CLIP_KIND]
    actor_memory: Annotated[str, CLIP_KIND]
    actor_head: Annotated[str, CLIP_KIND]
    critic_cnn: Annotated[str, CLIP_KIND]
    critic_memory: Annotated[str, CLIP_KIND]
    critic_head: Annotated[str, CLIP_KIND]


@dataclass(frozen=True)
class EvaluateParams:
    starts: Annotated[int, Range(2)]
    lap_limit_s: Annotated[float, POSITIVE]
    weather: tuple[str, ...] | None
    film: bool


@dataclass(frozen=True)
class GateParams:
    route_completion_min: Annotated[float, SHARE]
    route_completion_drop_max: Annotated[float, SHARE]
    clean_share_min: Annotated[float, SHARE]
    return_min: Annotated[float | None, ANY]
    violations_max: Annotated[int, COUNT_OR_ZERO]


@dataclass(frozen=True)
class Params:
    seed: Annotated[int, Range(0, 2**31 - 1)]
    simulator: Annotated[str, Choice(("bundled", "carla"))]
    task: str
    observation: Annotated[str, Choice(("camera", "state"))]
    exposure: Annotated[str, Choice(("none", "auto"))]
    route_command: bool
    algorithm: Annotated[str, Choice(("td3", "mpg", "ddpg", "td3_bc"))]
    mpg_delta: Annotated[str, Choice(("batch", "sample"))]
    bc_weight: Annotated[float, NOT_NEGATIVE]
    gamma: Annotated[float, Range(0.0, 1.0, open_high=True)]
    tau: Annotated[float, Range(0.0, 1.0, open_low=True)]
    actor_lr: Annotated[float, Range(0.0, 1.0, open_low=True)]
    critic_lr: Annotated[float, Range(0.0, 1.0, open_low=True)]
    lr_constant_share: Annotated[float, SHARE]
    lr_end: Annotated[float, SHARE]
    batch_size: Annotated[int, Range(2, 100000)]
    n_step: Annotated[int, Range(1, 1000)]
    replay: Annotated[str, Choice(("uniform", "prioritised", "none"))]
    priority_alpha: Annotated[float, SHARE]
    priority_beta: Annotated[float, SHARE]
    priority_epsilon: Annotated[float, POSITIVE]
    policy_noise: Annotated[float, NOT_NEGATIVE]
    noise_clip: Annotated[float, NOT_NEGATIVE]
    policy_delay: Annotated[int, COUNT]
    exploration_noise: Annotated[float, NOT_NEGATIVE]
    exploration_noise_end: Annotated[float, NOT_NEGATIVE]
    cnn: Annotated[str, Choice(("mnih", "nature", "perot", "none"))]
    memory: Annotated[str, Choice(("none", "gru", "lstm"))]
    memory_units: Annotated[int, Range(1, 8192)]
    encoder: Annotated[str, Choice(("critic", "separate"))]
    layer_norm: bool
    feature_units: Annotated[int, Range(1, 8192)]
    hidden_units: Annotated[int, Range(1, 8192)]
    actor_init_scale: Annotated[float, Range(0.0, 1.0, open_low=True)]
    saturation_penalty: Annotated[float, NOT_NEGATIVE]
    image_shift_px: Annotated[int, Range(0, 32)]
    mirror: bool
    tracks: Tracks
    camera: CameraParams
    vehicle: VehicleParams
    reward: RewardParams
    ending: EndingParams
    spawn: SpawnParams
    collect: CollectParams
    train: TrainParams
    clip: ClipParams
    clip_kind: ClipKindParams
    evaluate: EvaluateParams
    gate: GateParams


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check the whole of a params file.

    Raises ParamsError with one sentence (key, value, what is allowed) for the first fault found.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); clipdrive needs this file") from error
    try:
        values = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise ParamsError(f"{path}: not valid YAML{line}: {getattr(error, 'problem', error)}") from error
    return params_from(values)


def params_from(values: Any) -> Params:
    """Build Params from nested plain values (as YAML or JSON give them); raises ParamsError."""
    params = section(Params, values)
    _require_fitting(params)
    return params


DRIVE = "drive"  # the task that is not Gymnasium's


def _require_fitting(params: Params) -> None:
    """Raise ParamsError where two keys, each good by itself, do not go together."""

    def refuse(key: str, got: Any, allowed: str) -> None:
        raise ParamsError(f"{key}: got {show(got)}, allowed: {allowed}")

    for key, weathers in (("tracks.weather", params.tracks.weather), ("evaluate.weather", params.evaluate.weather)):
        for weather in weathers or ():
            try:
                parse_weather(weather)
            except WeatherError as error:
                raise ParamsError(f"{key}: {error}") from error
    if params.cnn == "none" and params.memory != "none":
        refuse("memory", params.memory, "none with cnn: none, for it remembers stacked frames")
    if params.cnn == "none" and params.image_shift_px:
        refuse("image_shift_px", params.image_shift_px, "0 with cnn: none, for there are no images")
    if params.n_step > params.train.memory_steps // 2:
        refuse("n_step", params.n_step, "at most half of train.memory_steps, which hold the steps that are summed")
    if params.replay == "none" and 2 * params.batch_size > params.train.memory_steps:
        allowed = "at most half of train.memory_steps with replay: none, which learns from steps that are still there"
        refuse("batch_size", params.batch_size, allowed)
    if params.task != DRIVE:
        if params.mirror:
            raise ParamsError(f"mirror: got true with task: {params.task}, allowed: false (a mirror is for the road)")
        return
    if params.route_command and params.observation == "state":
        refuse("route_command", True, "false with observation: state, whose road's edges show where the route goes")
    if (params.observation == "state") != (params.cnn == "none"):
        allowed = "none" if params.observation == "state" else "mnih | nature | perot"
        refuse("cnn", params.cnn, f"{allowed} with observation: {params.observation}")
    if params.mirror and params.tracks.follow == "lane":
        raise ParamsError("mirror: got true with tracks.follow: lane, allowed: false (a mirror swaps the lanes)")
    for key, value in (
        ("collect.steps", params.collect.steps),
        ("reward.largest", params.reward.largest),
        ("train.snapshot_every_steps", params.train.snapshot_every_steps),
        ("gate.return_min", params.gate.return_min),
    ):
        if value is not None:
            refuse(key, value, f"none with task: {DRIVE}")


def params_as_values(params: Params) -> dict[str, Any]:
    """The nested plain values from which `params_from` builds an equal object (None is written `none`)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        return "none" if value is None else value

    return plain(dataclasses.asdict(params))
