"""The driving task as a Gymnasium environment, registered by importing this package.

    import clipdrive.driving
    env = gymnasium.make("clipdrive/Drive-v0")

The import is quick: the simulator's client comes with the first environment.
"""

from __future__ import annotations

ENVIRONMENT_ID = "clipdrive/Drive-v0"


def register() -> None:
    """Make `gymnasium.make("clipdrive/Drive-v0")` work; may be repeated."""
    from gymnasium.envs.registration import register as register_environment
    from gymnasium.envs.registration import registry

    if ENVIRONMENT_ID not in registry:
        register_environment(ENVIRONMENT_ID, entry_point="clipdrive.driving.environment:DriveEnv")


register()
