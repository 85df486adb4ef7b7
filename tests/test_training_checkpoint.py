"""Checkpoints: atomic, keyed, appended, never shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipdrive.experience.memory import ReplayMemory
from clipdrive.training.checkpoint import CheckpointError, CheckpointFolder, run_key, state_folder
from clipdrive.training.logs import CsvLog


def memory(rows: int = 0, capacity: int = 30) -> ReplayMemory:
    result = ReplayMemory(capacity, (1, 4, 4), 3, 2, 2)
    grow(result, rows)
    return result


def grow(result: ReplayMemory, rows: int) -> None:
    for _ in range(rows):
        number = result.count
        frame, state = np.full((1, 4, 4), number % 251, np.uint8), np.full(3, number, np.float32)
        if number % 7 == 0:
            result.begin(frame, state)
        else:
            result.add(np.zeros(2), number, False, frame, state)


def arrays(result: ReplayMemory) -> list[np.ndarray]:
    return [getattr(result, name) for name in ("frames", "states", "rewards", "age", "has_next")]


def test_state_and_memory_come_back_also_after_the_memory_wrapped(tmp_path):
    folder, kept = CheckpointFolder("k", tmp_path), memory()
    for step, rows in enumerate((7, 14, 14, 21)):
        grow(kept, rows)
        folder.save({"step": step, "tensor": torch.arange(3)}, kept)
    folder._lock.close()
    back = memory()
    state = CheckpointFolder("k", tmp_path).load(back)
    assert state["step"] == 3 and state["tensor"].tolist() == [0, 1, 2]
    assert back.count == kept.count
    for ours, theirs in zip(arrays(back), arrays(kept), strict=True):
        assert np.array_equal(ours, theirs)


def test_the_memory_is_appended_and_what_was_overwritten_is_deleted(tmp_path):
    folder, kept = CheckpointFolder("k", tmp_path), memory()
    sizes = []
    for _ in range(8):
        grow(kept, 10)
        folder.save({}, kept)
        sizes.append(sorted(path.name for path in folder.folder.glob("rows_*.npz")))
    assert sizes[1] == ["rows_0000000000.npz", "rows_0000000010.npz"]
    assert sizes[-1] == [f"rows_{start:010d}.npz" for start in (50, 60, 70)]


def test_a_save_that_dies_half_way_leaves_the_last_one(tmp_path, monkeypatch):
    folder, kept = CheckpointFolder("k", tmp_path), memory(10)
    folder.save({"step": 1}, kept)
    grow(kept, 5)

    def die(content, file):
        file.write(b"half of a")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", die)
        with pytest.raises(OSError, match="No space left"):
            folder.save({"step": 2}, kept)
    folder._lock.close()
    again, back = CheckpointFolder("k", tmp_path), memory()
    assert again.load(back)["step"] == 1 and back.count == 10
    grow(back, 5)
    again.save({"step": 2}, back)
    assert np.array_equal(back.frames, kept.frames)


def test_two_runs_of_one_key_do_not_share_a_checkpoint(tmp_path):
    first, second = CheckpointFolder("k", tmp_path), CheckpointFolder("k", tmp_path)
    assert first.folder != second.folder
    first.save({"step": 1}, memory(5))
    assert second.load(memory()) is None
    first.remove()
    third = CheckpointFolder("k", tmp_path)
    assert third.folder == first.folder and third.load(memory()) is None


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    folder = CheckpointFolder("k", tmp_path)
    folder.save({}, memory(5))
    (folder.folder / "state.pt").write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match="damaged.*delete"):
        folder.load(memory())


def test_the_key_follows_params_and_inputs(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.npz").write_bytes(b"1")
    first = run_key({"gamma": 0.9}, [tmp_path / "in"])
    assert first == run_key({"gamma": 0.9}, [tmp_path / "in"])
    assert first != run_key({"gamma": 0.95}, [tmp_path / "in"])
    (tmp_path / "in" / "a.npz").write_bytes(b"2")
    assert first != run_key({"gamma": 0.9}, [tmp_path / "in"])


def test_a_temporary_experiment_uses_the_main_checkouts_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("CLIPDRIVE_STATE", raising=False)
    inside = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmpx"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert state_folder() == tmp_path / ".clipdrive"
    monkeypatch.chdir(tmp_path)
    assert state_folder() == tmp_path / ".clipdrive"
    monkeypatch.setenv("CLIPDRIVE_STATE", str(tmp_path / "x"))
    assert state_folder() == tmp_path / "x"


def test_a_log_goes_on_at_its_offset(tmp_path):
    path = tmp_path / "log.csv"
    log = CsvLog(path, ["a", "b"])
    log.add({"a": 1, "b": 0.1})
    offset = log.offset()
    log.add({"a": 2})
    log.close()
    again = CsvLog(path, ["a", "b"], offset)
    again.add({"a": 3})
    again.close()
    assert path.read_text() == "a,b\n1,0.1\n3,\n"
