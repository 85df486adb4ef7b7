"""The soak in short: the real client spawns, listens, drives and destroys, and nothing grows or is lost."""

from __future__ import annotations

import copy
import json

import pytest
from benchmarks import soak


@pytest.fixture(scope="module")
def record():
    return soak.watch(ticks=1200, episodes=120)


def test_a_short_soak_passes(record):
    assert record["failures"] == []
    last = record["rows"][-1]
    assert (last["episodes"], last["ticks"], last["lost_images"]) == (120, 1200, 0)
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("server_mb", 30.0, "the server's memory grew"),
        ("client_mb", 30.0, "the client's memory grew"),
        ("server_files", 1, "the server's file descriptors grew"),
        ("lost_images", 1, "1 images were lost"),
    ],
)
def test_what_grows_or_is_lost_fails_the_soak(record, key, value, words):
    worse = copy.deepcopy(record)
    for row in worse["rows"][-len(worse["rows"]) // 4 :]:
        row[key] += value
    (found,) = soak.failures(worse)
    assert words in found


def test_a_client_that_aborts_fails_the_soak(record):
    assert soak.failures({**record, "client_exit_code": -6}) == ["the client ended with exit code -6"]
    assert "not all ticks were driven" in soak.failures({**record, "ticks": 1300})
