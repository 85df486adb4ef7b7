"""What makes more of each sample: a mirror, and a random shift of images as in DrQ (Kostrikov et al. 2020)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from clipdrive.agents.td3 import Batch

STEER = 0  # its place in an action
LAST_STEER = 1  # its place in a state
OFFSET, HEADING_ERROR, BEAMS = 3, 4, 5  # with `observation: state`; the beams from there on, left to right
TURN_LEFT, TURN_RIGHT = (3, 4, 5), (9, 10, 11)  # with `route_command: true`


def mirrored(batch: Batch, commanded: bool = False) -> Batch:
    """The batch with the first half of its samples seen in a mirror: frames flipped, steering negated, sides swapped.

    `commanded`: behind speed and last action the states have a route command. Right for a task that looks the same from
    both sides of the road: the rewards stay. Samples are drawn independently,
    so the first half is as good as a random one.
    """
    half = len(batch.rewards) // 2

    def flipped(frames: Tensor) -> Tensor:
        return torch.cat([frames[:half].flip(-1), frames[half:]])

    def negated(values: Tensor, column: int) -> Tensor:
        values = values.clone()
        values[:half, column] *= -1.0
        return values

    def swapped(states: Tensor) -> Tensor:
        states = negated(states, LAST_STEER)
        if commanded:
            states[:half, [*TURN_LEFT, *TURN_RIGHT]] = states[:half, [*TURN_RIGHT, *TURN_LEFT]]
        elif states.shape[1] > BEAMS:
            states[:half, [OFFSET, HEADING_ERROR]] *= -1.0
            states[:half, BEAMS:] = states[:half, BEAMS:].flip(1)
        return states

    return replace(
        batch,
        frames=flipped(batch.frames),
        next_frames=flipped(batch.next_frames),
        states=swapped(batch.states),
        next_states=swapped(batch.next_states),
        actions=negated(batch.actions, STEER),
    )


def random_shift(frames: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Shift each sample of frames (B, C, H, W) by whole pixels in -pixels..pixels, edges repeated; dtype kept."""
    batch, channels, height, width = frames.shape
    padded = F.pad(frames.float(), (pixels,) * 4, mode="replicate").to(frames.dtype)
    offsets = torch.randint(0, 2 * pixels + 1, (2, batch), generator=generator, device=frames.device)
    rows = offsets[0][:, None] + torch.arange(height, device=frames.device)  # (B, H)
    columns = offsets[1][:, None] + torch.arange(width, device=frames.device)  # (B, W)
    index = torch.arange(batch, device=frames.device)[:, None, None]
    shifted = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return shifted.permute(0, 3, 1, 2).contiguous()
