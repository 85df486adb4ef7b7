"""Episodes on disk: one `.npz` each (numpy opens it without this project) and a manifest beside them."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

ARRAYS = ("frames", "actions", "rewards", "states", "terminated", "truncated")


class EpisodeError(ValueError):
    """An episode file is missing, corrupt, or not of the shape that the params describe."""


@dataclass(frozen=True)
class Episode:
    """T decisions: frames uint8 (T+1, H, W[, 3]), states (T+1, S), actions (T, A), rewards (T,), flags bool (T,)."""

    frames: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.rewards)


class EpisodeRecorder:
    """Gathers one episode while it is driven."""

    def __init__(self, frame: np.ndarray, state: np.ndarray) -> None:
        self._frames, self._states = [frame.copy()], [state.copy()]
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._flags: list[tuple[bool, bool]] = []

    def add(
        self,
        action: np.ndarray,
        reward: float,
        terminated: bool,
        truncated: bool,
        frame: np.ndarray,
        state: np.ndarray,
    ) -> None:
        self._actions.append(np.array(action, dtype=np.float32))
        self._rewards.append(reward)
        self._flags.append((terminated, truncated))
        self._frames.append(frame.copy())
        self._states.append(state.copy())

    def episode(self) -> Episode:
        flags = np.array(self._flags, dtype=bool).reshape(-1, 2)
        return Episode(
            frames=np.stack(self._frames),
            states=np.stack(self._states).astype(np.float32),
            actions=np.stack(self._actions),
            rewards=np.array(self._rewards, dtype=np.float32),
            terminated=flags[:, 0],
            truncated=flags[:, 1],
        )


class ActingDriver(Protocol):
    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray: ...


def record_episode(
    env: Any,
    driver: ActingDriver,
    observation: dict[str, np.ndarray],
    info: dict[str, Any],
    stack: int,
    steps_max: int | None = None,
) -> tuple[Episode, dict[str, Any]]:
    """Drive an episode that was just reset to its end, or for `steps_max` steps; returns it and the last info."""
    colors = len(observation["frames"]) // stack

    def newest(observation: dict[str, np.ndarray]) -> np.ndarray:
        frame = observation["frames"][-colors:]
        return frame[0] if colors == 1 else frame.transpose(1, 2, 0)

    recorder = EpisodeRecorder(newest(observation), observation["state"])
    done, steps = False, 0
    while not done and steps != steps_max:
        action = driver.act(observation, info)
        observation, reward, terminated, truncated, info = env.step(action)
        recorder.add(action, reward, terminated, truncated, newest(observation), observation["state"])
        done, steps = terminated or truncated, steps + 1
    return recorder.episode(), info


def write_episode(path: Path, episode: Episode) -> int:
    """Write one episode in one piece (temporary file, then rename); returns the file's CRC-32."""
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:  # not np.savez: its heads are another Python's other bytes
            for name in ARRAYS:
                array = io.BytesIO()
                np.save(array, getattr(episode, name), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue())
        file.flush()
        os.fsync(file.fileno())
    checksum = zlib.crc32(temporary.read_bytes())
    os.replace(temporary, path)
    return checksum


def read_episode(path: Path, checksum: int | None = None) -> Episode:
    """Read one episode; raises EpisodeError where it is missing, corrupt, or its arrays do not belong together."""
    try:
        data = path.read_bytes()
        if checksum is not None and zlib.crc32(data) != checksum:
            raise EpisodeError(f"{path}: corrupt (CRC-32 {zlib.crc32(data)}, the manifest says {checksum})")
        with np.load(path, allow_pickle=False) as file:
            episode = Episode(**{name: file[name] for name in ARRAYS})
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, EpisodeError):
            raise
        raise EpisodeError(f"{path}: not an episode file ({error}); run collect again") from error
    steps = episode.steps
    if len(episode.frames) != steps + 1 or len(episode.states) != steps + 1 or len(episode.actions) != steps:
        raise EpisodeError(f"{path}: {len(episode.frames)} frames for {steps} steps, allowed: steps + 1")
    return episode


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The manifest's rows, one an episode; raises EpisodeError where there is none."""
    path = folder / "manifest.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror}); run collect first") from error
    except json.JSONDecodeError as error:
        raise EpisodeError(f"{path}: not a manifest ({error}); run collect again") from error


def read_episodes(folder: Path) -> Iterator[Episode]:
    """All episodes of a folder in the manifest's order, each checked against its checksum."""
    for row in read_manifest(folder):
        yield read_episode(folder / row["file"], row["crc32"])
