"""Which device the networks run on: CLIPDRIVE_DEVICE, else a GPU where there is one, else the CPU."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 512 << 20
LARGEST_KEPT_BYTES = 32 << 20  # one block; larger ones, as the replay memory's, stay lazily zeroed pages of their own


class DeviceError(ValueError):
    """CLIPDRIVE_DEVICE names a device that torch does not have."""


def training_device() -> torch.device:
    """The device named by CLIPDRIVE_DEVICE (cpu, cuda, cuda:1 ...), else cuda where available, else cpu."""
    name = os.environ.get("CLIPDRIVE_DEVICE", "").strip()
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"CLIPDRIVE_DEVICE: got {name!r}, allowed: cpu, or a device that this torch has") from error
    return device


def prepare_torch(threads: int) -> None:
    """Fix what changes bits: the number of threads, and deterministic kernels; and keep freed memory at hand."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads memory that nobody wrote


def keep_freed_memory() -> None:
    """Have glibc keep what an update frees for the next one; elsewhere this does nothing.

    By default it returns blocks of that size to the kernel, which then has to clear and map every page again in each
    update: thousands of page faults, a fifth of the time of a small network's update. No result depends on it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
