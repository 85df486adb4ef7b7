"""The faults that the doctor tells apart, each by one name, and what a finding of one says."""

from __future__ import annotations

from dataclasses import dataclass

LOGGED_BEFORE = "norm logged before clipping"
SUM_OF_NORMS = "sum of per-tensor norms"
SHARED = "shared CNN"
NOT_CLIPPED = "stepped but not clipped"
EXHAUSTED = "exhausted generator"
CLIP_AFTER_STEP = "clip after step"
BACKWARD_AFTER_CLIP = "backward after clip"
SCALED = "clip on scaled gradients"
LEFT_OVER = "gradients left over from another loss"
PER_LAYER = "limit per layer"
BY_VALUE = "limit on values"
DEAD = "dead gradient"
NOT_FINITE = "non-finite"

FAULTS = {
    LOGGED_BEFORE: "the number in the log is the norm before the clip, as clip_grad_norm_ returns it",
    SUM_OF_NORMS: "the number in the log adds the norms of single tensors, which is not the norm of the whole",
    SHARED: "a parameter lies in two optimisers or in two groups, so two limits and two steps fight over it",
    NOT_CLIPPED: "the optimiser steps parameters that no clip touches",
    EXHAUSTED: "the clip was given a generator that was used up before: it returns 0.0 and clips nothing",
    CLIP_AFTER_STEP: "the clip comes after the step, which has used the whole gradient",
    BACKWARD_AFTER_CLIP: "another backward() adds to the gradient between the clip and the step",
    SCALED: "the clip saw gradients times a loss scale, and what it left was divided by the scale afterwards",
    LEFT_OVER: "the step uses gradients that another loss, or the step before, has left behind",
    PER_LAYER: "each tensor or layer is held to the limit for itself: the norm of the whole may be sqrt(n) times it",
    BY_VALUE: "each entry is held to the limit, which bounds no norm and turns the gradient",
    DEAD: "next to no gradient arrives; no clip would show that",
    NOT_FINITE: "a gradient is NaN or infinite",
}


@dataclass
class Finding:
    """One fault of one group (None: of the whole loop): what was seen first, at which step of it, and how often."""

    fault: str
    group: str | None
    detail: str
    first_step: int
    count: int = 1

    def __str__(self) -> str:
        where = f" [{self.group}]" if self.group else ""
        often = f" ({self.count} times, first at step {self.first_step})" if self.count > 1 else ""
        return f"{self.fault}{where}: {self.detail}{often}"
