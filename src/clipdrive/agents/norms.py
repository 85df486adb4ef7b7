"""What was measured of the gradients: a group's norms in one step, and every norm of a run, for the certificate."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class LayerNorms:
    """One layer (weights and bias together) in one step: the gradient's 2-norms, and |update| / |weights|."""

    before: float
    after: float
    update_ratio: float


@dataclass(frozen=True)
class GroupNorms:
    """One group in one step: 2-norm of its gradient before the clip and in the step's pre-hook.

    `limit` is the one in force at this step, None without one. `update_ratio` (|update| / |weights| over the group)
    and `layers` are there where they were asked for.
    """

    before: float
    after: float
    clipped: bool
    limit: float | None = None
    update_ratio: float | None = None
    layers: Mapping[str, LayerNorms] | None = None


class NormRecord:
    """Every norm of every group of a run, from which the certificate is made; goes through the checkpoint."""

    def __init__(self, limits: Mapping[str, float | None]) -> None:
        self.limits = dict(limits)
        self.violations = 0
        self.before = {name: array("d") for name in limits}
        self.after = {name: array("d") for name in limits}
        self.clipped = dict.fromkeys(limits, 0)

    def add(self, name: str, norms: GroupNorms) -> None:
        self.before[name].append(norms.before)
        self.after[name].append(norms.after)
        self.clipped[name] += norms.clipped
        if norms.limit is not None:
            self.limits[name] = norms.limit

    def add_violation(self, name: str, norms: GroupNorms) -> None:
        """A step that would have used too much, and was not taken."""
        self.add(name, norms)
        self.violations += 1

    def percentile(self, name: str, newest: float, percentile: float, length: int) -> float:
        """The percentile of a group's last `length` norms before the clip, `newest` among them."""
        past = self.before[name][-(length - 1) :] if length > 1 else []
        return float(np.percentile([*past, newest], percentile))

    def summary(self) -> dict[str, dict[str, float]]:
        """Per group: limit (absent without one), updates, clipped share, and mean, p99 and max before and after."""
        result = {}
        for name in self.before:
            updates = len(self.before[name])
            row: dict[str, float] = {"updates": updates, "clipped_share": self.clipped[name] / max(updates, 1)}
            row |= _spread("before", self.before[name]) | _spread("after", self.after[name])
            if self.limits[name] is not None:
                row["limit"] = self.limits[name]
            result[name] = row
        return result

    def state(self) -> dict[str, Any]:
        return {
            "violations": self.violations,
            "limits": dict(self.limits),
            "before": {name: torch.tensor(values, dtype=torch.float64) for name, values in self.before.items()},
            "after": {name: torch.tensor(values, dtype=torch.float64) for name, values in self.after.items()},
            "clipped": dict(self.clipped),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.violations = state["violations"]
        self.limits = dict(state["limits"])
        self.before = {name: array("d", values.tolist()) for name, values in state["before"].items()}
        self.after = {name: array("d", values.tolist()) for name, values in state["after"].items()}
        self.clipped = dict(state["clipped"])


def _spread(when: str, values: array) -> dict[str, float]:
    norms = np.array(values) if values else np.zeros(1)
    return {
        f"{when}_mean": float(norms.mean()),
        f"{when}_p99": float(np.percentile(norms, 99)),
        f"{when}_max": float(norms.max()),
    }
