"""Every `dvc exp run -S` that the docs show is of keys and values that fit together; the papers' settings above all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks import race, towns
from ruamel.yaml import YAML

from small_params import params_with

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8")
OVERRIDE = re.compile(r"-S (?:'([\w.]+)=([^']+)'|([\w.]+)=([^\s'`]+))")
SEQUENCE = re.compile(r'"([\w.]+)=\[\$\(seq -s, -f ([a-z]+):%g (\d+) (\d+)\)\]"')


def listed(match: re.Match) -> str:
    """What a shell makes of such a word."""
    name, kind, first, last = match.groups()
    return f"'{name}=[{','.join(f'{kind}:{number}' for number in range(int(first), int(last) + 1))}]'"


def overrides(text: str) -> dict[str, object]:
    text = SEQUENCE.sub(listed, text)
    pairs = [(quoted or plain, value or word) for quoted, value, plain, word in OVERRIDE.findall(text)]
    assert len(pairs) == len(re.findall(r"-S ", text)), text
    return {key.replace(".", "__"): YAML(typ="safe").load(value) for key, value in pairs}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))])
def test_every_command_of_every_page_is_of_valid_params(page):
    for line in (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if "dvc exp run -S" in line and "--queue" not in line and "$ " not in line:  # `$ `: shown with its refusal
            params_with(**overrides(line[line.index("dvc exp run -S") :].split(" # ")[0].split("` ")[0]))


def test_every_command_is_of_valid_params():
    joined = TEXT.replace("\\\n", " ")
    commands = [line for line in joined.splitlines() if line.strip().startswith("dvc exp run -S")]
    plain = overrides(TEXT[TEXT.index("PLAIN='") :].split("| paper |")[0])
    rows = TEXT[TEXT.index("| paper |") :].splitlines()[2:]
    assert len(commands) == 3 and len(rows) == 6 and len(plain) == 11
    for command in commands:
        params_with(**overrides(command))
    for row in rows:
        found = overrides(row)
        assert "`dvc exp run $PLAIN -S " in row and len(found) > 3, row
        params = params_with(**(plain | found))
        assert all(value is None for name, value in vars(params.clip).items() if name in vars(params.clip_kind))
    riddle = params_with(**overrides(next(line for line in commands if "gamma=0.9" in line)))
    assert (riddle.gamma, riddle.tau, riddle.critic_lr, riddle.batch_size) == (0.9, 0.001, 1e-4, 256)
    assert (riddle.clip.actor_cnn, riddle.clip.critic_cnn, riddle.encoder) == (1.0, 10.0, "separate")


@pytest.mark.parametrize(("page", "first", "changes"), [
    ("race", "reward.target_speed_mps=none", race.RACE),
    ("conditions", "tracks.follow=lane", towns.TOWNS),
])  # fmt: skip
def test_the_command_of_a_benchmark_s_agent_is_what_the_benchmark_trains(page, first, changes):
    lines = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    command = next(line for line in lines if line.strip().startswith(f"dvc exp run -S {first}"))
    by_dots = {name.replace(".", "__"): value for name, value in changes.items()}
    assert params_with(**overrides(command)) == params_with(**by_dots)
