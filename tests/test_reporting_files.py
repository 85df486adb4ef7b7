"""The metrics that the report reads and publishes: rounded, strict JSON, one sentence for what is missing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from clipdrive.reporting.files import ReportError, flat, not_finite, read_json, write_metrics


def test_flat_gives_the_names_that_dvc_shows() -> None:
    assert flat({"q": {"abs_max": 2.0, "inner": {"a": 1}}, "steps": 3}) == {
        "q.abs_max": 2.0,
        "q.inner.a": 1,
        "steps": 3,
    }


def test_numbers_are_published_with_six_digits_and_whole_ones_are_kept(tmp_path: Path) -> None:
    write_metrics(tmp_path / "m.json", {"a": 0.123456789, "b": 123456789.0, "c": 1234567, "d": [1e-9 / 3]})
    assert json.loads((tmp_path / "m.json").read_text()) == {
        "a": 0.123457,
        "b": 123457000.0,
        "c": 1234567,
        "d": [3.33333e-10],
    }


def test_what_is_not_finite_is_named_and_published_as_null(tmp_path: Path) -> None:
    values = {"q": {"max": math.inf, "mean": math.nan}, "ok": 1.0}
    assert not_finite(values) == ["q.max", "q.mean"]
    write_metrics(tmp_path / "metrics" / "train.json", values)
    text = (tmp_path / "metrics" / "train.json").read_text()
    assert json.loads(text) == {"q": {"max": None, "mean": None}, "ok": 1.0}
    assert "NaN" not in text and "Infinity" not in text


@pytest.mark.parametrize(
    ("content", "sentence"), [("{", "is not JSON"), ("[1]", "holds a list"), (None, "cannot be read")]
)
def test_a_bad_metrics_file_is_told_in_one_sentence(tmp_path: Path, content: str | None, sentence: str) -> None:
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ReportError, match=rf"metrics.json: {sentence}"):
        read_json(path)
