"""One TD3 update beside the peers', and on images beside the rate of its layers one by one.

`python -m benchmarks.update_speed` prints the table of images: the Nature CNN on 4x84x84 frames, separate encoders for
actor and critic, both critics on one, one hidden layer a head. `--of shared`: one encoder, the critic's, on which the
actor drives (`encoder: critic`), which no peer has. `--of vectors`: state vectors of 17 numbers, two hidden layers of
256. The same sizes, batches and float32 arithmetic on all sides; sampling from the memory is part of an update. Each
contender has a process of its own, for its memory allocator's settings are the process's; they work in turns, each
round in the other order. `measured` is with limits, certificate and train's watch and log; `no limits` clips nothing,
but the optimiser's hook measures all the same. `sampling alone` is what the memory takes of `measured`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import TD3 as PeerTD3
from stable_baselines3.common.logger import Logger
from torch import Tensor

from benchmarks.runs import markdown_table, params_with, store_table
from benchmarks.update_loops import author_loop, cleanrl_loop
from clipdrive.agents.device import prepare_torch
from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.td3 import TD3, Batch
from clipdrive.experience.memory import ReplayMemory
from clipdrive.training.metrics import UpdateMeter

STACK, SIZE_PX, NUMBERS, ACTIONS, HIDDEN, STORED = 4, 84, 17, 6, 256, 3000
_FRAMES = (SIZE_PX, 0, STACK)
SHAPES = {"images": _FRAMES, "shared": _FRAMES, "vectors": (0, NUMBERS, 1)}  # side of a frame in px, numbers, stack
UPDATES = {"images": 4, "shared": 4, "vectors": 50}  # a call: whole cycles of the policy delay
ENCODED = {"images": (2.5, 1.5), "shared": (1.0, 1.0)}  # forward passes alone and with their backward, an update
LOG_EVERY = 10  # updates, as train does by default
SAMPLING = "sampling alone"
OWN = ("measured", "no limits", SAMPLING)
PEER = "Stable-Baselines3"
PEERS = {"images": (PEER,), "shared": (), "vectors": (PEER, "authors' loop", "CleanRL's loop")}
LIMITS = {"actor_cnn": 1.0, "actor_head": 1.0, "critic_cnn": 10.0, "critic_head": 10.0}
PLAIN = {"layer_norm": False, "mirror": False, "saturation_penalty": 0.0, "hidden_units": HIDDEN}
IMAGES = {"encoder": "separate", "cnn": "nature", "feature_units": 512, "camera.stack": STACK}
VECTORS = {"observation": "state", "cnn": "none", "feature_units": HIDDEN}
NETWORKS = {"images": IMAGES, "shared": IMAGES | {"encoder": "critic"}, "vectors": VECTORS}


class _Blank(gymnasium.Env):
    action_space = spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)

    def __init__(self, of: str) -> None:
        images = spaces.Box(0, 255, (STACK, SIZE_PX, SIZE_PX), np.uint8)
        self.observation_space = spaces.Box(-9.0, 9.0, (NUMBERS,), np.float32) if of == "vectors" else images


def ours(of: str, batch_size: int, limited: bool) -> Callable[[], None]:
    clip = {f"clip.{name}": limit if limited else "none" for name, limit in LIMITS.items()}
    params = params_with(PLAIN | NETWORKS[of] | clip | {"batch_size": batch_size})
    size_px, numbers, _ = SHAPES[of]
    torch.manual_seed(0)
    spec = NetworkSpec.of(params, numbers, ACTIONS, (1, size_px, size_px))
    agent = TD3(spec, params, torch.device("cpu"), torch.Generator().manual_seed(0))
    meter, sample = UpdateMeter(1e9), sampling(of, batch_size)

    def update() -> None:
        for _ in range(UPDATES[of]):
            batch = sample()
            logged = limited and (agent.updates + 1) % LOG_EVERY == 0
            made = agent.update(batch, measure_update=logged)
            if limited:
                meter.add(made)

    return update


def sampling(of: str, batch_size: int) -> Callable[[], Batch]:
    """Draws a batch from a memory that is full of noise."""
    size_px, numbers, stack = SHAPES[of]
    memory, rng = ReplayMemory(STORED + 2, (1, size_px, size_px), numbers, ACTIONS, stack), np.random.default_rng(0)

    def frame() -> np.ndarray:
        return rng.integers(0, 256, (1, size_px, size_px), np.uint8)

    memory.begin(frame(), rng.normal(size=numbers))
    for _ in range(STORED):
        memory.add(rng.uniform(-1, 1, ACTIONS), rng.normal(), False, frame(), rng.normal(size=numbers))

    def sample() -> Batch:
        drawn = memory.sample(batch_size, rng)
        return Batch(**{name: torch.from_numpy(array) for name, array in vars(drawn).items()})

    return sample


def stable_baselines(of: str, batch_size: int) -> Callable[[], None]:
    name, layers = ("MlpPolicy", [HIDDEN, HIDDEN]) if of == "vectors" else ("CnnPolicy", [HIDDEN])
    policy = {"net_arch": layers, "share_features_extractor": False}
    model = PeerTD3(name, _Blank(of), buffer_size=STORED, batch_size=batch_size, policy_kwargs=policy, seed=0)
    model.set_logger(Logger(None, []))
    rng, buffer = np.random.default_rng(0), model.replay_buffer
    for array in (buffer.observations, buffer.next_observations):
        array[:] = rng.integers(0, 256, array.shape, np.uint8) if of != "vectors" else rng.normal(size=array.shape)
    buffer.actions[:] = rng.uniform(-1, 1, buffer.actions.shape)
    buffer.rewards[:] = rng.normal(size=buffer.rewards.shape)
    buffer.full = True
    return lambda: model.train(gradient_steps=UPDATES[of], batch_size=batch_size)


def _contender(name: str, of: str, batch_size: int) -> Callable[[], None]:
    if name in ("measured", "no limits"):
        return ours(of, batch_size, name == "measured")
    if name == SAMPLING:
        sample = sampling(of, batch_size)
        return lambda: [sample() for _ in range(UPDATES[of])]
    if name == PEER:
        return stable_baselines(of, batch_size)
    loop = (author_loop if name == "authors' loop" else cleanrl_loop)(NUMBERS, ACTIONS, HIDDEN, STORED)
    return lambda: [loop(batch_size) for _ in range(UPDATES[of])]


def _serve(orders: Connection, name: str, of: str, batch_size: int, threads: int) -> None:
    """Answer each order with the wall and CPU milliseconds of one update; end when the orders do."""
    if name in OWN:
        prepare_torch(threads)
    torch.set_num_threads(threads)
    call = _contender(name, of, batch_size)
    call()
    orders.send(None)
    while True:
        try:
            orders.recv()
        except EOFError:
            return
        begun = time.perf_counter(), time.process_time()
        call()
        taken = time.perf_counter() - begun[0], time.process_time() - begun[1]
        orders.send(tuple(1000.0 * seconds / UPDATES[of] for seconds in taken))


def in_turns(of: str, batch_size: int, threads: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU milliseconds of an update of each contender, one pair a round."""
    context, lines, processes = get_context("spawn"), {}, []
    names = (*OWN, *PEERS[of])
    try:
        for name in names:
            lines[name], theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, name, of, batch_size, threads), daemon=True)
            process.start()
            theirs.close()  # so that a process that fails ends the benchmark
            processes.append(process)
            lines[name].recv()
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for number in range(rounds):
            for name in sorted(names, reverse=number % 2 == 1):
                lines[name].send(True)
                taken[name].append(lines[name].recv())
    finally:
        for line in lines.values():
            line.close()
        for process in processes:
            process.terminate()
            process.join()
    return taken


