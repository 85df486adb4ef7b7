"""Worker processes for collect and evaluate: each with its own server; results do not depend on how many there are."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.util
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

PR_SET_PDEATHSIG = 1
TERMINATED = 128 + signal.SIGTERM


class WorkerError(RuntimeError):
    """A worker process ended, or the number of workers asked for is not one."""


def worker_count(tasks: int) -> int:
    """CLIPDRIVE_WORKERS, else as many as the machine has cores; never more than there are tasks."""
    text = os.environ.get("CLIPDRIVE_WORKERS", "").strip()
    if text and not (text.isdigit() and int(text) > 0):
        raise WorkerError(f"CLIPDRIVE_WORKERS: got {text!r}, allowed: a whole number of at least 1")
    return max(1, min(int(text) if text else len(os.sched_getaffinity(0)), tasks))


def run_tasks(
    function: Callable[..., Any], tasks: Sequence[tuple], start: Callable[..., Callable[[], None]], *shared: Any
) -> Iterator[Any]:
    """Yield `function(*task)` of every task, in the order in which they end.

    `start(number, *shared)` runs once in each worker before its first task, and returns what to call at the worker's
    end. A worker's error is raised here, and ends the others. Workers end with the process that started them.
    """
    context = multiprocessing.get_context("spawn")
    count = worker_count(len(tasks))
    numbers = context.Queue()
    for number in range(count):
        numbers.put(number)
    pool = ProcessPoolExecutor(count, context, _start_worker, (os.getpid(), numbers, start, shared))
    try:
        for future in as_completed([pool.submit(function, *task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkerError("a worker process was ended from outside, or ran out of memory") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(parent: int, numbers: Any, start: Callable[..., Callable[[], None]], shared: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(TERMINATED)
    close = start(numbers.get(), *shared)
    multiprocessing.util.Finalize(None, close, exitpriority=10)  # atexit does not run in a worker

    def leave(*_: object) -> None:
        try:
            close()  # a real server wants its settings back
        finally:
            os._exit(TERMINATED)

    signal.signal(signal.SIGTERM, leave)
