"""What happened to each watched parameter's gradient since it was last cleared, gathered by tensor hooks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

KEPT_TASKS = 1000
TANH = (torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_)


@dataclass(eq=False)
class Trace:
    """One parameter's gradient: which backward passes made it, and what became of it before the step."""

    name: str
    parameter: Tensor
    optimizers: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)  # backward passes whose gradient it holds, since it was cleared
    accumulated_at: int = -1  # the probe's clock
    raw: Any = None  # norm after the last accumulation, a tensor
    clipped_at: int = -1
    stepped_at: int = -1
    consumed: bool = False  # a step has used what it holds
    clipped_before_step: bool = False
    used_twice: bool = False  # a backward pass added to what a step had used, and nobody cleared it
    altered_then_added: bool = False  # somebody changed it, then a backward pass added to it
    reached: bool = False  # ever, by any backward pass
    norms: list[float] = field(default_factory=list)  # at each step

    def has_gradient(self) -> bool:
        return self.parameter.grad is not None

    def used_up(self) -> bool:
        """Whether a step has used its gradient, with no clip before."""
        return self.has_gradient() and self.stepped_at > self.accumulated_at and not self.clipped_before_step

    def cleared(self) -> None:
        self.tasks = []
        self.consumed = self.used_twice = self.altered_then_added = False


def current_task() -> int:
    """The number of the backward pass that is running."""
    return torch._C._current_graph_task_id()


def norm_of(gradient: Tensor) -> Tensor:
    """The 2-norm, of sparse gradients as well."""
    there = gradient.detach()
    return torch.linalg.vector_norm((there.coalesce().values() if there.is_sparse else there).float())


@torch.no_grad()
def norms_of(tensors: Sequence[Tensor | None]) -> list[float]:
    """2-norms of tensors (None counts as 0), in one transfer from the device."""
    there = [norm_of(t) for t in tensors if t is not None]
    if not there:
        return [0.0] * len(tensors)
    measured = iter(torch.stack(there).tolist())
    return [0.0 if t is None else next(measured) for t in tensors]


def whole(norms: Sequence[float]) -> float:
    """The 2-norm of what has these norms in parts."""
    return math.sqrt(sum(norm * norm for norm in norms))


class GradientHooks:
    """Hooks on every watched parameter: `started(trace)` is told before each accumulation, `ended(trace)` after it."""

    def __init__(self, started: Callable[[Trace], None], ended: Callable[[Trace], None]) -> None:
        self._started, self._ended = started, ended
        self._handles: list[Any] = []
        self._coming: dict[int, tuple[bool, bool]] = {}  # cleared, altered: counts if a gradient is accumulated

    def attach(self, trace: Trace) -> None:
        parameter, needed = trace.parameter, trace.parameter.requires_grad
        parameter.requires_grad_(True)  # hooks can be put on nothing else
        self._handles.append(parameter.register_hook(lambda _: self._before(trace)))
        self._handles.append(parameter.register_post_accumulate_grad_hook(lambda _: self._after(trace)))
        parameter.requires_grad_(needed)

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _before(self, trace: Trace) -> None:
        norm = norms_of([trace.parameter.grad])[0]
        self._coming[id(trace)] = norm == 0.0, trace.reached and not trace.consumed and norm != float(trace.raw)
        self._started(trace)

    @torch.no_grad()
    def _after(self, trace: Trace) -> None:
        cleared, altered = self._coming.pop(id(trace), (True, False))
        if cleared:
            trace.cleared()
        else:
            trace.used_twice |= trace.consumed
            trace.altered_then_added |= altered
        trace.tasks.append(current_task())
        trace.raw = norm_of(trace.parameter.grad)
        trace.reached = True
        self._ended(trace)


class TanhWatch(TorchFunctionMode):
    """Measures of every tanh that gradients pass what share of them it lets through: the mean of 1 - tanh^2."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: dict[int, list[Tensor]] = {}  # by backward pass

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in TANH and isinstance(result, Tensor) and result.requires_grad:
            share = (1.0 - result.detach().float().square()).mean()
            result.register_hook(lambda _: self._add(share))
        return result

    def _add(self, share: Tensor) -> None:
        self.passed.setdefault(current_task(), []).append(share)
        forget_old(self.passed)


def forget_old(by_task: dict[int, Any]) -> None:
    """Keep what the last backward passes left."""
    while len(by_task) > KEPT_TASKS:
        del by_task[next(iter(by_task))]


def names_of(traces: Sequence[Trace]) -> str:
    """The first three by name, and how many more there are."""
    names = [trace.name for trace in traces]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
