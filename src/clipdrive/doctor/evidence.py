"""What one step of one group is judged by: the norms on its way, and the clip calls that touched it."""

from __future__ import annotations

from dataclasses import dataclass, field

from clipdrive.doctor.traces import Trace, whole


@dataclass(eq=False)
class ClipCall:
    """One call of a torch clip function: what it was given, and each tensor's norm before and after it."""

    kind: str  # norm | value
    limit: float
    order: float  # of the norm
    at: int
    exhausted: bool
    meant: set[str] = field(default_factory=set)  # the groups that an exhausted call may have been meant for
    late: set[str] = field(default_factory=set)  # those of them whose gradient a step had used already
    before: dict[int, float] = field(default_factory=dict)  # by id of the parameter
    after: dict[int, float] = field(default_factory=dict)


@dataclass(eq=False)
class Group:
    """Parameters that are meant to be clipped together, and the limit of their 2-norm (None: not known)."""

    name: str
    traces: list[Trace]
    limit: float | None
    homes: set[int] = field(default_factory=set)  # the optimisers whose steps are its steps
    steps: int = 0
    clipped_steps: int = 0
    largest_before: float = 0.0
    largest_after: float = 0.0
    excess: float = 1e-4  # relative, above the limit: what rounding may do
    last: GroupStep | None = None
    logged: list[tuple[float, GroupStep | None]] = field(default_factory=list)  # waiting for the next step
    unexplained: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)  # at each step
    passed: list[float] = field(default_factory=list)  # least share of the gradient that a tanh let through


@dataclass(eq=False)
class GroupStep:
    """One step of one group. Norms by tensor: as the last backward pass left them, and as the step used them."""

    group: Group
    number: int
    traces: list[Trace]
    raw: list[float]
    used: list[float]
    largest_entry: float
    calls: list[ClipCall]  # since the step before, that touched the group or nothing at all
    altered: bool  # made smaller, by whomever, after the last backward pass
    foreign: list[Trace]  # whose gradient holds the part of another loss
    passed: float | None = None  # least share of the gradient that a tanh before it let through
    late: list[ClipCall] = field(default_factory=list)  # that found the gradient used already

    @property
    def before(self) -> float:
        return whole(self.raw)

    @property
    def after(self) -> float:
        return whole(self.used)

    @property
    def touching(self) -> list[ClipCall]:
        return [call for call in self.calls if not call.exhausted]

    def exceeds(self) -> bool:
        return self.group.limit is not None and self.after > self.group.limit * (1.0 + self.group.excess)

    def by_layer(self, norms: list[float]) -> list[float]:
        """Norms of weight and bias together: a vector belongs to the matrix before it."""
        layers: list[list[float]] = []
        for trace, norm in zip(self.traces, norms, strict=True):
            if layers and trace.parameter.dim() < 2:
                layers[-1].append(norm)
            else:
                layers.append([norm])
        return [whole(layer) for layer in layers]
