import os
import signal
import threading

import pytest

from clipdrive.simulator.signals import sigterm_as_exit


@pytest.fixture(autouse=True)
def default_sigterm():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_raises_inside_and_is_restored_outside():
    cleaned = []
    with pytest.raises(SystemExit) as exit_info, sigterm_as_exit():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # once more, while it cleans up
            cleaned.append(True)
    assert exit_info.value.code == 143 and cleaned
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_somebody_elses_handler_stays():
    def handler(*_):
        return None

    signal.signal(signal.SIGTERM, handler)
    with sigterm_as_exit():
        assert signal.getsignal(signal.SIGTERM) is handler


def test_other_threads_may_use_it():
    seen = []

    def work():
        with sigterm_as_exit():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
