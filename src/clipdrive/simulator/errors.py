"""What can go wrong between us and a simulator."""

from __future__ import annotations


class SimulatorError(RuntimeError):
    """The simulator cannot be started or reached, or did not do in time what it was asked to do."""


class ServerError(SimulatorError):
    """The bundled server's process did not start, or ended by itself."""
