"""Sees every call of torch's clip functions while it is open, also through names that scripts imported before.

Torch wraps these functions in a closure; what the closure holds is exchanged, so the function objects that others
hold stay the same. Where a torch has no such closure, the names in all loaded modules are exchanged instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

NAMES = {"clip_grad_norm_": "max_norm", "clip_grads_with_norm_": "max_norm", "clip_grad_value_": "clip_value"}


class ClipCalls:
    """While open, calls `before(parameters)`, and afterwards `after(token, kind, limit, exhausted, norm_type)`.

    `token` is what `before` returned; `kind` is norm or value; a call inside another one is not reported.
    """

    def __init__(self, before: Callable[..., Any], after: Callable[..., None]) -> None:
        self._before, self._after = before, after
        self._undo: list[Callable[[], None]] = []
        self._inside = False

    def open(self) -> None:
        for name, limit_name in NAMES.items():
            function = getattr(torch.nn.utils, name, None)
            if function is not None:
                self._exchange(function, limit_name)

    def close(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _exchange(self, function: Any, limit_name: str) -> None:
        inner = getattr(function, "__wrapped__", None)
        for cell in function.__closure__ or ():
            if inner is not None and callable(cell.cell_contents):
                held = cell.cell_contents
                cell.cell_contents = self._seen(held, limit_name)
                self._undo.append(lambda cell=cell, held=held: setattr(cell, "cell_contents", held))
                return
        seen = self._seen(function, limit_name)
        for module in list(sys.modules.values()):
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if value is function:
                    setattr(module, name, seen)
                    self._undo.append(lambda m=module, n=name: setattr(m, n, function))

    def _seen(self, function: Callable[..., Any], limit_name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            given = args[0] if args else kwargs["parameters"]
            listed = [given] if isinstance(given, Tensor) else list(given)
            again = (p for p in listed) if isinstance(given, Iterator) else listed
            args, kwargs = ((again, *args[1:]), kwargs) if args else (args, kwargs | {"parameters": again})
            limit = args[1] if len(args) > 1 else kwargs[limit_name]
            token = self._before(listed)
            self._inside = True
            try:
                result = function(*args, **kwargs)
            finally:
                self._inside = False
            norm_type = args[2] if len(args) > 2 and limit_name == "max_norm" else kwargs.get("norm_type", 2.0)
            kind = "value" if limit_name == "clip_value" else "norm"
            order = 2.0 if isinstance(norm_type, Tensor) else float(norm_type)
            self._after(token, kind, float(limit), not listed, order)
            return result

        return call
