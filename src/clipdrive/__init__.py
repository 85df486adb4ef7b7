"""clipdrive: camera driving in CARLA, learned by TD3 with gradients that are clipped, measured and certified."""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# Torch's threads would spin while they wait for each other, and take the cores from the simulator that they wait for:
# with one more busy process on two cores an update then takes seven times as long. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    """`clipdrive.doctor` without an import of its own, and without its cost where nobody asks for it."""
    if name != "doctor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
