"""What a stage writes does not differ by the last bits of a sum."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from clipdrive.digits import rounded, write_json


def test_sums_in_another_order_leave_the_same_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(1.0, 3.0, 1000)
    sums = [float(values.sum()), float(sum(values)), math.fsum(values), float(values[::-1].sum())]
    assert len(set(sums)) > 1
    written = set()
    for total in sums:
        write_json(tmp_path / "metrics.json", {"a": {"mean": total / len(values)}, "rows": [(total, 7, "x", None)]})
        written.add((tmp_path / "metrics.json").read_text())
    assert len(written) == 1


def test_what_is_returned_is_what_was_written(tmp_path: Path) -> None:
    values = write_json(tmp_path / "metrics.json", {"pi": math.pi, "steps": 123456789012, "full": True})
    assert values == {"pi": 3.14159265, "steps": 123456789012, "full": True}
    assert json.loads((tmp_path / "metrics.json").read_text()) == values


def test_a_float32_survives() -> None:
    values = np.random.default_rng(1).normal(0.0, 100.0, 1000).astype(np.float32)
    assert [np.float32(rounded(float(value))) for value in values] == list(values)


def test_what_is_not_finite_is_left_alone_and_refused_by_a_file(tmp_path: Path) -> None:
    assert rounded([math.inf])[0] == math.inf
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"a": math.nan})
    assert not (tmp_path / "metrics.json").exists()
