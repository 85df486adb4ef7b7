"""The report stage on a made-up run: everything is there, nothing is fetched, the same bytes each time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipdrive.reporting.files import ReportError
from clipdrive.reporting.report import read_run, report, report_page
from clipdrive.training.film import write_film
from reporting_data import change, circle, write_run
from small_params import PARAMS_FILE, params_with


def run_report(root: Path, target: str = "reports", **changes: object) -> Path:
    report(
        params_with(**changes),
        episodes_folder=root / "data" / "episodes",
        spawns_picture=root / "data" / "pictures" / "spawns.png",
        train_folder=root / "runs" / "train",
        evaluation_folder=root / "evaluation",
        reports_folder=root / target,
    )
    return root / target


def page_of(root: Path, **changes: object) -> str:
    """The page without figures, which take most of the time."""
    run = read_run(
        root / "data" / "episodes",
        root / "data" / "pictures" / "spawns.png",
        root / "runs" / "train",
        root / "evaluation",
    )
    return report_page(params_with(**changes), run, {})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    write_run(root, updates=60, episodes=60)
    road = circle("circuit:1001", 12)
    keys = ("yaw_rad", "speed_mps", "steer", "throttle", "offset_m", "s_m")
    rows = [{"x_m": x, "y_m": y, **dict.fromkeys(keys, 0.0)} for x, y in road]
    write_film(root / "evaluation" / "film.gif", np.zeros((12, 84, 84), np.uint8), rows, road, 10.0)
    return root


@pytest.fixture(scope="module")
def reports(run: Path) -> Path:
    return run_report(run)


@pytest.fixture
def copy_of_run(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "run", ignore=lambda *_: ["reports", "again"])


class Page(HTMLParser):
    """Counts what the page is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_output_of_the_stage_is_written(reports: Path) -> None:
    for name in ("metrics/collect.json", "metrics/train.json", "metrics/evaluate.json"):
        json.loads((reports / name).read_text(), parse_constant=pytest.fail)
    for name in ("curves/updates.csv", "curves/episodes.csv", "curves/evaluation.csv", "report.html"):
        assert (reports / name).stat().st_size > 0
    assert {path.suffix for path in (reports / "figures").iterdir()} == {".png"}


def test_metrics_are_the_stages_own(run: Path, reports: Path) -> None:
    train = json.loads((reports / "metrics" / "train.json").read_text())
    assert train == json.loads((run / "runs" / "train" / "metrics.json").read_text())


def test_the_page_holds_everything_and_fetches_nothing(reports: Path) -> None:
    html = (reports / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []  # every tag is closed
    assert "script" not in page.tags and "link" not in page.tags and "iframe" not in page.tags
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert "http" not in re.sub(r"data:[^\"]*", "", html) and "@import" not in html and "url(" not in html
    pictures = [source for source in page.sources if source.startswith("data:")]
    assert len(pictures) == len(list((reports / "figures").iterdir())) + 2  # and the film, and the map of collect
    assert sum(source.startswith("data:image/gif") for source in pictures) == 1
    assert html.count(' alt="') == len(pictures)


def test_the_page_shows_what_was_run_and_what_came_out(reports: Path) -> None:
    text = Page((reports / "report.html").read_text(encoding="utf-8")).text
    for words in (
        "td3, seed 0, simulator bundled. Learned on 20 tracks, judged on 6 unseen",
        "12,000 decisions driven, 6,500 updates",
        "In none of 6500 updates did a step use a gradient above its group's limit.",
        "follower",
        "untrained",
        "critic_cnn",
        "circuit:1003",
        "clip.actor_head",
        "checkpoints_visited_share",
    ):
        assert words in text, words


def test_no_time_no_host_and_the_same_bytes_again(run: Path, reports: Path) -> None:
    again = run_report(run, "again")
    files = sorted(path.relative_to(reports) for path in reports.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in files:
        assert (reports / name).read_bytes() == (again / name).read_bytes(), name
    for path in (reports / "figures").iterdir():
        with Image.open(path) as image:
            assert image.info.keys() <= {"dpi"}, path.name


def test_figures_are_pictures_of_something(reports: Path) -> None:
    for path in (reports / "figures").iterdir():
        with Image.open(path) as image:
            assert min(image.size) > 300
            assert np.asarray(image.convert("L")).std() > 5, path.name


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("runs/train", {"q__abs_max": 2e6, "q__bound_passed_updates": 9}, "passed the bound R_max / (1 - gamma) = 100"),
        ("runs/train", {"actor__saturated_share_last": 0.9}, "The actor is saturated"),
        ("runs/train", {"certificate__violations": 3}, "3 of 6500 updates used a gradient above its limit"),
        ("evaluation", {"agent__route_completion_mean": 0.02}, "No learning"),
        ("runs/train", {"q__mean_last": float("nan")}, "Not a finite number: train: q.mean_last"),
    ],
)
def test_the_page_says_what_is_wrong(copy_of_run: Path, file: str, values: dict, words: str) -> None:
    change(copy_of_run / file / "metrics.json", **values)
    html = page_of(copy_of_run)
    assert words in Page(html).text
    assert '<li class="bad">' in html


def test_a_run_without_driving_film_and_limits_has_a_page_too(copy_of_run: Path) -> None:
    """train.env_steps 0, evaluate.film false, clip none."""
    train = copy_of_run / "runs" / "train"
    table = pd.read_csv(train / "episodes.csv")
    table.head(0).to_csv(train / "episodes.csv", index=False)
    (copy_of_run / "evaluation" / "film.gif").unlink()
    metrics = json.loads((train / "metrics.json").read_text())
    for group in metrics["gradient"].values():
        del group["limit"]
    del metrics["driving"]
    (train / "metrics.json").write_text(json.dumps(metrics))
    text = Page((run_report(copy_of_run) / "report.html").read_text(encoding="utf-8")).text
    assert "none" in text and "critic_head" in text


@pytest.mark.parametrize("name", ["runs/train/updates.csv", "evaluation/metrics.json", "evaluation/trajectories.csv"])
def test_a_missing_input_is_told_before_anything_is_written(copy_of_run: Path, name: str) -> None:
    (copy_of_run / name).unlink()
    with pytest.raises(ReportError, match=rf"{name}: cannot be read \(No such file or directory\)"):
        run_report(copy_of_run)
    assert not (copy_of_run / "reports").exists()


def test_a_disk_that_takes_no_more_leaves_the_old_report(copy_of_run: Path) -> None:
    """A limit on the size of files stands for a full disk: the figures do not fit."""
    old = copy_of_run / "reports" / "metrics" / "train.json"
    old.parent.mkdir(parents=True)
    old.write_text("the old one")
    shutil.copy(PARAMS_FILE, copy_of_run)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    code = f"{limit}; import stages.report as stage; stage.run(stage.main)"
    environment = {**os.environ, "PYTHONPATH": str(PARAMS_FILE.parent), "MPLCONFIGDIR": str(copy_of_run)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=copy_of_run, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "error: File too large"
    assert "Traceback" not in result.stderr
    assert [path.name for path in copy_of_run.glob("reports*")] == ["reports"]
    assert old.read_text() == "the old one"


def test_names_are_escaped(copy_of_run: Path) -> None:
    html = page_of(copy_of_run, tracks__folder="<maps&>")
    assert "&lt;maps&amp;&gt;" in html and "<maps" not in html