def layers_alone_ms(of: str, batch_size: int, repeats: int) -> float:
    """The time of an update made of its layers one by one, each at its better memory layout, best of `repeats`.

    Per update, with separate encoders: forward of both target encoders, of the critic's and, every other time, of the
    actor's and the critic's again; backward of the critic's and, every other time, of the actor's. With one encoder:
    forward of the target, forward and backward of the critic's. No gradient for the pixels.
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
        forwards, trained = ENCODED[of]
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


def ratio(taken: dict[str, list[tuple[float, float]]], peer: str, name: str, kind: int = 0) -> float:
    """How many times as long the peer takes, the median over the rounds; kind 0 is wall time, 1 CPU time."""
    return statistics.median(b[kind] / a[kind] for a, b in zip(taken[name], taken[peer], strict=True))


def table_rows(of: str, batch: int, threads: int, rounds: int) -> list[list[str]]:
    taken = in_turns(of, batch, threads, rounds)
    limit = layers_alone_ms(of, batch, rounds) if of in ENCODED else None
    rows = []
    for name, times in taken.items():
        wall, cpu = zip(*times, strict=True)
        cells = [f"{batch}", f"{statistics.median(wall):.2f}", f"{min(wall):.2f}", f"{min(cpu):.2f}"]
        if name == SAMPLING:
            rows.append([name, *cells, f"{100 / ratio(taken, 'measured', name):.1f} % of measured", "", ""])
            continue
        ratios = [f"{ratio(taken, PEER, name, kind):.2f}" if PEER in taken else "" for kind in (0, 1)]
        share = "" if limit is None else f"{100 * limit / min(wall):.0f} %"
        rows.append([name, *cells, *ratios, share])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update_speed", description=__doc__)
    parser.add_argument("--of", choices=UPDATES, default="images", help="what is observed (default images)")
    parser.add_argument("--batches", default="256,100", help="comma-separated batch sizes (default 256,100)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds in turns (default 7)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--record", action="store_true", help="write benchmarks/records/update-speed-OF.json")
    arguments = parser.parse_args()
    prepare_torch(arguments.threads)  # for the layers alone
    batches = map(int, arguments.batches.split(","))
    rows = [row for batch in batches for row in table_rows(arguments.of, batch, arguments.threads, arguments.rounds)]
    header = ["update", "batch", "ms, median", "best", "CPU ms", f"x {PEER}, wall", "x CPU", "of its layers alone"]
    print(markdown_table(header, rows))
    if arguments.record:
        store_table(f"update-speed-{arguments.of}", header, rows)


if __name__ == "__main__":
    main()
