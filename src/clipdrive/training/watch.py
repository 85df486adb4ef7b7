"""The watch over Q and the actor: says once what is ill, and ends the training there where the params say so."""

from __future__ import annotations

from typing import Any

from clipdrive.params import TrainParams
from clipdrive.progress import Progress
from clipdrive.training.metrics import UpdateMeter


class HealthWatch:
    """Looks at the meter after each update; `stopped` is set when the training shall end."""

    def __init__(self, train: TrainParams, meter: UpdateMeter) -> None:
        self.train, self.meter = train, meter
        self.stopped = False
        self._said: list[str] = []

    def look(self, update: int, progress: Progress) -> None:
        """After update number `update`."""
        meter, train = self.meter, self.train
        q_passed, dead = meter.bound_passed_updates > 0, meter.dead_actor_updates > 0
        if q_passed:
            self._say_once(
                "q",
                f"|Q| is {meter.q_abs_max:.4g} at update {update} and passed its bound R_max / (1 - gamma) = "
                f"{meter.q_bound:.4g}: the critic has diverged",
                progress,
            )
        if dead:
            sentence = f"the actor is dead at update {update}: its tanh is saturated and its gradient gone"
            self._say_once("actor", sentence, progress)
        if (q_passed and train.stop_on_q_bound) or (dead and train.stop_on_dead_actor):
            self.stopped = True
            progress.say(f"training ends at update {update}, as the params say, with what it has")

    def _say_once(self, what: str, sentence: str, progress: Progress) -> None:
        if what not in self._said:
            self._said.append(what)
            progress.say(sentence)

    def state(self) -> dict[str, Any]:
        return {"said": self._said, "stopped": self.stopped}

    def load_state(self, state: dict[str, Any]) -> None:
        self._said, self.stopped = state["said"], state["stopped"]
