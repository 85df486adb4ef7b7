"""Episode files: what is written is read, and a bad file is one sentence."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from clipdrive.experience.episodes import (
    EpisodeError,
    EpisodeRecorder,
    read_episode,
    read_episodes,
    read_manifest,
    write_episode,
)


def driven(steps: int = 4, crash: bool = True):
    recorder = EpisodeRecorder(np.zeros((5, 6), np.uint8), np.zeros(3, np.float32))
    for step in range(1, steps + 1):
        last = step == steps
        recorder.add(
            np.array([0.1 * step, -0.5]), -1.0 if last else 0.5, crash and last, not crash and last,
            np.full((5, 6), step, np.uint8), np.full(3, step, np.float32),
        )  # fmt: skip
    return recorder.episode()


def test_every_frame_is_kept_once_and_numpy_alone_opens_it(tmp_path):
    write_episode(tmp_path / "e.npz", driven())
    with np.load(tmp_path / "e.npz") as file:
        assert file["frames"].shape == (5, 5, 6) and file["frames"][:, 0, 0].tolist() == [0, 1, 2, 3, 4]
        assert file["actions"].shape == (4, 2) and file["states"].shape == (5, 3)


@pytest.mark.parametrize("crash", [True, False])
def test_trap_03_an_ending_and_a_time_out_are_kept_apart(tmp_path, crash):
    write_episode(tmp_path / "e.npz", driven(crash=crash))
    episode = read_episode(tmp_path / "e.npz")
    assert episode.terminated.tolist() == [False, False, False, crash]
    assert episode.truncated.tolist() == [False, False, False, not crash]


def test_the_same_episode_gives_the_same_bytes(tmp_path):
    checksums = {write_episode(tmp_path / f"{i}.npz", driven()) for i in range(2)}
    assert len(checksums) == 1


def test_the_heads_in_a_file_hold_nothing_that_another_python_writes_otherwise(tmp_path):
    """Python 3.11.4 gave the sizes of a 64-bit head another meaning: none of our heads is one."""
    write_episode(tmp_path / "e.npz", driven())
    data = (tmp_path / "e.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "e.npz") as archive:
        for entry in archive.infolist():
            extra_length = int.from_bytes(data[entry.header_offset + 28 : entry.header_offset + 30], "little")
            assert (extra_length, entry.extra, entry.date_time) == (0, b"", (1980, 1, 1, 0, 0, 0))


def test_bad_files_are_one_sentence(tmp_path):
    path = tmp_path / "e.npz"
    with pytest.raises(EpisodeError, match="cannot be read"):
        read_episode(path)
    checksum = write_episode(path, driven())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(EpisodeError, match="corrupt"):
        read_episode(path, checksum)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(EpisodeError, match="not an episode file"):
        read_episode(path)
    with pytest.raises(EpisodeError, match="run collect first"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(EpisodeError, match="not a manifest"):
        read_manifest(tmp_path)


def test_episodes_come_in_the_manifests_order(tmp_path):
    rows = []
    for name, steps in (("b", 2), ("a", 3)):
        rows.append({"file": f"{name}.npz", "crc32": write_episode(tmp_path / f"{name}.npz", driven(steps))})
    (tmp_path / "manifest.json").write_text(json.dumps(rows))
    assert [episode.steps for episode in read_episodes(tmp_path)] == [2, 3]


def test_a_disk_that_is_full_leaves_no_half_file(tmp_path, monkeypatch):
    def full(archive, *_):
        archive.fp.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space"):
        write_episode(tmp_path / "e.npz", driven())
    assert not (tmp_path / "e.npz").exists()
