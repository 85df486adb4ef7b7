"""What the clip and its measures cost: our update beside the same update with a bare optimiser, in turns.

    python -m benchmarks.clipping_cost [--rounds 30] [--batch 256] [--threads 1] [--record]

Three agents of params.yaml take the same updates on the same images: `measured` is ours, with |update| / |weights| and
the layers' norms in every tenth update as train logs them; `clipped` only calls clip_grad_norm_ per group; `bare`
neither clips nor measures. A round is ten updates each, in an order that changes by the round. CPU time of the
process, so that what else the machine does hardly counts; the ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from benchmarks.runs import markdown_table, store_table
from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.norms import GroupNorms
from clipdrive.agents.td3 import TD3, Batch
from clipdrive.params import load_params

UPDATES = 10  # of a round, the last of them measured in detail, as `train.log_every_updates` has it


class PlainOptimizer:
    """The interface of ClippedOptimizer without a measure: a clip per group, or not even that."""

    def __init__(self, optimizer: torch.optim.Optimizer, limits: dict[str, float | None]) -> None:
        self.optimizer, self.limits = optimizer, limits

    def step(self, loss: Tensor, measure_update: bool = False) -> dict[str, GroupNorms]:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.optimizer.param_groups:
            if self.limits[group["name"]] is not None:
                torch.nn.utils.clip_grad_norm_(group["params"], self.limits[group["name"]])
        self.optimizer.step()
        return {}


def agent(kind: str) -> TD3:
    params = load_params()
    frame = (3 if params.camera.color == "rgb" else 1, params.camera.height_px, params.camera.width_px)
    torch.manual_seed(0)
    spec = NetworkSpec.of(params, 3, 2, frame)
    made = TD3(spec, params, torch.device("cpu"), torch.Generator().manual_seed(0))
    if kind != "measured":
        for name in ("actor_optimizer", "critic_optimizer"):
            ours = getattr(made, name)
            groups = [{"name": g["name"], "params": g["params"]} for g in ours.optimizer.param_groups]
            plain = torch.optim.Adam(groups, lr=ours.optimizer.defaults["lr"], fused=True)
            limits = {g["name"]: ours.rules[g["name"]].limit if kind == "clipped" else None for g in groups}
            setattr(made, name, PlainOptimizer(plain, limits))
    return made


def batch_of(made: TD3, size: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    spec = made.spec
    images = [
        torch.randint(0, 256, (size, spec.channels, spec.height_px, spec.width_px), generator=generator)
        for _ in range(2)
    ]
    normal = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    return Batch(
        frames=images[0].to(torch.uint8),
        states=normal(size, 3),
        actions=normal(size, 2).clamp(-1.0, 1.0),
        rewards=normal(size),
        terminated=torch.zeros(size),
        next_frames=images[1].to(torch.uint8),
        next_states=normal(size, 3),
    )


def measure(rounds: int, batch_size: int) -> dict[str, list[float]]:
    """CPU seconds of an update of each kind, one number a round."""
    agents = {kind: agent(kind) for kind in ("measured", "clipped", "bare")}
    batch = batch_of(agents["measured"], batch_size)
    times: dict[str, list[float]] = {kind: [] for kind in agents}
    for number in range(rounds + 1):
        kinds = list(agents)
        for kind in kinds[number % 3 :] + kinds[: number % 3]:
            begun = time.process_time()
            for update in range(UPDATES):
                agents[kind].update(batch, measure_update=update == UPDATES - 1)
            if number > 0:  # the first round warms up
                times[kind].append((time.process_time() - begun) / UPDATES)
    return times


def rows_of(times: dict[str, list[float]]) -> list[list[str]]:
    """A kind a row: CPU milliseconds of an update, and by how much `measured` costs more."""

    def over(kind: str) -> str:
        ratio = statistics.median(a / b for a, b in zip(times["measured"], times[kind], strict=True))
        return f"{ratio - 1.0:+.1%}"

    return [
        [kind, f"{1e3 * statistics.median(seconds):.1f}", "" if kind == "measured" else over(kind)]
        for kind, seconds in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write benchmarks/records/clipping-cost.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    header = ["update", "CPU ms an update", "measured costs"]
    rows = rows_of(measure(options.rounds, options.batch))
    print(markdown_table(header, rows))
    if options.record:
        store_table("clipping-cost", header, rows)


if __name__ == "__main__":
    main()
