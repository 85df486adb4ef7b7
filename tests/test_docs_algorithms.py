"""docs/algorithms.md: every command that it shows is of keys and values that fit together."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml import YAML

from small_params import params_with

TEXT = (Path(__file__).parents[1] / "docs" / "algorithms.md").read_text(encoding="utf-8")
OVERRIDE = re.compile(r"-S '?([\w.]+)=([^\s'`]+)'?")


def overrides(text: str) -> dict[str, object]:
    return {key.replace(".", "__"): YAML(typ="safe").load(value) for key, value in OVERRIDE.findall(text)}


def test_every_command_is_of_valid_params():
    joined = TEXT.replace("\\\n", " ")
    commands = [line for line in joined.splitlines() if line.strip().startswith("dvc exp run -S")]
    plain = overrides(TEXT[TEXT.index("`PLAIN` stands for") :].split("| paper |")[0])
    rows = TEXT[TEXT.index("| paper |") :].splitlines()[2:]
    assert len(commands) == 3 and len(rows) == 6 and len(plain) == 9
    for command in commands:
        params_with(**overrides(command))
    for row in rows:
        found = overrides(row)
        assert len(found) > 3, row
        params_with(**(plain | found))
    riddle = params_with(**overrides(next(line for line in commands if "gamma=0.9" in line)))
    assert (riddle.gamma, riddle.tau, riddle.critic_lr, riddle.batch_size) == (0.9, 0.001, 1e-4, 256)
    assert (riddle.clip.actor_cnn, riddle.clip.critic_cnn, riddle.encoder) == (1.0, 10.0, "separate")
