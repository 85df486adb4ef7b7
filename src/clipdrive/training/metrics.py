"""What train records: a row per logged update, a row per episode, and the summary with its certificate."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from clipdrive.agents.td3 import TD3, Update
from clipdrive.training.returns import ReturnWatch

CRITIC_COLUMNS = (
    "critic_loss",
    "q1_mean",
    "q1_min",
    "q1_max",
    "q2_mean",
    "q2_min",
    "q2_max",
    "q_abs_max",
    "q_gap_mean",
    "target_mean",
    "target_min",
    "target_max",
    "td_error_mean",
    "td_error_p99",
)
ACTOR_COLUMNS = ("actor_loss", "action_abs_mean", "saturated_share")
LAST_EPISODES = 20
LAST_ROWS = 50
DEAD_AFTER = 100  # actor steps over which the means say that the actor is dead
DEAD_SATURATED_SHARE = 0.9
DEAD_NORM = 0.01  # of the actor's gradient before the clip; healthy: 0.2 and more


def group_names(agent: TD3) -> list[str]:
    return [group["name"] for clipped in agent.optimizers for group in clipped.optimizer.param_groups]


def layer_names(agent: TD3) -> list[str]:
    return [layer for clipped in agent.optimizers for layer in clipped.layers]


def layer_columns(agent: TD3) -> list[str]:
    return ["update", *(f"{kind}.{layer}" for layer in layer_names(agent) for kind in LAYER_COLUMNS)]


def layer_row(update: Update, number: int) -> dict[str, float]:
    """The norms and |update| / |weights| of each layer that this update stepped."""
    row: dict[str, float] = {"update": number}
    for norms in update.norms.values():
        for layer, measured in (norms.layers or {}).items():
            row[f"norm_before.{layer}"] = measured.before
            row[f"norm_after.{layer}"] = measured.after
            row[f"update_ratio.{layer}"] = measured.update_ratio
    return row


def update_columns(agent: TD3) -> list[str]:
    groups = [f"{kind}.{name}" for name in group_names(agent) for kind in GROUP_COLUMNS]
    own = ("mpg_delta",) if agent.gap is not None else ()
    return ["update", "env_step", *CRITIC_COLUMNS, *own, *ACTOR_COLUMNS, "lr_factor", "exploration_noise", *groups]


LAYER_COLUMNS = ("norm_before", "norm_after", "update_ratio")
GROUP_COLUMNS = ("norm_before", "norm_after", "clipped", "update_ratio")


class UpdateMeter:
    """Follows every update: what the next log row needs, the whole run's Q bound, and whether the actor lives."""

    def __init__(self, q_bound: float) -> None:
        self.q_bound = q_bound
        self.q_abs_max = 0.0
        self.bound_passed_updates = 0
        self.dead_actor_updates = 0
        self.rows: deque[dict[str, float]] = deque(maxlen=LAST_ROWS)
        self.scalars: dict[str, float] = {}
        self._actor: deque[tuple[float, float]] = deque(maxlen=DEAD_AFTER)
        self._clipped: dict[str, list[int]] = {}

    def add(self, update: Update) -> None:
        values = torch.stack(list(update.scalars.values())).tolist()  # one transfer from the device
        self.scalars = dict(zip(update.scalars, values, strict=True))
        q_abs = self.scalars["q_abs_max"]
        self.q_abs_max = max(self.q_abs_max, q_abs)
        self.bound_passed_updates += q_abs > self.q_bound
        for name, norms in update.norms.items():
            counts = self._clipped.setdefault(name, [0, 0])
            counts[0] += norms.clipped
            counts[1] += 1
        if "saturated_share" in self.scalars:
            norm = math.hypot(*(n.before for name, n in update.norms.items() if name.startswith("actor")))
            self._actor.append((self.scalars["saturated_share"], norm))
            self.dead_actor_updates += self._actor_is_dead()

    def _actor_is_dead(self) -> bool:
        if len(self._actor) < DEAD_AFTER:
            return False
        saturated, norm = np.mean(self._actor, axis=0)
        return bool(saturated > DEAD_SATURATED_SHARE and norm < DEAD_NORM)

    def row(self, update: Update, extra: Mapping[str, float]) -> dict[str, float]:
        """The log row of this update; the clipped shares are those since the last row."""
        row: dict[str, float] = dict(extra) | self.scalars
        for name, norms in update.norms.items():
            row[f"norm_before.{name}"] = norms.before
            row[f"norm_after.{name}"] = norms.after
            if norms.update_ratio is not None:
                row[f"update_ratio.{name}"] = norms.update_ratio
        for name, (clipped, steps) in self._clipped.items():
            row[f"clipped.{name}"] = clipped / max(steps, 1)
        self._clipped = {}
        self.rows.append(row)
        return row

    def state(self) -> dict[str, Any]:
        return {
            "q_abs_max": self.q_abs_max,
            "bound_passed_updates": self.bound_passed_updates,
            "dead_actor_updates": self.dead_actor_updates,
            "actor": list(self._actor),
            "rows": list(self.rows),
            "clipped": self._clipped,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.q_abs_max = state["q_abs_max"]
        self.bound_passed_updates = state["bound_passed_updates"]
        self.dead_actor_updates = state["dead_actor_updates"]
        self._actor = deque(state["actor"], maxlen=DEAD_AFTER)
        self.rows = deque(state["rows"], maxlen=LAST_ROWS)
        self._clipped = state["clipped"]


def certificate(agent: TD3, structure: Mapping[str, Any]) -> dict[str, Any]:
    """Per group what its gradients did (`gradient`); over all the violations and the `structure` (`certificate`)."""
    records = [clipped.record for clipped in agent.optimizers]
    groups = {name: row for record in records for name, row in record.summary().items()}
    violations = sum(record.violations for record in records)
    counts = {"updates": agent.updates, "violations": violations}
    return {"gradient": groups, "certificate": {**counts, **structure}}


def summary(
    agent: TD3, meter: UpdateMeter, returns: ReturnWatch, episodes: list[dict[str, Any]], env_steps: int
) -> dict[str, Any]:
    """The train stage's metrics. `episodes` are the last rows of the episode log."""

    def last(name: str) -> float:
        values = [row[name] for row in meter.rows if name in row]
        return float(np.mean(values)) if values else 0.0

    result: dict[str, Any] = {
        "env_steps": env_steps,
        "updates": agent.updates,
        "q": {
            "abs_max": meter.q_abs_max,
            **({"bound": meter.q_bound} if math.isfinite(meter.q_bound) else {}),
            "bound_passed_updates": meter.bound_passed_updates,
            "mean_last": last("q1_mean"),
            "gap_mean_last": last("q_gap_mean"),
            "target_mean_last": last("target_mean"),
            "td_error_mean_last": last("td_error_mean"),
            "td_error_p99_last": last("td_error_p99"),
        }
        | returns.summary(),
        "loss": {"critic_last": last("critic_loss"), "actor_last": last("actor_loss")},
        "actor": {
            "action_abs_mean_last": last("action_abs_mean"),
            "saturated_share_last": last("saturated_share"),
            "dead_updates": meter.dead_actor_updates,
        },
    } | certificate(agent, agent.structure())
    if agent.gap is not None:
        result["q"]["mpg_delta_last"] = last("mpg_delta")
    if episodes:
        result["driving"] = {
            "episodes": episodes[-1]["episode"] + 1,
            "return_last": float(np.mean([row["return"] for row in episodes])),
            **_progress(episodes),
            "failed_share_last": float(np.mean([row["ending"] in FAILURES for row in episodes])),
        }
    return result


FAILURES = ("off_road", "collision", "stuck", "terminated")


def _progress(episodes: list[dict[str, Any]]) -> dict[str, float]:
    if "progress_m" not in episodes[-1]:
        return {}
    return {"progress_last_m": float(np.mean([row["progress_m"] for row in episodes]))}

