"""The delivered agent on disk: `agent.pt` (weights) and `agent.json` (the networks and the observation they expect)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from clipdrive.agents.networks import Actor, Critic, NetworkError, NetworkSpec, load_weights
from clipdrive.agents.td3 import TD3


class Driver:
    """An agent without noise on the CPU: observation in, action out."""

    def __init__(self, spec: NetworkSpec, weights: dict[str, Any] | None = None) -> None:
        """Untrained where no weights are given; raises NetworkError where they are of another network."""
        self.spec = spec
        self.actor, self.critic = Actor(spec), Critic(spec)
        if weights is not None:
            load_weights(self.actor, self.critic, weights)

    @torch.no_grad()
    def act(self, observation: dict[str, Any]) -> Any:
        """The action float32 (A,) for one observation of the environment."""
        frames = torch.from_numpy(observation["frames"])[None]
        state = torch.from_numpy(observation["state"])[None]
        seer = self.critic if self.actor.encoder is None else self.actor
        return torch.tanh(self.actor(seer.features(frames), state))[0].numpy()


def write_agent(folder: Path, agent: TD3, camera: dict[str, Any]) -> None:
    """Write an agent's weights and description into `folder` (made where missing)."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: {k: v.cpu() for k, v in part.items()} for name, part in agent.weights().items()}
    torch.save(weights, folder / "agent.pt")
    description = {"networks": agent.spec.as_values(), "camera": camera}
    (folder / "agent.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def read_agent(folder: Path) -> Driver:
    """The driver that `write_agent` stored; raises NetworkError with one sentence."""
    try:
        description = json.loads((folder / "agent.json").read_text(encoding="utf-8"))
        weights = torch.load(folder / "agent.pt", map_location="cpu", weights_only=True)
        return Driver(NetworkSpec(**description["networks"]), weights)
    except OSError as error:
        raise NetworkError(f"{folder}: no agent there ({error.strerror}); run train first") from error
    except (KeyError, TypeError, ValueError, RuntimeError, EOFError) as error:
        if isinstance(error, NetworkError):
            raise NetworkError(f"{folder}: {error}") from error
        raise NetworkError(f"{folder}: not an agent of clipdrive ({error})") from error
