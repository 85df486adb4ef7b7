"""The typed, frozen view of params.yaml: every key known, typed and in range, or one sentence that says what is not.

There are no defaults here: params.yaml is the only home of a value. YAML is read by version 1.2's rules, as DVC writes
it (`1e-05` is a float and `yes` is a string); `none` stands for "switched off" where a key allows it.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from clipdrive.weather import WeatherError, parse_weather


class ParamsError(ValueError):
    """A key of params.yaml is unknown, missing, mistyped or out of range."""


@dataclass(frozen=True)
class Range:
    """Bounds of a number; `open_low` and `open_high` leave the bound itself out."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if self.low == -math.inf and self.high == math.inf:
            return "any finite number"
        if self.high == math.inf:
            return f"a number {'above' if self.open_low else 'of at least'} {self.low:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"a number in {left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Choice:
    """The allowed words."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return " | ".join(self.words)


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
    params = _section(Params, values, "")
    _require_fitting(params)
    return params


DRIVE = "drive"  # the task that is not Gymnasium's


def _require_fitting(params: Params) -> None:
    """Raise ParamsError where two keys, each good by itself, do not go together."""

    def refuse(key: str, got: Any, allowed: str) -> None:
        raise ParamsError(f"{key}: got {_show(got)}, allowed: {allowed}")

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


def _section(cls: type, values: Any, prefix: str) -> Any:
    name = prefix.rstrip(".") or "params.yaml"
    if not isinstance(values, dict):
        raise ParamsError(f"{name}: got {_show(values)}, allowed: a section with the keys {_keys(cls)}")
    hints = typing.get_type_hints(cls, include_extras=True)
    for key in values:
        if key not in hints:
            raise ParamsError(f"{prefix}{key}: got {_show(values[key])}, an unknown key; allowed: {_keys(cls)}")
    for key in hints:
        if key not in values:
            raise ParamsError(f"{prefix}{key}: is missing; allowed: {_allowed(hints[key])}")
    return cls(**{key: _value(hints[key], values[key], prefix + key) for key in hints})


def _value(hint: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _section(hint, value, key + ".")
    kind, rule, optional = _unpack(hint)
    if optional and value == "none":
        return None
    good: Any = None
    if kind is bool and isinstance(value, bool):
        good = value
    elif kind is int and isinstance(value, int) and not isinstance(value, bool) and rule.holds(value):
        good = value
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and rule.holds(value):
        good = float(value)
    elif kind is str and isinstance(value, str) and value.strip() and (rule is None or value in rule.words):
        good = value
    elif kind is tuple and isinstance(value, list) and value and all(isinstance(v, str) and v for v in value):
        good = tuple(value)
    if good is None:
        raise ParamsError(f"{key}: got {_show(value)}, allowed: {_allowed(hint)}")
    return good


def _unpack(hint: Any) -> tuple[type, Any, bool]:
    """(plain type, rule or None, whether `none` is allowed) of a field's type hint."""
    rule = None
    if typing.get_origin(hint) is Annotated:
        hint, rule = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return tuple, rule, False
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    if members:
        return typing.get_origin(members[0]) or members[0], rule, True
    return hint, rule, False


def _allowed(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return f"a section with the keys {_keys(hint)}"
    kind, rule, optional = _unpack(hint)
    text = {
        bool: "true | false",
        tuple: "a list of one or more names",
        str: str(rule) if rule else "a word",
        int: str(rule).replace("a number", "a whole number") if rule else "",
        float: str(rule) if rule else "",
    }[kind]
    return text + (" | none" if optional else "")


def _keys(cls: type) -> str:
    return ", ".join(field.name for field in dataclasses.fields(cls))


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
