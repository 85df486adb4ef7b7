"""docs/metrics.md names every metric and every column of the log, and quotes the lines of code that make them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipdrive.experience.workers import Faults
from clipdrive.training.metrics import UpdateMeter, summary, update_columns
from clipdrive.training.returns import ReturnWatch
from clipdrive.training.task_evaluation import summarise_task
from test_agents_td3 import agent, batch

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
GROUP = re.compile(r"\b(actor|critic)_(cnn|memory|head)\b")


def rows(section: str) -> list[list[str]]:
    """The cells of the table rows of a section (names, unit, formula, code)."""
    text = PAGE.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def names(section: str) -> set[str]:
    """All names of a section's first cells; `b` behind `a.x` stands for `a.b`."""
    result = set()
    for cells in rows(section):
        first, *others = re.findall(r"`([^`]+)`", cells[0])
        result |= {first, *others}
        result |= {f"{first.rpartition('.')[0]}.{other.lstrip('.')}" for other in others}
    return result


def flat(values: dict, prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield GROUP.sub("GROUP", prefix + name)


SECTIONS = (*(f"reports/metrics/{stage}.json" for stage in ("collect", "train", "evaluate")), "reports/curves")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_row_has_a_unit_a_formula_and_quotes_code_that_is_there(section):
    for cells in rows(section):
        assert len(cells) == 4 and all(cells), cells
        quotes = re.findall(r"(\w+/\w+\.py): ((?:`[^`]+`(?:, )?)+)", cells[3])
        assert quotes, cells
        for path, fragments in quotes:
            lines = (ROOT / "src" / "clipdrive" / path).read_text(encoding="utf-8").splitlines()
            for fragment in re.findall(r"`([^`]+)`", fragments):
                assert any(fragment in line for line in lines), f"{path}: no line holds {fragment}"


def everything(algorithm: str) -> tuple[dict, list[str]]:
    """Train's metrics and the log's columns for an agent with all that an agent can have."""
    td3 = agent(algorithm=algorithm, encoder="separate", memory="gru", policy_delay=1)
    meter, returns = UpdateMeter(100.0), ReturnWatch(0.5)
    update = td3.update(batch(), measure_update=True)
    meter.add(update)
    meter.row(update, {})
    returns.pairs.append(([1.0, 2.0], [0.0, 3.0]))
    episode = {"episode": 0, "return": 1.0, "progress_m": 2.0, "ending": "stuck"}
    return summary(td3, meter, returns, [episode], env_steps=1), update_columns(td3)


@pytest.mark.parametrize("algorithm", ["td3", "mpg"])
def test_every_metric_of_train_is_named(algorithm):
    metrics, columns = everything(algorithm)
    assert set(flat(metrics)) - names("reports/metrics/train.json") == set()
    assert {GROUP.sub("GROUP", column) for column in columns} - names("reports/curves") == set()


def test_no_metric_of_train_is_named_that_there_is_not():
    made = set(flat(everything("mpg")[0])) | {"faults.restarts", "faults.truncated_episodes"}
    listed = {re.findall(r"`([^`]+)`", cells[0])[0] for cells in rows("reports/metrics/train.json")}
    assert listed - made == set()


def test_every_published_metric_of_collect_and_evaluate_is_named():
    for stage in ("collect", "evaluate"):
        published = set(flat(json.loads((ROOT / "reports" / "metrics" / f"{stage}.json").read_text())))
        published |= {f"faults.{name}" for name in vars(Faults())}
        plain = {re.sub(r"^(agent|follower|untrained)\.", "", name) for name in published}
        assert plain - names(f"reports/metrics/{stage}.json") == set()


def test_every_metric_of_a_gymnasium_task_is_named():
    driven = (("agent", -1), ("agent", 500), ("untrained", 0))
    laps = [{"driver": driver, "env_step": step, "return": 1.0, "steps": 2} for driver, step in driven]
    plain = {re.sub(r"^(agent|untrained)\.", "", name) for name in flat(summarise_task(laps))}
    assert plain - names("reports/metrics/evaluate.json") == set()
