"""The stages on a Gymnasium task with small numbers: same bytes after an interruption, no film, no map, a report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from clipdrive.experience.collect import collect
from clipdrive.reporting.files import flat, read_json
from clipdrive.reporting.gate import judge
from clipdrive.reporting.report import report
from clipdrive.training.evaluation import evaluate
from clipdrive.training.train import train
from interruption import interrupted_after
from small_params import params_with

SMALL = {
    "task": "Pendulum-v1",
    "cnn": "none",
    "mirror": False,
    "batch_size": 16,
    "feature_units": 16,
    "hidden_units": 16,
    "collect__steps": 250,
    "train__updates_before_driving": 5,
    "train__env_steps": 450,
    "train__updates_per_step": 0.2,
    "train__torch_threads": 1,
    "train__checkpoint_every_steps": 100,
    "train__snapshot_every_steps": 150,
    "evaluate__starts": 2,
}
OUTPUTS = ("models/agent.pt", "run/updates.csv", "run/episodes.csv", "run/metrics.json", "models/snapshots")


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDRIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CLIPDRIVE_DEVICE", "cpu")
    monkeypatch.setenv("CLIPDRIVE_WORKERS", "1")


def trained(folder: Path, episodes: Path, **changes) -> dict:
    return train(params_with(**(SMALL | changes)), episodes, folder / "models", folder / "run")


def contents(folder: Path) -> dict[str, bytes]:
    paths = [p for name in OUTPUTS for p in (folder / name, *(folder / name).rglob("*.pt")) if p.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_the_whole_way_of_pendulum(tmp_path):
    params = params_with(**SMALL)
    data, folder = tmp_path / "data", tmp_path / "out"
    metrics = collect(params, data / "episodes", data / "pictures" / "spawns.png")
    assert metrics["steps"] == 250 and metrics["endings"] == {"terminated": 0, "time_limit": 1, "run_end": 1}
    assert not list((data / "pictures").iterdir())
    metrics = trained(folder, data / "episodes")
    assert metrics["certificate"]["violations"] == 0 and metrics["updates"] == 95
    assert "bound" not in metrics["q"] and metrics["driving"]["episodes"] == 3
    assert [path.name for path in sorted((folder / "models" / "snapshots").iterdir())] == [
        f"step_{steps:09d}" for steps in (150, 300, 450)
    ]
    metrics = evaluate(params, folder / "models", tmp_path / "evaluation")
    rows = pd.read_csv(tmp_path / "evaluation" / "episodes.csv")
    assert len(rows) == 2 * (3 + 1 + 1) and set(rows["ending"]) == {"time_limit"} and set(rows["steps"]) == {200}
    by_age = rows[(rows["driver"] == "agent")].groupby("env_step")["return"].mean()
    assert metrics["agent"]["return_best_of_last_3"] == pytest.approx(by_age.max())
    assert metrics["agent"]["return_mean"] == pytest.approx(by_age[450])  # the last snapshot is the agent
    assert metrics["untrained"]["episodes"] == 2

    places = (data / "episodes", data / "pictures" / "spawns.png", folder / "run", tmp_path / "evaluation")
    report(params, *places, tmp_path / "reports")
    page = (tmp_path / "reports" / "report.html").read_text(encoding="utf-8")
    assert "Pendulum-v1: td3" in page and "Route completion" not in page
    published = {s: flat(read_json(tmp_path / f"reports/metrics/{s}.json")) for s in ("collect", "train", "evaluate")}
    assert all(check.passed for check in judge(params.gate, published))
    strict = params_with(**SMALL, gate__return_min=0.0)
    assert [c.metric for c in judge(strict.gate, published) if not c.passed] == ["return"]
    documented = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for values in published.values():
        for name in values:
            last = name.split(".")[-1]
            assert f"`{last}`" in documented or f".{last}`" in documented, name


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "mpg", "mpg_delta": "sample", "n_step": 3},
        {"replay": "prioritised", "train__memory_steps": 300},
        {"replay": "none", "algorithm": "ddpg"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_interrupted_it_ends_with_the_same_bytes(tmp_path, changes):
    collect(params_with(**SMALL), tmp_path / "episodes", tmp_path / "pictures" / "none.png")
    metrics = trained(tmp_path / "whole", tmp_path / "episodes", **changes)
    stop_at = metrics["updates"] * 3 // 4
    with interrupted_after(stop_at):
        trained(tmp_path / "again", tmp_path / "episodes", **changes)
    assert list((tmp_path / "state" / "checkpoints").glob("*/state.pt"))
    again = trained(tmp_path / "again", tmp_path / "episodes", **changes)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    if changes.get("replay") == "none":
        assert again["updates"] == (250 + 450) // 16  # each step once
    if changes.get("algorithm") == "mpg":
        assert again["q"]["mpg_delta_last"] > 0.0
