"""stage.run: one sentence and exit code 1 for a known fault, 130 for a signal, and no life after the parent."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipdrive.opendrive.reader import OpenDriveError
from clipdrive.params import ParamsError
from clipdrive.stage import sentence_of
from clipdrive.tracks.track import TrackError

STARTED = "print('started', flush=True); import time; time.sleep(60)"


def script(body: str, before: str = "") -> list[str]:
    """A command that runs `body` as a stage's main function."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return [sys.executable, "-c", f"from clipdrive.stage import run\n{before}\ndef main():\n{lines}\nrun(main)\n"]


def result_of(body: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        script(body), capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )


def test_a_stage_that_ends_well_exits_with_0() -> None:
    assert result_of("print('done')").returncode == 0


def test_a_known_fault_is_one_sentence_and_exit_code_1() -> None:
    body = "from clipdrive.params import ParamsError\nraise ParamsError('gamma: got 2,\\n allowed: a number')"
    result = result_of(body)
    assert (result.returncode, result.stderr) == (1, "error: gamma: got 2, allowed: a number\n")
    assert "Traceback" in result_of(body, CLIPDRIVE_TRACEBACK="1").stderr


def test_an_unknown_fault_keeps_its_traceback() -> None:
    result = result_of("{}['key']")
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "KeyError: 'key'" in result.stderr


def test_a_full_disk_is_told_in_one_sentence() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    result = result_of("from pathlib import Path\nPath('/dev/full').write_text('x')")
    assert result.returncode == 1
    assert result.stderr == "error: the disk is full; free some space and run the same command again\n"


def test_sentences() -> None:
    assert sentence_of(TrackError("Track 'x' cannot be read.")) == "Track 'x' cannot be read."
    assert sentence_of(OpenDriveError("no road")) == "no road"
    assert sentence_of(ParamsError("tau: is missing")) == "tau: is missing"
    full = OSError(errno.ENOSPC, "No space left on device", "data/x.npz")
    assert sentence_of(full) == "data/x.npz: the disk is full; free some space and run the same command again"
    assert sentence_of(PermissionError(errno.EACCES, "Permission denied", "runs")) == "runs: Permission denied"
    assert sentence_of(ValueError("a fault of ours")) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_130_after_its_cleaning_up(number: signal.Signals) -> None:
    """To its end: Linux tells a process twice that has lost a parent of two threads."""
    again = "os.kill(os.getpid(), signal.SIGTERM)" if number == signal.SIGTERM else "pass"
    body = f"import os, signal\ntry:\n    {STARTED}\nfinally:\n    {again}\n    print('cleaned up', flush=True)"
    with subprocess.Popen(script(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "cleaned up\n", "interrupted\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_it_ends_when_its_parent_is_killed(tmp_path: Path, shell: str) -> None:
    """The parent starts it as dvc does, by `$SHELL -c command`, and is killed with SIGKILL."""
    if not Path(shell).exists():
        pytest.skip(f"no {shell}")
    mark = tmp_path / "mark"
    (tmp_path / "stage.py").write_text(
        "import os, time\nfrom clipdrive.stage import run\n"
        f"def main():\n    open({str(mark)!r}, 'w').write(str(os.getpid()))\n    time.sleep(60)\nrun(main)\n"
    )
    command = f"exec {sys.executable} {tmp_path / 'stage.py'}"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run([{shell!r}, '-c', {command!r}])"],
        stderr=subprocess.DEVNULL,
    )
    until(lambda: mark.exists() and mark.read_text())
    stage = int(mark.read_text())
    assert alive(stage)
    parent.kill()
    parent.wait()
    until(lambda: not alive(stage))


def alive(process_id: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
