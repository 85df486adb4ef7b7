"""Which device the networks run on: CLIPDRIVE_DEVICE, else a GPU where there is one, else the CPU."""

from __future__ import annotations

import os

import torch


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
    """Fix what changes bits: the number of threads, and deterministic kernels."""
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads memory that nobody wrote
