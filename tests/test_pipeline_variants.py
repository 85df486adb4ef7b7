"""Every algorithm, network and replay goes through the whole pipeline by one `dvc exp run -S ...`, certified."""

from __future__ import annotations

import json

import pytest

from pipeline_clone import Clone, ran
from test_pipeline import clone, made  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow

HEADS, CNNS, MEMORIES = ({f"actor_{part}", f"critic_{part}"} for part in ("head", "cnn", "memory"))
ALL = ["check", "collect", "train", "evaluate", "report"]
LEARNS = ["check", "train", "evaluate", "report"]
PENDULUM = (
    "task=Pendulum-v1",
    "cnn=none",
    "mirror=false",
    "collect.steps=150",
    "train.env_steps=250",
    "train.snapshot_every_steps=125",
)


@pytest.mark.parametrize(
    ("overrides", "stages", "groups"),
    [
        (("algorithm=mpg",), LEARNS, {"critic_cnn"} | HEADS),
        (("algorithm=ddpg", "n_step=3"), LEARNS, {"critic_cnn"} | HEADS),
        (("algorithm=td3_bc", "train.env_steps=0"), LEARNS, {"critic_cnn"} | HEADS),
        (("cnn=perot",), LEARNS, {"critic_cnn"} | HEADS),
        (("encoder=separate", "cnn=nature"), LEARNS, CNNS | HEADS),
        (("memory=gru",), LEARNS, {"critic_cnn", "critic_memory"} | HEADS),
        (("memory=lstm", "encoder=separate"), LEARNS, CNNS | MEMORIES | HEADS),
        (("replay=prioritised",), LEARNS, {"critic_cnn"} | HEADS),
        (("replay=none",), LEARNS, {"critic_cnn"} | HEADS),
        (("observation=state", "cnn=none"), ALL, HEADS),
        (PENDULUM, ALL, HEADS),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_the_whole_pipeline(clone: Clone, overrides, stages, groups) -> None:  # noqa: F811
    arguments = [part for override in overrides for part in ("-S", override)]
    result = clone.dvc("exp", "run", *arguments)
    assert result.returncode == 0, result.stdout
    assert ran(result.stdout) == stages
    train = json.loads((clone.root / "reports/metrics/train.json").read_text())
    assert train["certificate"]["violations"] == 0 and train["certificate"]["updates"] == train["updates"] > 5
    assert set(train["gradient"]) == groups
    assert all(group["before_max"] > 0.0 for group in train["gradient"].values())
    assert (clone.root / "evaluation" / "film.gif").exists() == (overrides is not PENDULUM)
    assert (clone.root / "reports" / "report.html").stat().st_size > 10_000
