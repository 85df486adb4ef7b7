"""The networks: a CNN for stacked frames, a recurrent memory over them, and the heads of actor and critics behind.

CNNs as published, each followed by one dense layer, with layer norm behind it by param.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipdrive.agents.targets import ALGORITHMS


class NetworkError(ValueError):
    """The frames are too small for the encoder, or weights do not fit the network."""


@dataclass(frozen=True)
class Convolution:
    """One layer: output channels, kernel and stride in pixels, and whether 2x2 max pooling follows."""

    channels: int
    kernel: int
    stride: int
    pooled: bool = False

    def size_after(self, size: int) -> int:
        size = (size - self.kernel) // self.stride + 1
        return size // 2 if self.pooled else size


CNNS = {
    # Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning", section 8; 84x84 -> 32x9x9
    "mnih": (Convolution(16, 8, 4), Convolution(32, 4, 2)),
    # Mnih et al. 2015, "Human-level control through deep reinforcement learning", methods; 84x84 -> 64x7x7
    "nature": (Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1)),
    # Jaritz et al. 2018 (arXiv 1807.02371): stride 1 keeps the far road, pooling follows; 84x84 -> 64x7x7
    "perot": (Convolution(32, 8, 1, True), Convolution(64, 4, 1, True), Convolution(64, 3, 1, True)),
}


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that fixes the shapes of an agent's networks; stored beside its weights."""

    channels: int  # frames in a stack times colours
    height_px: int
    width_px: int
    state_size: int
    action_size: int
    encoder: str  # "critic" | "separate"
    feature_units: int
    hidden_units: int
    layer_norm: bool
    actor_init_scale: float
    stack: int
    cnn: str  # of CNNS | "none": there are no frames
    memory: str  # "none" | "gru" | "lstm"
    memory_units: int
    critics: int

    @classmethod
    def of(
        cls, params: Any, state_size: int, action_size: int, frame: tuple[int, int, int] | None = None
    ) -> NetworkSpec:
        """`frame` is the shape of one frame (channels, height, width); without, the camera's."""
        if frame is None:
            colors = 3 if params.camera.color == "rgb" else 1
            frame = (colors, params.camera.height_px, params.camera.width_px)
        return cls(
            channels=params.camera.stack * frame[0],
            height_px=frame[1],
            width_px=frame[2],
            state_size=state_size,
            action_size=action_size,
            encoder=params.encoder,
            feature_units=params.feature_units,
            hidden_units=params.hidden_units,
            layer_norm=params.layer_norm,
            actor_init_scale=params.actor_init_scale,
            stack=params.camera.stack,
            cnn=params.cnn,
            memory=params.memory,
            memory_units=params.memory_units,
            critics=ALGORITHMS[params.algorithm].critics,
        )

    @property
    def encoded_units(self) -> int:
        """Features that reach the heads."""
        if self.cnn == "none":
            return 0
        return self.feature_units if self.memory == "none" else self.memory_units

    def as_values(self) -> dict[str, Any]:
        return asdict(self)


def _norm(units: int, wanted: bool) -> nn.Module:
    return nn.LayerNorm(units) if wanted else nn.Identity()


class Encoder(nn.Module):
    """Frames uint8 or float in 0..255 (B, channels, H, W) -> features (B, feature_units), all of at least 0.

    With a memory it is given single frames (B * stack, colours, H, W).
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.layers = CNNS[spec.cnn]
        inputs = spec.channels if spec.memory == "none" else spec.channels // spec.stack
        height, width = spec.height_px, spec.width_px
        for number, layer in enumerate(self.layers, 1):
            setattr(self, f"conv{number}", nn.Conv2d(inputs, layer.channels, layer.kernel, stride=layer.stride))
            inputs, height, width = layer.channels, layer.size_after(height), layer.size_after(width)
        if height < 1 or width < 1:
            raise NetworkError(
                f"camera: got frames of {spec.width_px}x{spec.height_px} pixels, "
                f"allowed with cnn: {spec.cnn}: {smallest_frame_px(spec.cnn)} or more each way"
            )
        self.dense = nn.Linear(inputs * height * width, spec.feature_units)
        self.norm = _norm(spec.feature_units, spec.layer_norm)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.convolved(frames)
        return torch.relu_(self.norm(self.dense(x.flatten(1))))  # (B, F)

    def convolved(self, frames: Tensor) -> Tensor:
        """What the last convolution gives (B, channels, h, w)."""
        # conv1 of frames / 255 - 0.5, with the scaling folded into its few weights instead of the many pixels
        first = self.conv1
        weight = first.weight / 255.0
        bias = first.bias - 0.5 * first.weight.sum(dim=(1, 2, 3))
        x = F.conv2d(frames.float(), weight, bias, stride=first.stride)
        for number, layer in enumerate(self.layers, 1):
            x = torch.relu_(x if number == 1 else getattr(self, f"conv{number}")(x))
            if layer.pooled:
                x = F.max_pool2d(x, 2)
        return x


def smallest_frame_px(cnn: str) -> int:
    """The least height and width from which a CNN has anything left at its end."""

    def left(size: int) -> int:
        for layer in CNNS[cnn]:
            size = layer.size_after(size)
        return size

    return next(size for size in range(8, 1000) if left(size) >= 1)


class Memory(nn.Module):
    """A GRU or LSTM over the features of each frame (B, stack, feature_units) -> its last output (B, memory_units)."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[spec.memory]
        self.cell = kind(spec.feature_units, spec.memory_units, batch_first=True)

    def forward(self, features: Tensor) -> Tensor:
        return self.cell(features)[0][:, -1]


