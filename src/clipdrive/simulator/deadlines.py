"""How long to wait for a CARLA server before it counts as failed. Belongs to a machine: it shapes no result."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from clipdrive.simulator.errors import SimulatorError

VARIABLE = "CLIPDRIVE_DEADLINES"


@dataclass(frozen=True)
class Deadlines:
    """Seconds after which a session gives up with a ServerFault (`collision_s`: takes it that there is none)."""

    connect_s: float
    call_s: float
    load_s: float
    image_s: float
    collision_s: float


BUNDLED = Deadlines(connect_s=20.0, call_s=20.0, load_s=120.0, image_s=10.0, collision_s=1.0)
REAL = Deadlines(connect_s=120.0, call_s=30.0, load_s=180.0, image_s=10.0, collision_s=0.5)


def deadlines_for(real: bool, environment: Mapping[str, str] = os.environ) -> Deadlines:
    """The deadlines of a real or of the bundled server, with what CLIPDRIVE_DEADLINES changes.

    Its form is "call_s=60,image_s=20"; raises SimulatorError where it has another.
    """
    deadlines = REAL if real else BUNDLED
    names = [field.name for field in dataclasses.fields(Deadlines)]
    changes = {}
    for part in environment.get(VARIABLE, "").split(","):
        if not part.strip():
            continue
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(\d+(?:\.\d*)?)\s*", part)
        if match is None or match[1] not in names or float(match[2]) <= 0.0:
            allowed = ", ".join(f"{name}=SECONDS" for name in names)
            raise SimulatorError(f"{VARIABLE}: got {part.strip()!r}, allowed, separated by commas: {allowed}")
        changes[match[1]] = float(match[2])
    return dataclasses.replace(deadlines, **changes)
