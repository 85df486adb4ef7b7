"""Tells of each step of torch optimisers, before and after it, and of each clearing of their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Steps:
    """While open, calls `before(number)` and `after(number)` around each step of the optimiser of that number.

    Before means: when the gradients that the step uses are there; with a closure, that is behind it. `cleared(ids)` is
    called before a `zero_grad`, with the ids of the optimiser's parameters.
    """

    def __init__(
        self,
        optimizers: Iterable[torch.optim.Optimizer],
        before: Callable[[int], None],
        after: Callable[[int], None],
        cleared: Callable[[set[int]], None],
    ) -> None:
        self._optimizers = list(optimizers)
        self._before, self._after, self._cleared = before, after, cleared
        self._handles: list[Any] = []
        self._replaced: list[tuple[torch.optim.Optimizer, dict[str, Any]]] = []  # with a zero_grad of its own, or not

    def open(self) -> None:
        for number, optimizer in enumerate(self._optimizers):
            _hook_base_classes(optimizer)
            announced = optimizer.register_step_pre_hook(lambda _, *given, n=number: self._announced(n, *given))
            optimizer._optimizer_step_pre_hooks.move_to_end(announced.id, last=False)  # before one that refuses
            taken = optimizer.register_step_post_hook(lambda *_, n=number: self._after(n))
            optimizer._optimizer_step_post_hooks.move_to_end(taken.id, last=False)
            self._handles += [announced, taken]
            self._watch_clearing(optimizer)

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        for optimizer, own in self._replaced:
            del optimizer.zero_grad
            vars(optimizer).update(own)

    def _watch_clearing(self, optimizer: torch.optim.Optimizer) -> None:
        keys = {id(p) for group in optimizer.param_groups for p in group["params"]}
        clear = optimizer.zero_grad
        self._replaced.append((optimizer, {k: v for k, v in vars(optimizer).items() if k == "zero_grad"}))

        def zero_grad(*args: Any, **kwargs: Any) -> None:
            self._cleared(keys)
            clear(*args, **kwargs)

        optimizer.zero_grad = zero_grad

    def _announced(self, number: int, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        optimizer, *given = args
        closure = given[0] if given else kwargs.get("closure")
        if closure is None:
            self._before(number)
            return None

        def watched() -> Any:
            loss = closure()
            self._before(number)
            return loss

        return (optimizer, watched, *given[1:]), {k: v for k, v in kwargs.items() if k != "closure"}


def _hook_base_classes(optimizer: torch.optim.Optimizer) -> None:
    """Have the step of every base class announce itself, as torch does for a class once it has an instance.

    A class of the caller's own may clip in its `step` and then call that of Adam: what Adam is given counts.
    """
    for kind in type(optimizer).__mro__:
        step = vars(kind).get("step")
        if step is not None and kind is not torch.optim.Optimizer and not hasattr(step, "hooked"):
            kind.step = torch.optim.Optimizer.profile_hook_step(step)
            kind.step.hooked = True
