"""Interrupting a training run between two updates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clipdrive.agents.td3 import TD3


@contextmanager
def interrupted_after(updates: int) -> Iterator[None]:
    """Within, a training run gets a KeyboardInterrupt after so many updates; it must come."""
    real = TD3.update

    def update(self, *args, **kwargs):
        if self.updates == updates:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TD3, "update", update)
        with pytest.raises(KeyboardInterrupt):
            yield
