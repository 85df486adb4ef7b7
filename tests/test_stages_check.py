"""The check stage: a mistake in the params or in a track is one sentence, before anything is simulated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stages.check import check_tracks

from clipdrive.opendrive.circuit import circuit_xodr
from clipdrive.tracks.track import TrackError
from small_params import PARAMS_FILE, params_with

ROOT = PARAMS_FILE.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.xodr").write_text(circuit_xodr(3))
    (tmp_path / "broken.xodr").write_text("<OpenDRIVE><road")
    (tmp_path / "empty.xodr").write_text("<OpenDRIVE/>")
    return tmp_path


def test_the_projects_own_tracks_are_good() -> None:
    check_tracks(params_with())


def test_a_file_that_is_an_opendrive_map_is_good(folder: Path) -> None:
    check_tracks(params_with(tracks__folder=str(folder), tracks__evaluation=["good.xodr", "circuit:5"]))


@pytest.mark.parametrize("name", ["broken.xodr", "empty.xodr", "missing.xodr", "circuit:one", "circuit:", "Town01"])
def test_a_track_that_cannot_be_opened_is_told_with_its_key_and_name(folder: Path, name: str) -> None:
    for key in ("training", "evaluation"):
        changes = {f"tracks__{key}": ["circuit:3", name], "tracks__folder": str(folder)}
        with pytest.raises(TrackError, match=rf"^tracks.{key}: .*{name}") as caught:
            check_tracks(params_with(**changes))
        assert "\n" not in str(caught.value)


def test_a_town_is_left_to_the_carla_server() -> None:
    check_tracks(params_with(simulator="carla", tracks__training=["Town01"]))


def run_in(folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "stages.check"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_writes_the_same_mark_for_all_good_params_and_is_quick(tmp_path: Path) -> None:
    shutil.copy(PARAMS_FILE, tmp_path)
    begin = time.monotonic()
    assert run_in(tmp_path).returncode == 0
    assert time.monotonic() - begin < 10.0  # a second on an idle machine
    first = (tmp_path / "data" / "params.ok").read_bytes()
    text = PARAMS_FILE.read_text().replace("\ngamma: 0.99", "\ngamma: 0.5")
    (tmp_path / "params.yaml").write_text(text)
    assert run_in(tmp_path).returncode == 0
    assert (tmp_path / "data" / "params.ok").read_bytes() == first


def test_the_command_refuses_a_typo_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS_FILE.read_text() + "gama: 0.9\n")
    result = run_in(tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: gama: got 0.9, an unknown key; allowed: ")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()
