"""Plants each fault of a gradient clip in a small actor-critic loop, and prints the doctor's verdict on it.

    python -m benchmarks.riddle                  # every fault, and the sound loop, a line each
    python -m benchmarks.riddle "clip after step"   # one of them, with the whole verdict

The loop is written in the manner of single-file scripts: `clip_grad_norm_` is imported by name, and all that it has of
clipdrive is the watch. Its CNNs have three convolutions and a dense layer, eight tensors, as in the riddle.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import clipdrive.doctor
from clipdrive.doctor import FAULTS, Probe

ACTOR_LIMIT, CRITIC_LIMIT = 0.01, 0.1  # small ones, so that they cut
LOSS_SCALE = 1024.0


class Cnn(nn.Sequential):
    """Frames (B, 1, 20, 20) -> features (B, 16): four layers of weight and bias."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 4, 2), nn.ReLU(), nn.Conv2d(4, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
            nn.Flatten(), nn.Linear(32, 16), nn.ReLU(),
        )  # fmt: skip


class Actor(nn.Module):
    def __init__(self, cnn: Cnn) -> None:
        super().__init__()
        self.cnn, self.head = cnn, nn.Linear(16, 2)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.head(self.cnn(frames)))


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.head = Cnn(), nn.Linear(16 + 2, 1)

    def forward(self, frames: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.cnn(frames), action], 1)).squeeze(1)


@dataclass(frozen=True)
class Batch:
    frames: torch.Tensor
    actions: torch.Tensor
    targets: torch.Tensor


def batches(count: int, size: int = 16) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    rand = lambda *shape: torch.rand(shape, generator=generator)  # noqa: E731
    return [Batch(rand(size, 1, 20, 20), 2 * rand(size, 2) - 1, 5 * rand(size)) for _ in range(count)]


def run(faults: set[str], updates: int = 20, say=None) -> Probe:
    """Train for `updates` steps with the given faults planted; the probe that watched it."""
    torch.manual_seed(0)
    critic = Critic()
    shared = "shared CNN" in faults
    actor = Actor(critic.cnn if shared else Cnn())
    if "dead gradient" in faults:
        nn.init.constant_(actor.head.bias, 8.0)
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=1e-4)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
    used_up = critic.parameters()
    list(used_up)
    groups = {"actor": actor, "critic": critic}
    limits = {"actor": ACTOR_LIMIT, "critic": CRITIC_LIMIT}
    with clipdrive.doctor.watch([actor_optimizer, critic_optimizer], groups, limits, say=say) as probe:
        for update, batch in enumerate(batches(updates)):
            scale = LOSS_SCALE if "clip on scaled gradients" in faults else 1.0
            targets = batch.targets
            if "non-finite" in faults and update == 5:
                targets = targets * float("inf")
            loss = F.mse_loss(critic(batch.frames, batch.actions), targets)
            if "gradients left over from another loss" not in faults:
                critic_optimizer.zero_grad()
            (loss * scale).backward()
            shown = None
            if "clip after step" not in faults:
                shown = clip_critic(critic, used_up, faults)
            if "backward after clip" in faults:
                critic(batch.frames, batch.actions).square().mean().backward()
            if scale != 1.0:
                for parameter in critic.parameters():
                    parameter.grad.div_(scale)
            if "norm logged before clipping" in faults:
                probe.logged("critic", float(shown))
            elif "sum of per-tensor norms" in faults:
                probe.logged("critic", sum(float(p.grad.norm()) for p in critic.parameters()))
            critic_optimizer.step()
            if "clip after step" in faults:
                clip_critic(critic, used_up, faults)

            actor_optimizer.zero_grad()
            (-critic(batch.frames, actor(batch.frames)).mean()).backward()
            clip_grad_norm_(actor.parameters(), ACTOR_LIMIT)
            actor_optimizer.step()
    return probe


def clip_critic(critic: Critic, used_up: object, faults: set[str]) -> torch.Tensor | None:
    if "exhausted generator" in faults:
        return clip_grad_norm_(used_up, CRITIC_LIMIT)
    if "stepped but not clipped" in faults:
        return clip_grad_norm_(critic.head.parameters(), CRITIC_LIMIT)
    if "limit per layer" in faults:
        for layer in itertools.chain(critic.cnn, [critic.head]):
            if list(layer.parameters()):
                clip_grad_norm_(layer.parameters(), CRITIC_LIMIT)
        return None
    if "limit on values" in faults:
        return clip_grad_value_(critic.parameters(), CRITIC_LIMIT)
    return clip_grad_norm_(critic.parameters(), CRITIC_LIMIT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", nargs="?", choices=list(FAULTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.fault:
        run({options.fault}, say=print)
        return
    for fault in [None, *FAULTS]:
        probe = run({fault} if fault else set())
        print(f"{fault or 'nothing planted'}\n    -> {'; '.join(map(str, probe.findings)) or 'sound'}")


if __name__ == "__main__":
    main()