def _encoder_and_memory(spec: NetworkSpec) -> tuple[Encoder | None, Memory | None]:
    if spec.cnn == "none":
        return None, None
    return Encoder(spec), Memory(spec) if spec.memory != "none" else None


def _features(encoder: Encoder | None, memory: Memory | None, frames: Tensor) -> Tensor:
    """Frames (B, stack * colours, H, W) -> (B, encoded_units), the CNN being time-distributed before a memory."""
    batch = len(frames)
    if encoder is None:
        return torch.zeros((batch, 0), device=frames.device)
    if memory is None:
        return encoder(frames)
    colors = encoder.conv1.in_channels
    single = frames.reshape(-1, colors, *frames.shape[2:])  # (B * stack, colours, H, W)
    return memory(encoder(single).reshape(batch, -1, encoder.dense.out_features))


def _joined(*parts: Tensor) -> Tensor:
    """Parts (B, n) side by side, without a copy where only one has anything."""
    held = [part for part in parts if part.shape[1] > 0]
    return held[0] if len(held) == 1 else torch.cat(held, dim=1)


class Head(nn.Module):
    """Inputs (B, n) -> (B, out) through one hidden layer, or two where there is no CNN, with layer norm by param."""

    def __init__(self, inputs: int, outputs: int, spec: NetworkSpec) -> None:
        super().__init__()
        self.first: nn.Module | None = None
        if spec.cnn == "none":
            self.first = nn.Linear(inputs, spec.feature_units)
            self.first_norm = _norm(spec.feature_units, spec.layer_norm)
            inputs = spec.feature_units
        self.hidden = nn.Linear(inputs, spec.hidden_units)
        self.norm = _norm(spec.hidden_units, spec.layer_norm)
        self.out = nn.Linear(spec.hidden_units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.first is not None:
            x = torch.relu_(self.first_norm(self.first(x)))
        return self.out(torch.relu_(self.norm(self.hidden(x))))


class Actor(nn.Module):
    """pi(s): features and state -> action before its tanh (B, action_size).

    With `encoder: separate` it owns a CNN (and memory); with `encoder: critic` it is given the critic's features,
    detached.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        own = spec.encoder == "separate"
        self.encoder, self.memory = _encoder_and_memory(spec) if own else (None, None)
        self.head = Head(spec.encoded_units + spec.state_size, spec.action_size, spec)
        with torch.no_grad():  # begins near zero action, far from the tanh's flat ends
            self.head.out.weight.mul_(spec.actor_init_scale)
            self.head.out.bias.mul_(spec.actor_init_scale)

    def features(self, frames: Tensor) -> Tensor:
        return _features(self.encoder, self.memory, frames)

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        return self.head(_joined(features, state))


class Critic(nn.Module):
    """Q1 and Q2 on one encoder: features, state and action -> two values (B,); twice Q1 where it is the only one."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.encoder, self.memory = _encoder_and_memory(spec)
        inputs = spec.encoded_units + spec.state_size + spec.action_size
        self.q1 = Head(inputs, 1, spec)
        self.q2 = Head(inputs, 1, spec) if spec.critics == 2 else None

    def features(self, frames: Tensor) -> Tensor:
        return _features(self.encoder, self.memory, frames)

    def forward(self, features: Tensor, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = _joined(features, state, action)
        q1 = self.q1(x).squeeze(1)
        return q1, q1 if self.q2 is None else self.q2(x).squeeze(1)

    def first(self, features: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Q1 alone (B,), which is all that the actor's loss takes."""
        return self.q1(_joined(features, state, action)).squeeze(1)


def load_weights(actor: Actor, critic: Critic, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put the state dictionaries `actor` and `critic` of `weights` in place; raises NetworkError if they do not fit."""
    try:
        actor.load_state_dict(weights["actor"])
        critic.load_state_dict(weights["critic"])
    except (KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise NetworkError(f"the weights are of another network: {first}") from error
