"""One TD3 update on images beside Stable-Baselines3's, and beside the rate of its layers one by one.

`python -m benchmarks.update_speed` prints a table: the Nature CNN on 4x84x84 frames, separate encoders for actor and
critic, both critics on one, one hidden layer a head; the same sizes, batches and float32 arithmetic on both sides.
Sampling from the memory is part of an update, on both sides. Each round runs the peers in the other order.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import TD3 as PeerTD3
from stable_baselines3.common.logger import Logger
from torch import Tensor

from benchmarks.runs import markdown_table, params_with
from clipdrive.agents.device import prepare_torch
from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.td3 import TD3, Batch
from clipdrive.experience.memory import ReplayMemory

STACK, SIZE_PX, ACTIONS, STORED = 4, 84, 6, 3000
UPDATES = 4  # a call: two cycles of the policy delay


class _Blank(gymnasium.Env):
    observation_space = spaces.Box(0, 255, (STACK, SIZE_PX, SIZE_PX), np.uint8)
    action_space = spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)


def ours(batch_size: int, limited: bool) -> Callable[[], None]:
    limits = {"actor_cnn": 1.0, "actor_head": 1.0, "critic_cnn": 10.0, "critic_head": 10.0}
    clip = {f"clip.{name}": limit if limited else "none" for name, limit in limits.items()}
    plain = {"layer_norm": False, "mirror": False, "saturation_penalty": 0.0, "encoder": "separate", "cnn": "nature"}
    sizes = {"feature_units": 512, "hidden_units": 256, "camera.stack": STACK, "batch_size": batch_size}
    params = params_with(plain | sizes | clip)
    torch.manual_seed(0)
    spec = NetworkSpec.of(params, state_size=0, action_size=ACTIONS)
    agent = TD3(spec, params, torch.device("cpu"), torch.Generator().manual_seed(0))
    memory = ReplayMemory(STORED + 2, (1, SIZE_PX, SIZE_PX), 0, ACTIONS, STACK)
    rng = np.random.default_rng(0)
    nothing = np.zeros(0, np.float32)
    memory.begin(_frame(rng), nothing)
    for _ in range(STORED):
        memory.add(rng.uniform(-1, 1, ACTIONS).astype(np.float32), rng.normal(), False, _frame(rng), nothing)

    def update() -> None:
        for _ in range(UPDATES):
            drawn = memory.sample(batch_size, rng)
            names = (name for name, field in Batch.__dataclass_fields__.items() if field.default is not None)
            agent.update(Batch(**{name: torch.from_numpy(getattr(drawn, name)) for name in names}))

    return update


def peer(batch_size: int) -> Callable[[], None]:
    policy = {"net_arch": [256], "share_features_extractor": False}
    model = PeerTD3("CnnPolicy", _Blank(), buffer_size=STORED, batch_size=batch_size, policy_kwargs=policy, seed=0)
    model.set_logger(Logger(None, []))
    rng, buffer = np.random.default_rng(0), model.replay_buffer
    buffer.observations = rng.integers(0, 256, buffer.observations.shape, np.uint8)
    buffer.next_observations = rng.integers(0, 256, buffer.next_observations.shape, np.uint8)
    buffer.actions = rng.uniform(-1, 1, buffer.actions.shape).astype(np.float32)
    buffer.rewards = rng.normal(size=buffer.rewards.shape).astype(np.float32)
    buffer.full = True
    return lambda: model.train(gradient_steps=UPDATES, batch_size=batch_size)


def _frame(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (1, SIZE_PX, SIZE_PX), np.uint8)


def layers_alone_ms(batch_size: int, repeats: int) -> float:
    """The time of an update made of its layers one by one, each at its better memory layout, best of `repeats`.

    Per update: forward of both target encoders, of the critic's and, every other time, of the actor's and the critic's
    again; backward of the critic's and, every other time, of the actor's; no gradient for the pixels.
    """
    layers = [  # input, weights, stride
        ((STACK, 84, 84), (32, STACK, 8, 8), 4),
        ((32, 20, 20), (64, 32, 4, 4), 2),
        ((64, 9, 9), (64, 64, 3, 3), 1),
        ((3136,), (512, 3136), None),
    ]
    total = 0.0
    for number, (shape, weights, stride) in enumerate(layers):
        forward, both = zip(
            *(_layer_ms(batch_size, shape, weights, stride, number > 0, form, repeats) for form in _layouts(stride)),
            strict=True,
        )
        forwards, trained = 2.0 + 0.5, 1.0 + 0.5
        total += forwards * min(forward) + trained * min(both)
    return total


def _layouts(stride: int | None) -> Sequence[torch.memory_format]:
    return [torch.contiguous_format] if stride is None else [torch.contiguous_format, torch.channels_last]


def _layer_ms(
    batch: int, shape: tuple, weights: tuple, stride: int | None, inner: bool, form: torch.memory_format, repeats: int
) -> tuple[float, float]:
    x = torch.randn(batch, *shape).to(memory_format=form).requires_grad_(inner)
    weight = torch.randn(weights).to(memory_format=form).requires_grad_(True)

    def forward() -> Tensor:
        return torch.nn.functional.linear(x, weight) if stride is None else torch.conv2d(x, weight, stride=stride)

    def both() -> None:
        y = forward()
        y.backward(torch.ones_like(y))

    with torch.no_grad():
        alone = min(_ms(forward) for _ in range(repeats))
    return alone, min(_ms(both) for _ in range(repeats))


def _ms(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update_speed", description=__doc__)
    parser.add_argument("--batches", default="256,100", help="comma-separated batch sizes (default 256,100)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds in turns (default 7)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    arguments = parser.parse_args()
    prepare_torch(arguments.threads)
    rows = []
    for batch in map(int, arguments.batches.split(",")):
        calls = {"clipdrive": ours(batch, True), "no limits": ours(batch, False), "Stable-Baselines3": peer(batch)}
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(arguments.rounds + 1):
            for name in sorted(calls, reverse=number % 2 == 1):
                ms = _ms(calls[name]) / UPDATES
                if number > 0:  # the first round warms up
                    taken[name].append(ms)
        limit = layers_alone_ms(batch, arguments.rounds)
        for name, times in taken.items():
            median = statistics.median(times)
            ratio = statistics.median(b / a for a, b in zip(times, taken["Stable-Baselines3"], strict=True))
            cells = [f"{batch}", f"{median:.1f}", f"{min(times):.1f}", f"{1000 / median:.2f}", f"{ratio:.2f}"]
            rows.append([name, *cells, f"{100 * limit / min(times):.0f} %"])
    header = ["update", "batch", "ms, median", "ms, best", "updates/s", "x Stable-Baselines3", "of its layers alone"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
