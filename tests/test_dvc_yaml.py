"""dvc.yaml: a stage lists the code that it imports and the params that it reads, and outs are where they belong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from import_graph import ROOT, needed_files

DVC_YAML = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PARAMS = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, dict[str, Any]] = DVC_YAML["stages"]
WHOLE_FILE = ("check", "report")  # they depend on all of params.yaml


def code_deps(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/"))]


def covers(dep: str, path: str) -> bool:
    return path == dep or path.startswith(dep + "/")


def outs(stage: str) -> dict[str, dict[str, Any]]:
    """A stage's outs with their settings."""
    return {k: v for out in STAGES[stage]["outs"] for k, v in (out if isinstance(out, dict) else {out: {}}).items()}


def leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for key, value in values.items():
        names += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return names


@pytest.mark.parametrize("stage", STAGES)
def test_everything_a_stage_imports_is_in_its_deps(stage: str) -> None:
    needed = {path.as_posix() for path in needed_files(ROOT / "stages" / f"{stage}.py")}
    missing = sorted(path for path in needed if not any(covers(dep, path) for dep in code_deps(stage)))
    assert not missing
    needless = [dep for dep in code_deps(stage) if not any(covers(dep, path) for path in needed)]
    assert not needless


@pytest.mark.parametrize("stage", STAGES)
def test_what_python_really_loads_is_in_the_deps(stage: str) -> None:
    code = (
        f"import sys, stages.{stage}\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.split('.')[0] in ('clipdrive', 'stages'): print(module.__file__)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = [Path(line).relative_to(ROOT).as_posix() for line in answer.stdout.splitlines()]
    assert f"stages/{stage}.py" in loaded
    assert not [path for path in loaded if not any(covers(dep, path) for dep in code_deps(stage))]


def test_every_dep_is_there() -> None:
    made = {out for stage in STAGES for out in outs(stage)}
    for stage, content in STAGES.items():
        for dep in content["deps"]:
            assert dep == "${tracks.folder}" or dep in made or (ROOT / dep).exists(), (stage, dep)


def test_the_server_that_is_started_by_name_is_found() -> None:
    """The walk over imports is worth nothing if it does not see the server's process and late imports."""
    needed = {path.as_posix() for path in needed_files(ROOT / "stages" / "collect.py")}
    assert "src/clipdrive/carla_server/__main__.py" in needed
    assert "src/clipdrive/experience/collect.py" in needed  # imported inside main()
    assert "src/clipdrive/training/train.py" not in needed


def test_every_params_entry_exists_once_and_every_number_is_read() -> None:
    read: set[str] = set()
    for stage, content in STAGES.items():
        if stage in WHOLE_FILE:
            assert content["params"] == [{"params.yaml": None}]
            continue
        entries = content["params"]
        assert len(entries) == len(set(entries)), stage
        for entry in entries:
            found = [leaf for leaf in leaves(PARAMS) if covers(entry.replace(".", "/"), leaf.replace(".", "/"))]
            assert found, (stage, entry)
            read.update(found)
    unread = [leaf for leaf in leaves(PARAMS) if leaf not in read]
    assert unread == [leaf for leaf in leaves(PARAMS) if leaf.startswith("gate.")]  # read by report and CI


DRIVE = {"collect", "train", "evaluate"}
READ_BY = {  # by hand, for every key that is not read by train alone; report and check read the whole file
    "seed": DRIVE,
    "simulator": DRIVE,
    "task": DRIVE,
    "observation": DRIVE,
    "exposure": DRIVE,
    "route_command": DRIVE,
    "tracks.training": {"collect", "train"},
    "tracks.evaluation": {"evaluate"},
    "tracks.weather": {"collect", "train"},
    **{f"tracks.{name}": DRIVE for name in "folder follow junctions verge_m wall_height_m episodes_per_load".split()},
    **{section: DRIVE for section in ("camera", "vehicle", "reward", "ending", "spawn")},
    "collect": {"collect"},
    "evaluate": {"evaluate"},
    "gate": set(),
}


@pytest.mark.parametrize("leaf", leaves(PARAMS))
def test_trap_12_a_setting_runs_the_stages_that_read_it_again_and_no_others(leaf: str) -> None:
    expected = READ_BY.get(leaf, READ_BY.get(leaf.split(".")[0], {"train"}))
    declared = {
        stage
        for stage, content in STAGES.items()
        if stage not in WHOLE_FILE and any(leaf == entry or leaf.startswith(f"{entry}.") for entry in content["params"])
    }
    assert declared == expected


def test_an_evaluation_number_does_not_retrain_nor_a_training_number_collect() -> None:
    for stage in ("collect", "train"):
        entries = STAGES[stage]["params"]
        assert not [e for e in entries if e == "tracks" or e.startswith(("evaluate", "tracks.evaluation", "gate"))]
    numbers = {name for name, value in PARAMS.items() if not isinstance(value, dict)}
    driven = {"seed", "simulator", "task", "observation", "exposure", "route_command"}
    assert {e for e in STAGES["collect"]["params"] if e in numbers} == driven


def test_every_stage_waits_for_the_check_of_the_params() -> None:
    (mark,) = outs("check")
    for stage in STAGES:
        assert stage == "check" or mark in STAGES[stage]["deps"]


def test_stages_that_drive_depend_on_the_folder_of_the_tracks() -> None:
    for stage in ("check", "collect", "train", "evaluate"):
        assert "${tracks.folder}" in STAGES[stage]["deps"]


def test_expensive_stages_have_cached_outs_only_and_none_persists() -> None:
    for stage in STAGES:
        for name, options in outs(stage).items():
            assert set(options) <= {"cache"}, name  # no persist, which would turn the run-cache off
            assert stage == "report" or options.get("cache", True), name


def test_outs_are_in_the_root_gitignore_or_in_git() -> None:
    for stage in STAGES:
        for name, options in outs(stage).items():
            check = subprocess.run(
                ["git", "check-ignore", "-v", "--no-index", name], cwd=ROOT, capture_output=True, text=True
            )
            if options.get("cache", True):
                assert check.stdout.startswith(".gitignore:"), name  # so that DVC writes none of its own
            else:
                assert check.returncode == 1, name


def test_metrics_and_plots_are_outs() -> None:
    made = {out for stage in STAGES for out in outs(stage)}
    assert set(DVC_YAML["metrics"]) == {name for name in made if name.startswith("reports/metrics/")}
    for plot in DVC_YAML["plots"]:
        files = [plot] if isinstance(plot, str) else [file for options in plot.values() for file in options["y"]]
        assert set(files) <= made


@pytest.mark.parametrize("stage", STAGES)
def test_a_command_is_one_plain_command(stage: str) -> None:
    """The shell replaces itself by it, and so dvc is the stage's parent (see stage.py)."""
    assert STAGES[stage]["cmd"] == f"exec python -m stages.{stage}"


def test_dvc_reads_it() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"], cwd=ROOT, capture_output=True, text=True
    )
    assert answer.stdout.split() == ["check", "collect", "train", "evaluate", "report"], answer.stderr


def test_settings_of_the_repository() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "dvc", "config", "--list", "--project"], cwd=ROOT, capture_output=True, text=True
    )
    settings = dict(line.split("=", 1) for line in answer.stdout.splitlines())
    assert settings == {"core.analytics": "false", "core.check_update": "false", "core.autostage": "true"}
