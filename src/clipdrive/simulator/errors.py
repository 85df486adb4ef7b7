"""What can go wrong between us and a simulator."""

from __future__ import annotations


class SimulatorError(RuntimeError):
    """The simulator cannot be used, or was asked for what it has not."""


class ServerFault(SimulatorError):
    """The server is gone, hung or out of step: the same thing tried again, on a new one, may go well."""


class ServerError(ServerFault):
    """The bundled server's process did not start, or ended by itself."""


class ServerLost(SimulatorError):
    """The last restart that is allowed did not help either; `restarts` were made in all."""

    def __init__(self, message: str, restarts: int = 0) -> None:
        super().__init__(message)
        self.restarts = restarts
