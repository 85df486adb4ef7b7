"""What the commands of all stages share: one sentence for a known fault, an exit code, no life after dvc.

    if __name__ == "__main__":
        run(main)

0: done; 1: a known fault, told in one sentence (by its traceback where CLIPDRIVE_TRACEBACK is set), or an unknown
one, told by its traceback; 130: interrupted by SIGINT or SIGTERM, or left alone by a killed dvc.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run(main: Callable[[], None]) -> NoReturn:
    """Call `main` and leave the process with the exit code that says how it went."""
    signal.signal(signal.SIGTERM, _interrupt)
    end_with_parent()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(_say("interrupted", 130))
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None or os.environ.get("CLIPDRIVE_TRACEBACK"):
            raise
        sys.exit(_say(f"error: {sentence}", 1))
    sys.exit(0)


def end_with_parent(parent: int | None = None) -> None:
    """Have Linux send SIGTERM to this process when the thread that started it ends; elsewhere do nothing.

    `parent` is its process id, where it is known; at once, where that is no longer ours.

    DVC runs a stage by `$SHELL -c "exec python ..."`: the shell becomes the stage, and the parent is dvc itself.
    SIGTERM and not SIGINT: a job in the background of a script is born deaf to SIGINT.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it died while we were asking
        os.kill(os.getpid(), signal.SIGTERM)


def state_folder() -> Path:
    """The ignored folder for checkpoints, profiles and failures; CLIPDRIVE_STATE overrides.

    DVC's temporary experiments run in a clone below `.dvc/tmp/exps`; they use the main checkout's folder.
    """
    if os.environ.get("CLIPDRIVE_STATE"):
        return Path(os.environ["CLIPDRIVE_STATE"]).absolute()
    here = Path.cwd()
    parts = here.parts
    for i in range(len(parts) - 2):
        if parts[i : i + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:i]) / ".clipdrive"
    return here / ".clipdrive"


def sentence_of(error: BaseException) -> str | None:
    """The one sentence for a fault that a user can mend; None for one that needs a traceback.

    Known faults are the exception classes of this package, whose messages are written for users, and OSError.
    """
    if any(kind.__module__.split(".")[0] == "clipdrive" for kind in type(error).__mro__):
        return _one_line(str(error) or type(error).__name__)
    if not isinstance(error, OSError):
        return None
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}the disk is full; free some space and run the same command again"
    return _one_line(f"{where}{error.strerror or error}")


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    # Linux tells of the parent's end once for each of its threads: the cleaning up must not be left half done.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return code
