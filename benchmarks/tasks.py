"""Known tasks: learning curves of this project's agents beside Stable-Baselines3's TD3 of the same settings.

`python -m benchmarks.tasks` goes through every task, agent and seed, one thread a run, and prints the tables; each run
leaves a record in `benchmarks/records`, and a command that was stopped goes on behind the last one. `--tasks`,
`--agents` and `--seeds` choose some, `--table` prints what is recorded and runs nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.runs import machine, markdown_table, params_with, store, stored, whole_numbers
from clipdrive.agents.device import prepare_torch
from clipdrive.experience.collect import collect
from clipdrive.params import Params
from clipdrive.tasks.gymnasium_task import GymnasiumTask
from clipdrive.training.checkpoint import state_folder
from clipdrive.training.evaluation import evaluate
from clipdrive.training.task_evaluation import EVALUATE, START_SEED, drive_episode
from clipdrive.training.train import train

PLAIN = {  # TD3 as published: none of what this project adds. Every number that counts, for the records' hash
    "algorithm": "td3",
    "gamma": 0.99,
    "tau": 0.005,
    "policy_noise": 0.2,
    "noise_clip": 0.5,
    "policy_delay": 2,
    "n_step": 1,
    "replay": "uniform",
    "cnn": "none",
    "mirror": False,
    "layer_norm": False,
    "saturation_penalty": 0.0,
    "actor_init_scale": 1.0,
    "lr_constant_share": 1.0,
    "exploration_noise": 0.1,
    "exploration_noise_end": 0.1,
    "clip.actor_head": "none",
    "clip.critic_head": "none",
    "evaluate.starts": 10,
    "train.updates_before_driving": 0,
    "train.updates_per_step": 1.0,
    "train.memory_steps": 200000,
    "train.torch_threads": 1,
    "train.log_every_updates": 100,
}
AUTHORS_CODE = {"actor_lr": 3e-4, "critic_lr": 3e-4, "batch_size": 256, "feature_units": 256, "hidden_units": 256}
PAPER = {"actor_lr": 1e-3, "critic_lr": 1e-3, "batch_size": 100, "feature_units": 400, "hidden_units": 300}


def budget(random_steps: int, steps: int, every: int) -> dict[str, int]:
    """Steps of random actions, steps in all, and from one evaluation to the next."""
    return {
        "collect.steps": random_steps,
        "train.env_steps": steps - random_steps,
        "train.snapshot_every_steps": every,
        "train.checkpoint_every_steps": every,
    }


TASKS = {
    "Pendulum-v1": AUTHORS_CODE | budget(1000, 15000, 1000),
    "InvertedPendulum-v5": PAPER | budget(1000, 25000, 4000),
    "InvertedDoublePendulum-v5": PAPER | budget(1000, 25000, 4000),
    "HalfCheetah-v5": PAPER | budget(10000, 100000, 10000),
}
# How many of the last evaluations the best is taken of, or the steps at which the evaluation counts.
LAST = {"Pendulum-v1": 5, "InvertedPendulum-v5": 3, "InvertedDoublePendulum-v5": 3}
AT = {"HalfCheetah-v5": (50000, 100000)}
LEAST = {  # what a right td3 reaches, as the median of its seeds, in the first of these numbers
    "Pendulum-v1": -250.0,
    "InvertedPendulum-v5": 1000.0,
    "InvertedDoublePendulum-v5": 9200.0,
    "HalfCheetah-v5": 1578.0,  # the worst of the ten seeds that TD3's authors published
}
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262}  # 95 %, two-sided, by the number of seeds
AGENTS = {
    "td3": {},
    "sb3-td3": {},
    "mpg": {"algorithm": "mpg"},
    "ddpg": {"algorithm": "ddpg"},
    "mpg-sample": {"algorithm": "mpg", "mpg_delta": "sample"},
    "td3-clipped": {"clip.actor_head": 1.0, "clip.critic_head": 10.0},
}
SEEDS = (0, 1, 2)


def recorded(task: str, agent: str, seed: int, only_look: bool = False) -> dict[str, Any] | None:
    """The record of one run, made now unless one of the same params stands already."""
    name = f"tasks-{task}-{agent}-seed{seed}"
    changes = {"task": task, "seed": seed} | PLAIN | TASKS[task] | AGENTS[agent]
    params = params_with(changes)
    key = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:16]
    record = stored(name)
    if record and record["params_hash"] == key:
        return record
    if only_look:
        return None
    print(f"== {name}", flush=True)
    begun = time.perf_counter(), time.process_time()
    curve, certificate = (_stable_baselines if agent.startswith("sb3-") else _ours)(name, params)
    record = {
        "name": name,
        "params_hash": key,
        "changes": changes,
        "machine": machine(),
        "wall_s": round(time.perf_counter() - begun[0], 1),
        "cpu_s": round(time.process_time() - begun[1], 1),
        "curve": curve,  # steps driven in all -> mean return of the evaluation
        "certificate": certificate,
    }
    store(name, record)
    return record


def _ours(name: str, params: Params) -> tuple[dict[str, float], dict[str, Any]]:
    import pandas as pd

    folder = state_folder() / "benchmarks" / name
    folder.mkdir(parents=True, exist_ok=True)
    collect(params, folder / "episodes", folder / "pictures" / "none.png")
    metrics = train(params, folder / "episodes", folder / "agent", folder / "run")
    evaluate(params, folder / "agent", folder / "evaluation")
    rows = pd.read_csv(folder / "evaluation" / "episodes.csv")
    rows = rows[(rows["driver"] == "agent") & rows["env_step"].notna()]
    by_age = rows.groupby("env_step")["return"].mean()
    shutil.rmtree(folder)
    curve = {str(int(steps) + params.collect.steps): round(float(mean), 3) for steps, mean in by_age.items()}
    watched = {"q_abs_max": metrics["q"]["abs_max"], "dead_actor_updates": metrics["actor"]["dead_updates"]}
    return curve, metrics["certificate"] | watched


def _stable_baselines(name: str, params: Params) -> tuple[dict[str, float], None]:
    """Stable-Baselines3's TD3 with the same settings, evaluated after the same steps from the same start states."""
    import gymnasium
    from stable_baselines3 import TD3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise

    prepare_torch(params.train.torch_threads)
    judge = GymnasiumTask(params, EVALUATE, START_SEED)
    curve: dict[str, float] = {}

    class Actor:
        def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
            action, _ = model.predict(observation["state"], deterministic=True)
            return model.policy.scale_action(action)

    class Curve(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:  # the update of the step before is done
            driven = self.num_timesteps - params.collect.steps
            if driven > 0 and driven % params.train.snapshot_every_steps == 0:
                note()

    def note() -> None:
        returns = [drive_episode(judge, Actor(), episode)["return"] for episode in range(params.evaluate.starts)]
        curve[str(model.num_timesteps)] = round(float(np.mean(returns)), 3)

    env = gymnasium.make(params.task)
    size = env.action_space.shape[0]
    model = TD3(
        "MlpPolicy",
        env,
        learning_rate=params.actor_lr,
        buffer_size=params.train.memory_steps,
        learning_starts=params.collect.steps,
        batch_size=params.batch_size,
        tau=params.tau,
        gamma=params.gamma,
        train_freq=1,
        gradient_steps=1,
        action_noise=NormalActionNoise(np.zeros(size), np.full(size, params.exploration_noise)),
        policy_delay=params.policy_delay,
        target_policy_noise=params.policy_noise,
        target_noise_clip=params.noise_clip,
        policy_kwargs={"net_arch": [params.feature_units, params.hidden_units]},
        seed=params.seed,
        device="cpu",
    )
    model.learn(params.collect.steps + params.train.env_steps, callback=Curve())
    note()
    return curve, None


def criteria(task: str, curve: dict[str, float]) -> list[float]:
    """The numbers by which the task is judged: the best of the last evaluations, or those at given steps."""
    if task in LAST:
        return [max(list(curve.values())[-LAST[task] :])]
    return [curve[str(steps)] for steps in AT[task]]


def table(task: str, agents: list[str], seeds: list[int]) -> str:
    """What is recorded of a task, an agent a row, and whether td3 reaches what it should."""
    named = [f"best of the last {LAST[task]}"] if task in LAST else [f"at {steps:,}" for steps in AT[task]]
    rows, reached = [], {}
    for agent in agents:
        records = [recorded(task, agent, seed, only_look=True) for seed in seeds]
        records = [record for record in records if record is not None]
        if not records:
            continue
        reached[agent] = list(zip(*(criteria(task, record["curve"]) for record in records), strict=True))
        cells = [cell for values in reached[agent] for cell in (_median_and_each(values), _interval(values))]
        seconds = statistics.mean(record["cpu_s"] for record in records)
        rows.append([agent, str(len(records)), *cells, f"{seconds:.0f}"])
    pairs = [cell for name in named for cell in (f"{name}: median (each)", "mean, 95 %")]
    return "\n".join([markdown_table([task, "seeds", *pairs, "CPU, s"], rows), *_verdicts(task, named, reached)])


def _median_and_each(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.0f} ({' / '.join(f'{value:.0f}' for value in values)})"


def _interval(values: tuple[float, ...]) -> str:
    if len(values) not in STUDENT_T:
        return "-"
    half = STUDENT_T[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.0f} +- {half:.0f}"


def _verdicts(task: str, named: list[str], reached: dict[str, list[tuple[float, ...]]]) -> list[str]:
    if "td3" not in reached:
        return []
    first = statistics.median(reached["td3"][0])
    holds = "yes" if first >= LEAST[task] else "NO"
    lines = [f"td3, {named[0]}: median {first:.0f}, at least {LEAST[task]:.0f} asked: {holds}"]
    for name, ours, theirs in zip(named, reached["td3"], reached.get("sb3-td3", []), strict=False):
        behind = statistics.mean(theirs) - statistics.mean(ours)
        spread = max(theirs) - min(theirs)
        holds = "yes" if behind <= spread else "NO"
        lines.append(f"td3, {name}: {behind:.0f} behind Stable-Baselines3, whose seeds spread by {spread:.0f}: {holds}")
    for agent in ("mpg", "mpg-sample", "ddpg"):
        for name, ours, theirs in zip(named, reached.get(agent, []), reached["td3"], strict=False):
            if min(len(ours), len(theirs)) in STUDENT_T:
                lines.append(f"{agent} against td3, {name}: {against(ours, theirs)}")
    return lines


def against(ours: tuple[float, ...], theirs: tuple[float, ...]) -> str:
    """The difference of two means with its 95 % interval, and whether these seeds tell them apart.

    Student's t with the degrees of freedom of the smaller sample alone: never narrower than Welch's interval.
    """
    difference = statistics.mean(ours) - statistics.mean(theirs)
    samples = [ours, theirs]
    error = sum(statistics.variance(sample) / len(sample) for sample in samples) ** 0.5
    half = STUDENT_T[min(map(len, samples))] * error
    verdict = "not told apart" if abs(difference) <= half else "better" if difference > 0 else "worse"
    return f"{difference:+.0f} +- {half:.0f}: {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tasks", description=__doc__)
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated (default: all)")
    parser.add_argument("--agents", default=",".join(AGENTS), help="comma-separated (default: all)")
    parser.add_argument("--seeds", type=whole_numbers, default=SEEDS, help="comma-separated (default 0,1,2)")
    parser.add_argument("--table", action="store_true", help="print what is recorded, run nothing")
    arguments = parser.parse_args()
    tasks, agents = arguments.tasks.split(","), arguments.agents.split(",")
    os.environ.setdefault("CLIPDRIVE_DEVICE", "cpu")
    os.environ.setdefault("CLIPDRIVE_WORKERS", "1")
    for task in tasks:
        for agent in agents:
            for seed in arguments.seeds:
                recorded(task, agent, seed, only_look=arguments.table)
        print(table(task, agents, arguments.seeds), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
