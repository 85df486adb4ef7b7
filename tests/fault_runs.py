"""Small runs of the stages for the fault suite, and what disturbs them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from clipdrive.params import Params
from small_params import params_with

DEADLINES = "connect_s=10,call_s=2,load_s=30,image_s=2"
SMALL = {
    "batch_size": 8,
    "feature_units": 16,
    "hidden_units": 16,
    "tracks__training": ["circuit:1", "circuit:2"],
    "tracks__evaluation": ["circuit:3"],
    "tracks__episodes_per_load": 2,
    "camera__width_px": 36,
    "camera__height_px": 36,
    "ending__time_limit_steps": 40,
    "collect__episodes": 4,
    "train__updates_before_driving": 10,
    "train__env_steps": 400,
    "train__memory_steps": 2000,
    "train__torch_threads": 1,
    "train__checkpoint_every_steps": 60,
    "evaluate__starts": 2,
    "evaluate__lap_limit_s": 6.0,
    "evaluate__film": False,
}


def small_params(**changes: object) -> Params:
    return params_with(**(SMALL | changes))


def files_of(folder: Path, *patterns: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for pattern in patterns for path in sorted(folder.glob(pattern))}


def faults_of(folder: Path) -> dict[str, int]:
    return json.loads((folder / "metrics.json").read_text())["faults"]


def processes() -> list[psutil.Process]:
    """All that this process has started and that lives, but for multiprocessing's resource tracker."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


def servers() -> list[psutil.Process]:
    found = []
    for process in processes():
        try:
            if "clipdrive.carla_server" in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


def none_left(within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes()


@contextmanager
def disturbed(when: Callable[[], bool], disturb: Callable[[], None]) -> Iterator[threading.Event]:
    """While inside, `disturb()` is called once, as soon as `when()` holds; gives the event that it was."""
    done, stop = threading.Event(), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if when():
                disturb()
                done.set()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join(10)


def signal_servers(number: int) -> None:
    for server in servers():
        os.kill(server.pid, number)
