"""The bootstrap targets, one function an algorithm: what an agent's critics learn towards."""

from __future__ import annotations

import torch
from torch import Tensor


def smoothed_action(action: Tensor, noise: Tensor, noise_clip: float) -> Tensor:
    """clip(pi'(s') + clip(eps, -c, c), -1, 1), for actions and noise of shape (B, A); TD3, equation 14."""
    return (action + noise.clamp(-noise_clip, noise_clip)).clamp(-1.0, 1.0)


def td3_target(reward: Tensor, terminated: Tensor, gamma: float, q1: Tensor, q2: Tensor) -> Tensor:
    """r + gamma (1 - terminated) min(Q1', Q2'), all of shape (B,); TD3 (Fujimoto et al. 2018), algorithm 1.

    A truncated step is not terminated, and bootstraps.
    """
    return reward + gamma * (1.0 - terminated) * torch.minimum(q1, q2)
