"""Params for tests: the project's own file with values changed by dotted names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from clipdrive.params import Params, params_from

PARAMS_FILE = Path(__file__).parents[1] / "params.yaml"


def params_with(**changes: Any) -> Params:
    """The repository's params with e.g. `gamma=0.9, clip__actor_cnn="none"` (two underscores for a dot)."""
    values = YAML(typ="safe", pure=True).load(PARAMS_FILE.read_text(encoding="utf-8"))
    for name, value in changes.items():
        section, *keys = name.split("__")
        if keys:
            values[section][keys[0]] = value
        else:
            values[section] = value
    return params_from(values)
