"""SIGTERM as an exception, so that what holds a server has the chance to let go of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """While inside, the first SIGTERM raises SystemExit(143) in the main thread, and those after it do nothing, so
    that what it set going is done; unless somebody handles the signal already."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, _frame: object) -> None:
        nonlocal handler
        handler = signal.SIG_IGN
        signal.signal(signal.SIGTERM, handler)
        raise SystemExit(128 + number)

    handler: object = leave
    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
