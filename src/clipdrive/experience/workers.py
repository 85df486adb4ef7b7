"""Worker processes for collect and evaluate: each with its own server; results do not depend on how many there are."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

PR_SET_PDEATHSIG = 1
TERMINATED = 128 + signal.SIGTERM
LEAVE_WITHIN_S = 10.0


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
    end. A worker's error is raised here. However this ends, no worker is left; they also end with their parent.
    """
    context = multiprocessing.get_context("spawn")
    left = deque(tasks)
    workers: dict[Connection, multiprocessing.process.BaseProcess] = {}
    done = False
    try:
        for number in range(worker_count(len(tasks))):
            ours, theirs = context.Pipe()
            arguments = (os.getpid(), theirs, function, start, number, shared)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            workers[ours] = process
            ours.send(left.popleft())
        busy = set(workers)
        while busy:
            for connection in wait(list(busy)):
                yield _result(connection)
                if left:
                    connection.send(left.popleft())
                else:
                    busy.remove(connection)
        done = True
    finally:
        _end(workers, politely=done)


def _result(connection: Connection) -> Any:
    try:
        error, value = connection.recv()
    except (EOFError, ConnectionError) as broken:
        raise WorkerError("a worker process was ended from outside, or ran out of memory") from broken
    if error is not None:
        raise error from WorkerError(value)
    return value


def _end(workers: dict[Connection, multiprocessing.process.BaseProcess], politely: bool) -> None:
    for connection, process in workers.items():
        connection.close()  # an idle worker leaves at this
        if not politely:
            process.terminate()
    for process in workers.values():
        process.join(LEAVE_WITHIN_S)
        if process.is_alive():
            process.kill()
            process.join()


def _work(
    parent: int, connection: Connection, function: Callable[..., Any], start: Callable, number: int, shared: tuple
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    close: Callable[[], None] = lambda: None  # noqa: E731

    def leave(*_: object) -> None:
        try:
            close()  # a real server wants its settings back
        finally:
            os._exit(TERMINATED)

    signal.signal(signal.SIGTERM, leave)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        leave()
    try:
        task = connection.recv()
        close = start(number, *shared)
        while True:
            connection.send((None, function(*task)))
            task = connection.recv()
    except EOFError:  # no task is left
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
        connection.send((error, "".join(traceback.format_exception(error))))
    finally:
        close()
