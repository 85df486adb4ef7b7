"""Imports point one way, and what is imported at the top stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from import_graph import ROOT, direct_imports

PACKAGE = ROOT / "src" / "clipdrive"
COMMON = {"digits", "params", "profile", "progress", "stage", "weather"}  # modules of no package
MAY_IMPORT = {
    "opendrive": set(),
    "carla_server": {"opendrive"},
    "tracks": {"opendrive"},
    "simulator": {"tracks", "carla_server"},  # of the server it knows the name, to start it
    "driving": {"tracks", "simulator"},
    "tasks": {"driving"},
    "experience": {"tracks", "simulator", "driving", "tasks"},
    "agents": {"experience"},
    "training": {"tracks", "simulator", "driving", "experience", "agents", "tasks"},
    "doctor": {"tasks", "experience", "agents"},
    "reporting": set(),
}


def packages_imported_by(package: str) -> dict[str, Path]:
    """The other packages and modules of clipdrive that a package's files import, with a file that does."""
    found = {}
    for path in sorted((PACKAGE / package).glob("**/*.py")):
        for name in direct_imports(path):
            parts = name.split(".")
            if len(parts) > 1 and parts[1] != package:
                found[parts[1]] = path.relative_to(ROOT)
    return found


@pytest.mark.parametrize("package", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()))
def test_imports_point_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | (set() if package in ("opendrive", "carla_server") else COMMON)
    wrong = {name: str(path) for name, path in packages_imported_by(package).items() if name not in allowed}
    assert not wrong


def test_only_the_simulator_imports_carla() -> None:
    for path in PACKAGE.glob("**/*.py"):
        if path.parent.name != "simulator":
            lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
            assert not [line for line in lines if line[:2] in (["import", "carla"], ["from", "carla"])], path


def test_import_of_the_package_and_of_the_command_line_is_light() -> None:
    code = "import sys, clipdrive, clipdrive.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "carla", "numpy", "pandas", "matplotlib", "numba", "gymnasium", "dvc"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("package", ["driving", "tasks", "experience"])
def test_no_torch_where_there_is_no_learning(package: str) -> None:
    for path in (PACKAGE / package).glob("**/*.py"):
        assert "import torch" not in path.read_text(encoding="utf-8"), path
