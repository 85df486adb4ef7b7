"""What every run sets up before it computes: memory that one update frees serves the next."""

from __future__ import annotations

import subprocess
import sys

import pytest

ALLOCATE = """
import resource
import torch
from clipdrive.agents.device import prepare_torch

prepare_torch(1)


def update():  # blocks as of an update on images: 20 MB in all, freed at its end
    kept = [torch.ones(1_000_000 + 10_000 * number) for number in range(5)]

for _ in range(3):
    update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told")
def test_an_update_takes_no_new_pages_from_the_kernel():
    done = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 100  # a thousand and more where glibc is left alone
