"""Threads that share the work at the end of a tick: what the client waits for leaves while cameras are drawn."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

MOST_HELPERS = 3
Job = Callable[[], object]


class Crew:
    """This thread and a few helpers, on which nothing runs but between the begin and the end of `share`.

    helpers: how many; by default one less than there are cores, MOST_HELPERS at most. They start with the first call.
    """

    def __init__(self, helpers: int | None = None) -> None:
        self.helpers = min(len(os.sched_getaffinity(0)) - 1, MOST_HELPERS) if helpers is None else helpers
        self._started = False
        self._open: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def alone(self, jobs: Sequence[Job]) -> None:
        """Do `jobs` here, one after the other; one that raises is logged, and the others go on."""
        for job in jobs:
            _do(job)

    def share(self, own: Job, others: Sequence[Job]) -> None:
        """Do `own` here and `others` in their order wherever there is time; all are over when it returns.

        What no helper has begun is done here: a helper that the machine keeps waiting holds nothing up. A job that
        raises is logged, and the others go on. Without helpers the first of `others` comes before `own`.
        """
        if not self.helpers:
            self.alone([*others[:1], own, *others[1:]])
            return
        if not self._started:
            self._start()
        for job in others:
            self._open.put(job)
        _do(own)
        elsewhere = len(others)
        while elsewhere:
            try:
                job = self._open.get_nowait()
            except queue.Empty:
                break
            _do(job)
            elsewhere -= 1
        for _ in range(elsewhere):
            self._done.get()

    def _start(self) -> None:
        self._started = True
        for number in range(self.helpers):
            threading.Thread(target=self._help, name=f"helper-{number + 1}", daemon=True).start()

    def _help(self) -> None:
        while True:
            _do(self._open.get())
            self._done.put(None)


def _do(job: Job) -> None:
    try:
        job()
    except Exception:  # the tick is over: what failed is missing, and the rest goes on
        log.exception("at the end of a tick")
