"""Runs a shell command in a process group of its own until standard input closes; then nothing of it is left.

    python -m clipdrive.simulator.keeper "command"

Whoever starts it holds the other end of its standard input, and so ends the command also by being killed. When
everything that the command started has ended by itself, so does this, with the command's exit code.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

END_WITHIN_S = 5.0


def main(command: str) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # we end after the command, when standard input closes
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        restore_signals=True,
        preexec_fn=_hear_signals,
    )
    while process.poll() is None or _group_lives(process.pid):
        readable, _, _ = select.select([sys.stdin], [], [], 0.2)
        if readable and not os.read(sys.stdin.fileno(), 4096):
            _end_group(process)
    return process.wait()


def _hear_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _end_group(process: subprocess.Popen) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + END_WITHIN_S
        while (process.poll() is None or _group_lives(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
