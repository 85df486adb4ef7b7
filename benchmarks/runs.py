"""Whole runs (collect, train, evaluate) outside DVC, each with a record in `benchmarks/records` that is committed.

A record holds the params and the agent's checksum; a run whose record has the present values of those params is not
driven again. Whether the code has changed since is seen from the checksum, which is that of `dvc.lock` where the params
are the default ones (tests/test_benchmarks.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clipdrive.experience.collect import collect
from clipdrive.params import Params, load_params, params_as_values, params_from
from clipdrive.training.checkpoint import state_folder
from clipdrive.training.evaluation import DRIVERS, evaluate
from clipdrive.training.train import train

RECORDS = Path(__file__).parent / "records"


def params_with(changes: Mapping[str, Any]) -> Params:
    """params.yaml with values changed by dotted names, as `dvc exp run -S` does."""
    values = params_as_values(load_params())
    for name, value in changes.items():
        section = values
        *parents, last = name.split(".")
        for parent in parents:
            section = section[parent]
        section[last] = value
    return params_from(values)


def recorded_run(
    name: str, changes: Mapping[str, Any], drivers: Sequence[str] = DRIVERS, only_look: bool = False
) -> dict[str, Any] | None:
    """The record of one run, driven now unless a record of the same params stands already.

    `drivers` are those that are evaluated: the follower does the same whatever the seed. With `only_look` nothing is
    driven, and None is what is not recorded.
    """
    params = params_with(changes)
    values = params_as_values(params)
    record = stored(name)
    if record and still_so(record["params"], values) and set(drivers) <= set(record["evaluate"]):
        return record
    if only_look:
        return None
    folder = state_folder() / "benchmarks" / name
    folder.mkdir(parents=True, exist_ok=True)
    print(f"== {name}", flush=True)
    begun = time.perf_counter()
    collected = collect(params, folder / "episodes", folder / "pictures" / "spawns.png")
    collect_s = time.perf_counter() - begun
    trained = train(params, folder / "episodes", folder / "agent", folder / "run")
    train_s = time.perf_counter() - begun - collect_s
    evaluated = evaluate(params, folder / "agent", folder / "evaluation", drivers)
    record = {
        "name": name,
        "changes": dict(changes),
        "params": values,
        "agent_md5": folder_md5(folder / "agent"),
        "machine": machine(),
        "wall_s": {
            "collect": round(collect_s, 1),
            "train": round(train_s, 1),
            "evaluate": round(time.perf_counter() - begun - collect_s - train_s, 1),
        },
        "collect": collected,
        "train": trained,
        "evaluate": evaluated,
    }
    store(name, record)
    shutil.rmtree(folder / "episodes")
    return record


def stored(name: str) -> dict[str, Any] | None:
    """The record of that name, where there is one."""
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def store(name: str, record: Mapping[str, Any]) -> None:
    """Keep a record; a run that is cut short leaves none."""
    RECORDS.mkdir(exist_ok=True)
    part = RECORDS / f"{name}.json.part"
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.rename(RECORDS / f"{name}.json")


def store_table(name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Keep a table as it was printed, and on what machine: the record of a benchmark of speed."""
    store(name, {"machine": machine(), "table": [dict(zip(header, row, strict=True)) for row in rows]})


def whole_numbers(text: str) -> list[int]:
    """What `--seeds 0,1,2` means."""
    return [int(number) for number in text.split(",")]


def machine() -> dict[str, Any]:
    """On what a record was made."""
    return {"cores": len(os.sched_getaffinity(0)), "processor": _processor(), "torch": torch.__version__}


def folder_md5(folder: Path) -> str:
    """The checksum by which `dvc.lock` knows a folder (of plain files): that of the list of its files' checksums."""
    files = sorted(path for path in folder.iterdir())
    listed = [{"md5": hashlib.md5(path.read_bytes()).hexdigest(), "relpath": path.name} for path in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def still_so(recorded: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether every param of a record has its value still; one that came later is no change of what was run."""
    return all(
        name in values and (still_so(value, values[name]) if isinstance(value, dict) else values[name] == value)
        for name, value in recorded.items()
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]
    return "\n".join(lines)
