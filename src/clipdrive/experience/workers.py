"""Worker processes for collect and evaluate: each with its own server; results do not depend on how many there are.

A worker whose server is lost for good, or that crashed, gives its task back to the others.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from clipdrive.profile import Profile
from clipdrive.simulator.errors import ServerLost
from clipdrive.stage import end_with_parent

TERMINATED = 128 + signal.SIGTERM
LEAVE_WITHIN_S = 10.0
CRASHES_MAX = 3  # of workers, in a run


class WorkerError(RuntimeError):
    """A worker process ended, or the number of workers asked for is not one."""


def worker_count(tasks: int, servers: int | None = None) -> int:
    """CLIPDRIVE_WORKERS, else as many as the machine has cores, or as there are real servers; never more than there
    are tasks or real servers."""
    text = os.environ.get("CLIPDRIVE_WORKERS", "").strip()
    if text and not (text.isdigit() and int(text) > 0):
        raise WorkerError(f"CLIPDRIVE_WORKERS: got {text!r}, allowed: a whole number of at least 1")
    wanted = int(text) if text else servers or len(os.sched_getaffinity(0))
    return max(1, min(wanted, tasks, servers or tasks))


class Faults:
    """What a run's workers went through: `restarts` of servers, `servers_lost` for good, `workers_lost`: crashed."""

    def __init__(self) -> None:
        self.restarts = self.servers_lost = self.workers_lost = 0

    def values(self) -> dict[str, int]:
        return dict(vars(self))


def run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[tuple],
    start: Callable[..., Callable[[], None]],
    *shared: Any,
    servers: int | None = None,
    faults: Faults | None = None,
    profile: Profile | None = None,
) -> Iterator[Any]:
    """Yield `function(*task)` of every task, in the order in which they end.

    `start(number, *shared)` runs once in each worker before its first task, and returns what to call at the worker's
    end. The workers' times are added to `profile`. A worker's error is raised here; but the task of one that lost its
    server goes to the others while there are any, and one that crashed is replaced. However this ends, no worker is
    left; they also end with their parent.
    """
    crew = _Crew(function, start, shared)
    faults = faults or Faults()
    left = deque(tasks)
    running: dict[Connection, tuple] = {}
    done = False
    try:
        for _ in range(worker_count(len(tasks), servers)):
            crew.hire()
        while left or running:
            while left and crew.idle:
                connection = crew.idle.pop()
                running[connection] = left.popleft()
                _send(connection, running[connection])
            for connection in wait(list(running)):
                task = running.pop(connection)
                try:
                    result, seconds = _result(connection)
                except (ServerLost, _Crashed) as failure:
                    left.appendleft(task)
                    crew.dismiss(connection)
                    _count(failure, faults, crew)
                    continue
                crew.idle.append(connection)
                if profile is not None:
                    profile.add_worker(seconds)
                yield result
        done = True
    finally:
        _end(crew.workers, politely=done)


class _Crashed(WorkerError):
    """A worker process ended without a word."""


class _Crew:
    """The worker processes, by the connection to each."""

    def __init__(self, function: Callable[..., Any], start: Callable, shared: tuple) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._work = function, start, shared
        self._hired = 0
        self.workers: dict[Connection, multiprocessing.process.BaseProcess] = {}
        self.idle: list[Connection] = []

    def hire(self) -> None:
        function, start, shared = self._work
        ours, theirs = self._context.Pipe()
        arguments = (os.getpid(), theirs, function, start, self._hired, shared)
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self._hired += 1
        self.workers[ours] = process
        self.idle.append(ours)

    def dismiss(self, connection: Connection) -> None:
        _end({connection: self.workers.pop(connection)}, politely=True)


def _send(connection: Connection, task: tuple) -> None:
    try:
        connection.send(task)
    except ConnectionError:
        pass  # it has crashed, as the wait for its result will tell


def _count(failure: WorkerError | ServerLost, faults: Faults, crew: _Crew) -> None:
    """Count a worker's failure; raise it when nobody could take over."""
    if isinstance(failure, ServerLost):
        faults.servers_lost += 1
        faults.restarts += failure.restarts
        if not crew.workers:
            raise failure
        print(f"{failure}; going on with the other servers", file=sys.stderr, flush=True)
        return
    faults.workers_lost += 1
    if faults.workers_lost > CRASHES_MAX:
        raise failure
    print(f"{failure}; another one takes its place", file=sys.stderr, flush=True)
    crew.hire()


def _result(connection: Connection) -> tuple[Any, dict[str, float]]:
    """A task's result, and the seconds of the worker since the one before, by part."""
    try:
        error, value = connection.recv()
    except (EOFError, ConnectionError) as broken:
        raise _Crashed("a worker process was ended from outside, crashed, or ran out of memory") from broken
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


@functools.cache
def worker_profile() -> Profile:
    """Where the time of this worker process goes."""
    return Profile("worker")


def _work(
    parent: int, connection: Connection, function: Callable[..., Any], start: Callable, number: int, shared: tuple
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    close: Callable[[], None] = lambda: None  # noqa: E731

    def leave(*_: object) -> None:
        # Linux tells of the parent's end once for each of its threads: a second close would end the first half done.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            close()  # a real server wants its settings back
        finally:
            os._exit(TERMINATED)

    signal.signal(signal.SIGTERM, leave)
    end_with_parent(parent)
    profile = worker_profile()
    try:
        task = connection.recv()
        close = start(number, *shared)
        profile.started()
        while True:
            result = function(*task)
            connection.send((None, (result, profile.taken())))
            with profile.part("wait"):
                task = connection.recv()
    except EOFError:  # no task is left
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
        connection.send((error, "".join(traceback.format_exception(error))))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # close() once, and to its end
        close()
