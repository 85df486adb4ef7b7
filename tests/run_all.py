"""Run every test file in a process of its own, as many at a time as there are cores: what `make test` calls.

`python tests/run_all.py [pytest options]`. A file is run once more if its process was ended by a signal: on a busy
machine the carla package may abort its process where a test stops or loses a camera whose image is on its way. What
crashes by its own fault does so again. (pytest-xdist counts an abort as a failure, and may wait for ever then.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

FOLDER = Path(__file__).parent
LONGEST = ("test_pipeline_variants.py", "test_pipeline.py", "test_faults_real.py", "test_resume.py")  # begun first
NO_TESTS = 5  # pytest's exit code where the options leave nothing of a file


def run_file(path: Path, options: list[str]) -> tuple[Path, int, str, float]:
    """(path, exit code, output, seconds) of one file's tests; 0 where the options leave none."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "--color=no", str(path), *options]
    text = ""
    for _ in range(2):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text += done.stdout.decode(errors="replace")
        if done.returncode >= 0:
            break
        text += f"\n{path.name}: its process was ended by signal {-done.returncode}\n"
    code = 0 if done.returncode == NO_TESTS else done.returncode
    return path, code, text, time.monotonic() - begun


def main() -> None:
    options = sys.argv[1:]
    files = sorted(FOLDER.glob("test_*.py"), key=lambda path: (path.name not in LONGEST, path.name))
    counts: Counter[str] = Counter()
    broken = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for future in as_completed([pool.submit(run_file, path, options) for path in files]):
            path, code, text, seconds = future.result()
            lines = text.strip().splitlines() or [""]
            for number, outcome in re.findall(r"(\d+) (passed|failed|skipped|error)", lines[-1]):
                counts[outcome] += int(number)
            if code != 0 or "ended by signal" in text:
                print(text, flush=True)
            if code != 0:
                broken.append(path.name)
            print(f"{path.name}: {lines[-1].strip('= ')} ({seconds:.0f} s)", flush=True)
    if broken:
        print(f"FAILED: {', '.join(sorted(broken))}")
    failed = max(counts["failed"] + counts["error"], len(broken))
    print(f"{counts['passed']} passed, {failed} failed, {counts['skipped']} skipped")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
