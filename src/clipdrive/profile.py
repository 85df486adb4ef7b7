"""Where a stage's time went and how much memory it took: printed at its end, kept in the ignored state folder.

Nothing of it is in an out: times differ from run to run.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START, OTHER = "start", "other"


class Profile:
    """The seconds of one thread, each counted for one part: the innermost `part` that was open.

    Until `started` they are the start's, from the birth of the process on; outside of every part they are `other`.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.seconds: Counter[str] = Counter()
        self.workers: Counter[str] = Counter()  # the same of the worker processes, summed
        self._part, self._since = START, time.perf_counter() - process_age_s()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """While inside, time is `name`'s."""
        before = self._turn_to(name)
        try:
            yield
        finally:
            self._turn_to(before)

    def started(self) -> None:
        """The first real work begins here."""
        self._turn_to(OTHER)

    def time_calls(self, name: str, owner: Any, *methods: str) -> None:
        """From now on, time in these methods of `owner` is `name`'s."""
        for method in methods:
            setattr(owner, method, self._timed(name, getattr(owner, method)))

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return call(*arguments, **named)

        return timed

    def taken(self) -> dict[str, float]:
        """The seconds of each part since the last call, for a worker's answer to its parent."""
        self._turn_to(self._part)
        seconds, self.seconds = self.seconds, Counter()
        return dict(seconds)

    def add_worker(self, seconds: Mapping[str, float]) -> None:
        """Add what a worker's `taken` gave."""
        self.workers.update(seconds)

    def finish(self, folder: Path) -> None:
        """Print the profile and write it to `folder`/STAGE.json."""
        self._turn_to(self._part)
        total_s = sum(self.seconds.values())
        values = {
            "stage": self.stage,
            "wall_s": round(total_s, 3),
            "parts_s": _rounded(self.seconds),
            **({"workers_s": _rounded(self.workers)} if self.workers else {}),
            "memory_mb": memory_mb(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.stage}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        print(self._text(values), file=sys.stderr, flush=True)

    def _text(self, values: Mapping[str, Any]) -> str:
        memory = " + ".join(f"{mb:.0f} MB ({what})" for what, mb in values["memory_mb"].items())
        lines = [f"{self.stage}: {values['wall_s']:.1f} s, start {self.seconds[START]:.1f} s; {_shares(self.seconds)}"]
        if self.workers:
            lines.append(f"{self.stage}: workers: {_shares(self.workers)}")
        return "\n".join([*lines, f"{self.stage}: most memory: {memory}"])

    def _turn_to(self, part: str) -> str:
        now = time.perf_counter()
        self.seconds[self._part] += now - self._since
        before, self._part, self._since = self._part, part, now
        return before


def process_age_s() -> float:
    """Seconds since this process was started; 0 where there is no /proc."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        up_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    except OSError:
        return 0.0
    return max(0.0, up_s - int(fields[19]) / os.sysconf("SC_CLK_TCK"))  # field 22, starttime, of proc(5)


def memory_mb() -> dict[str, float]:
    """The largest resident memory of this process, and of the largest one that it started and that has ended."""
    own, other = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"itself": round(own / 1024, 1)} | ({"largest child": round(other / 1024, 1)} if other else {})


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in sorted(seconds.items(), key=lambda item: -item[1])}


def _shares(seconds: Mapping[str, float]) -> str:
    total_s = sum(seconds.values()) or 1.0
    return ", ".join(f"{name} {100 * value / total_s:.0f} %" for name, value in _rounded(seconds).items())
