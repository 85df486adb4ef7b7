"""Random shift of images, as in DrQ (Kostrikov et al. 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
