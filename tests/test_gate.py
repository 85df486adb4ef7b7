"""`python -m clipdrive gate` in a real clone: it passes what is good, and fails what a commit made worse."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reporting_data import change, write_run
from small_params import PARAMS_FILE

ROOT = PARAMS_FILE.parent
EVALUATE = Path("reports/metrics/evaluate.json")
TRAIN = Path("reports/metrics/train.json")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    result = run(folder, "git", *identity, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def gate(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    result = run(folder, sys.executable, "-m", "clipdrive", "gate", *arguments)
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as after a good run: params.yaml, dvc.yaml and the published metrics, committed on main."""
    folder = tmp_path_factory.mktemp("origin")
    for name in ("params.yaml", "dvc.yaml", ".dvc/config", ".dvc/.gitignore", ".gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    write_run(folder, updates=4, episodes=4)
    for stage, made in (("collect", "data/episodes"), ("train", "runs/train"), ("evaluate", "evaluation")):
        path = folder / "reports" / "metrics" / f"{stage}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / made / "metrics.json", path)
    change(folder / EVALUATE, agent__route_completion_mean=0.995, agent__clean_share=1.0)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a good run")
    return folder


@pytest.fixture
def clone(origin: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "-q", str(origin), "clone")
    git(tmp_path / "clone", "checkout", "-q", "-b", "change")
    return tmp_path / "clone"


def commit(clone: Path, file: Path, **values: Any) -> None:
    change(clone / file, **values)
    git(clone, "commit", "-q", "-a", "-m", "a change")


def test_the_good_run_passes_alone_and_against_itself(clone: Path) -> None:
    for arguments in ((), ("--base", "origin/main"), ("--base", "HEAD")):
        result = gate(clone, *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
    assert "route completion against the base  0.995" in result.stdout


def test_a_metric_made_worse_fails(clone: Path) -> None:
    commit(clone, EVALUATE, agent__route_completion_mean=0.96)
    assert gate(clone).returncode == 0  # above the least ...
    result = gate(clone, "--base", "origin/main")  # ... but 0.035 below main
    assert result.returncode == 1
    assert "route completion against the base  0.96   at least 0.975 (base 0.995)  FAILED" in result.stdout
    diff = run(clone, sys.executable, "-m", "dvc", "metrics", "diff", "origin/main", "--json")
    row = json.loads(diff.stdout)[EVALUATE.as_posix()]["agent.route_completion_mean"]
    assert row["old"] == 0.995 and row["new"] == 0.96  # dvc itself, whose exit code is 0, sees the same
    assert diff.returncode == 0


def test_a_small_drop_passes(clone: Path) -> None:
    commit(clone, EVALUATE, agent__route_completion_mean=0.98)
    assert gate(clone, "--base", "origin/main").returncode == 0


def test_thresholds_are_the_params_own(clone: Path) -> None:
    commit(clone, EVALUATE, agent__route_completion_mean=0.96)
    text = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(
        text.replace("route_completion_drop_max: 0.02", "route_completion_drop_max: 0.05")
    )
    assert gate(clone, "--base", "origin/main").returncode == 0
    (clone / "params.yaml").write_text(text.replace("clean_share_min: 0.9", "clean_share_min: 1.5"))
    result = gate(clone)
    assert result.returncode == 1 and result.stderr.startswith("error: gate.clean_share_min: got 1.5, allowed: ")


@pytest.mark.parametrize(
    ("file", "values", "line"),
    [
        (EVALUATE, {"agent__clean_share": 0.5}, "clean share"),
        (TRAIN, {"certificate__violations": 1}, "clip violations"),
        (TRAIN, {"q__abs_max": float("nan")}, "train: q.abs_max"),
        (EVALUATE, {"agent__route_completion_mean": None}, "route completion"),
    ],
)
def test_violations_missing_metrics_and_nan_fail(clone: Path, file: Path, values: dict, line: str) -> None:
    commit(clone, file, **values)
    result = gate(clone)
    assert result.returncode == 1
    (row,) = [row for row in result.stdout.splitlines() if row.startswith(f"{line}  ")]
    assert row.endswith(("FAILED", "missing"))


def test_a_missing_file_and_an_unknown_revision_are_told_in_one_sentence(clone: Path) -> None:
    result = gate(clone, "--base", "no-such-branch")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "no-such-branch" in result.stderr
    (clone / TRAIN).unlink()
    result = gate(clone)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {TRAIN}: cannot be read (No such file or directory)")
