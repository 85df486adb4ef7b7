"""The networks: a CNN encoder for stacked frames, and the heads of actor and critics on its features.

Encoder as in Mnih et al. 2016 (16 8x8/4, 32 4x4/2, dense), with layer norm behind the dense layer by param.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NetworkError(ValueError):
    """The frames are too small for the encoder, or weights do not fit the network."""


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

    @classmethod
    def of(cls, params: Any, state_size: int, action_size: int) -> NetworkSpec:
        colors = 3 if params.camera.color == "rgb" else 1
        return cls(
            channels=params.camera.stack * colors,
            height_px=params.camera.height_px,
            width_px=params.camera.width_px,
            state_size=state_size,
            action_size=action_size,
            encoder=params.encoder,
            feature_units=params.feature_units,
            hidden_units=params.hidden_units,
            layer_norm=params.layer_norm,
            actor_init_scale=params.actor_init_scale,
        )

    def as_values(self) -> dict[str, Any]:
        return asdict(self)


def _norm(units: int, wanted: bool) -> nn.Module:
    return nn.LayerNorm(units) if wanted else nn.Identity()


class Encoder(nn.Module):
    """Frames uint8 or float in 0..255 (B, channels, H, W) -> features (B, feature_units), all of at least 0."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(spec.channels, 16, 8, stride=4)
        self.conv2 = nn.Conv2d(16, 32, 4, stride=2)
        height, width = (((size - 8) // 4 + 1 - 4) // 2 + 1 for size in (spec.height_px, spec.width_px))
        if height < 1 or width < 1:
            raise NetworkError(
                f"camera: got frames of {spec.width_px}x{spec.height_px} pixels, allowed: 20x20 or more"
            )
        self.dense = nn.Linear(32 * height * width, spec.feature_units)
        self.norm = _norm(spec.feature_units, spec.layer_norm)

    def forward(self, frames: Tensor) -> Tensor:
        # conv1 of frames / 255 - 0.5, with the scaling folded into its few weights instead of the many pixels
        weight = self.conv1.weight / 255.0
        bias = self.conv1.bias - 0.5 * self.conv1.weight.sum(dim=(1, 2, 3))
        x = torch.relu(F.conv2d(frames.float(), weight, bias, stride=4))  # (B, 16, h, w)
        x = torch.relu(self.conv2(x))  # (B, 32, h, w)
        return torch.relu(self.norm(self.dense(x.flatten(1))))  # (B, F)


class Head(nn.Module):
    """Inputs (B, n) -> (B, out) through one hidden layer with layer norm by param."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layer_norm: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.norm = _norm(hidden, layer_norm)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.norm(self.hidden(x))))


class Actor(nn.Module):
    """pi(s): features and state -> action before its tanh (B, action_size).

    With `encoder: separate` it owns a CNN; with `encoder: critic` it is given the critic's features, detached.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.encoder = Encoder(spec) if spec.encoder == "separate" else None
        self.head = Head(
            spec.feature_units + spec.state_size, spec.hidden_units, spec.action_size, spec.layer_norm
        )
        with torch.no_grad():  # begins near zero action, far from the tanh's flat ends
            self.head.out.weight.mul_(spec.actor_init_scale)
            self.head.out.bias.zero_()

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        return self.head(torch.cat([features, state], dim=1))


class Critic(nn.Module):
    """Q1 and Q2 on one encoder: features, state and action -> two values (B,)."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.encoder = Encoder(spec)
        inputs = spec.feature_units + spec.state_size + spec.action_size
        self.q1 = Head(inputs, spec.hidden_units, 1, spec.layer_norm)
        self.q2 = Head(inputs, spec.hidden_units, 1, spec.layer_norm)

    def forward(self, features: Tensor, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([features, state, action], dim=1)
        return self.q1(x).squeeze(1), self.q2(x).squeeze(1)

    def first(self, features: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Q1 alone (B,), which is all that the actor's loss takes."""
        return self.q1(torch.cat([features, state, action], dim=1)).squeeze(1)
