"""The whole pipeline with small numbers, by real dvc commands in a temporary clone: what runs again, and what does not.

The tests share one clone and its runs; each leaves it as it was committed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from clipdrive.reporting.files import flat
from pipeline_clone import Clone, ran

pytestmark = pytest.mark.slow

ALL = ["check", "collect", "train", "evaluate", "report"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """The clone after its first `dvc repro`, committed."""
    clone = Clone(tmp_path_factory.mktemp("pipeline"))
    clone.make()
    result = clone.dvc("repro")
    assert result.returncode == 0, result.stdout
    assert ran(result.stdout) == ALL
    clone.commit("a run")
    yield clone
    for process in clone.processes():  # only where a test has failed
        os.kill(process, signal.SIGKILL)


@pytest.fixture
def clone(made: Clone) -> Iterator[Clone]:
    """The clone as committed, and again so at the end, with no process left in it."""
    yield made
    left = _none_left(made)
    made.git("reset", "-q", "--hard", "main")
    made.git("clean", "-q", "-f", "-d")
    restored = made.dvc("checkout", "--force")
    assert restored.returncode == 0, restored.stdout
    assert left == {}


def _none_left(clone: Clone, seconds: float = 30.0) -> dict[int, str]:
    end = time.monotonic() + seconds
    while clone.processes() and time.monotonic() < end:
        time.sleep(0.2)
    return clone.processes()


def outs_of(clone: Clone) -> dict[str, str]:
    """Every out in dvc.lock with its checksum."""
    lock = YAML(typ="safe").load((clone.root / "dvc.lock").read_text())
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


def test_every_output_is_there_and_git_sees_only_what_it_keeps(clone: Clone) -> None:
    data = ("data/episodes/manifest.json", "data/pictures/spawns.png")
    for name in (*data, "models/agent/agent.pt", "evaluation/film.gif"):
        assert (clone.root / name).stat().st_size > 0
    assert (clone.root / "reports" / "report.html").stat().st_size > 10_000
    kept = clone.git("ls-files", "reports", "data", "models", "runs", "evaluation").split()
    assert sorted(kept) == sorted(
        [f"reports/metrics/{name}.json" for name in ("collect", "train", "evaluate")]
        + [f"reports/curves/{name}.csv" for name in ("updates", "episodes", "evaluation")]
    )
    assert [path.parent.name for path in clone.root.glob("*/.gitignore")] == [".dvc"]  # DVC wrote none for its outs


def test_every_published_metric_is_explained(clone: Clone) -> None:
    text = (clone.root / "docs" / "metrics.md").read_text(encoding="utf-8")
    for path in (clone.root / "reports" / "metrics").iterdir():
        for name in flat(json.loads(path.read_text())):
            last = name.split(".")[-1]
            assert f"`{last}`" in text or f".{last}`" in text, (path.name, name)


def test_a_stage_reads_only_the_params_that_it_declares(clone: Clone) -> None:
    stages = YAML(typ="safe").load((clone.root / "dvc.yaml").read_text())["stages"]
    for stage in ("collect", "train", "evaluate"):
        read = set((clone.params_read / stage).read_text().split())
        assert len(read) > 5, stage
        declared = stages[stage]["params"]
        undeclared = [leaf for leaf in read if not any(leaf == d or leaf.startswith(f"{d}.") for d in declared)]
        assert not undeclared, stage


def test_a_second_repro_runs_nothing(clone: Clone) -> None:
    result = clone.dvc("repro")
    assert result.returncode == 0
    assert ran(result.stdout) == []
    assert "Data and pipelines are up to date." in result.stdout


def test_the_projects_own_example_runs_nothing_where_it_is_the_default(clone: Clone) -> None:
    result = clone.dvc("exp", "run", "-S", "gamma=0.99")
    assert result.returncode == 0, result.stdout
    assert ran(result.stdout) == []
    assert "Stage 'train' didn't change, skipping" in result.stdout
    assert clone.git("status", "--porcelain") == ""


def test_another_gamma_learns_again_on_the_same_episodes(clone: Clone) -> None:
    result = clone.dvc("exp", "run", "-S", "gamma=0.95")
    assert result.returncode == 0, result.stdout
    assert ran(result.stdout) == ["check", "train", "evaluate", "report"]
    changed = [line for line in clone.git("diff", "-U0", "params.yaml").splitlines() if line.startswith(("+ga", "-ga"))]
    assert changed == ["-gamma: 0.99", "+gamma: 0.95"]
    diff = clone.dvc("metrics", "diff", "--json")
    train = json.loads(diff.stdout)["reports/metrics/train.json"]
    assert {"q.bound", "q.mean_last", "gradient.critic_cnn.before_mean", "driving.return_last"} <= set(train)


def test_train_again_gives_the_same_bits(clone: Clone) -> None:
    expected = outs_of(clone)
    result = clone.dvc("repro", "-f", "-s", "train")
    assert result.returncode == 0, result.stdout
    assert ran(result.stdout) == ["train"]
    assert outs_of(clone) == expected


def test_more_starts_evaluate_again_and_learn_nothing(clone: Clone) -> None:
    result = clone.dvc("exp", "run", "-S", "evaluate.starts=3")
    assert result.returncode == 0, result.stdout
    assert ran(result.stdout) == ["check", "evaluate", "report"]
    assert json.loads((clone.root / "reports/metrics/evaluate.json").read_text())["agent"]["laps"] == 3


def test_a_threshold_of_the_gate_writes_the_report_again(clone: Clone) -> None:
    result = clone.dvc("exp", "run", "-S", "gate.clean_share_min=0.5")
    assert result.returncode == 0, result.stdout
    assert ran(result.stdout) == ["check", "report"]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+gama=0.9", "error: gama: got 0.9, an unknown key; allowed: seed"),
        ("gamma=abc", "error: gamma: got 'abc', allowed: a number in [0, 1)"),
        ("gamma=1.5", "error: gamma: got 1.5, allowed: a number in [0, 1)"),
        ("tracks.training=[none.xodr]", "error: tracks.training: Track 'none.xodr': there is no file"),
        ("tracks.evaluation=[broken.xodr]", "error: tracks.evaluation: Track 'broken.xodr' cannot be read."),
    ],
)
def test_a_mistake_stops_at_the_check_before_anything_is_lost(clone: Clone, override: str, sentence: str) -> None:
    (clone.root / "maps" / "broken.xodr").write_text("<OpenDRIVE><road")
    before = (clone.root / "runs/train/metrics.json").read_bytes()
    result = clone.dvc("exp", "run", "-S", override)
    assert result.returncode != 0
    assert ran(result.stdout) == ["check"]
    assert sentence in result.stdout and "Traceback" not in result.stdout
    assert (clone.root / "runs/train/metrics.json").read_bytes() == before


def test_a_temporary_experiment_runs_the_code_and_the_params_of_its_own_clone(clone: Clone) -> None:
    with open(clone.root / "src" / "clipdrive" / "reporting" / "page.py", "a") as file:
        file.write("\nprint('the page is from', __file__)\n")
    result = clone.dvc("exp", "run", "--temp", "-n", "temporary", "-S", "gate.clean_share_min=0.4")
    assert result.returncode == 0, result.stdout
    assert ran(result.stdout) == ["check", "report"]
    assert f"the page is from {clone.root}/.dvc/tmp/exps/" in result.stdout
    diff = clone.dvc("params", "diff", "main", "temporary", "--json").stdout
    assert json.loads(diff)["params.yaml"]["gate.clean_share_min"]["new"] == 0.4


def test_a_map_is_a_dependency_of_the_stages_that_drive(clone: Clone) -> None:
    (clone.root / "maps" / "README.md").write_text("words change nothing\n")
    assert json.loads(clone.dvc("status", "--json").stdout) == {}
    (clone.root / "maps" / "own.xodr").write_text("<OpenDRIVE/>")
    status = json.loads(clone.dvc("status", "--json").stdout)
    assert sorted(status) == ["check", "collect", "evaluate", "train"]
    assert all({"changed deps": {"maps": "modified"}} in changes for changes in status.values())


def test_the_folder_of_the_maps_is_a_param(clone: Clone, tmp_path: Path) -> None:
    shutil.copytree(clone.root / "maps", tmp_path / "elsewhere")
    text = (clone.root / "params.yaml").read_text()
    (clone.root / "params.yaml").write_text(text.replace("folder: maps ", f"folder: {tmp_path / 'elsewhere'} "))
    result = clone.dvc("repro", "check")
    assert result.returncode == 0, result.stdout
    assert ran(result.stdout) == ["check"]
    assert str(tmp_path / "elsewhere") in (clone.root / "dvc.lock").read_text()


def test_code_that_a_stage_does_not_import_runs_nothing_again(clone: Clone) -> None:
    for name in ("training/film.py", "reporting/page.py"):
        with open(clone.root / "src" / "clipdrive" / name, "a") as file:
            file.write("\n# a change\n")
    assert sorted(json.loads(clone.dvc("status", "--json").stdout)) == ["evaluate", "report"]


def test_a_bare_clone_agrees_with_its_lock_file(clone: Clone, tmp_path: Path) -> None:
    """The consistency gate of CI, where no data is: nothing would run."""
    clone.git("clone", "-q", str(clone.root), str(tmp_path / "bare"))

    def gate() -> subprocess.CompletedProcess:
        command = ["python", "-m", "dvc", "repro", "--dry", "--allow-missing"]
        return subprocess.run(command, cwd=tmp_path / "bare", env=clone.environment, capture_output=True, text=True)

    result = gate()
    assert result.returncode == 0, result.stderr
    assert ran(result.stdout) == []
    with open(tmp_path / "bare" / "stages" / "train.py", "a") as file:
        file.write("\n# a change without its run\n")
    result = gate()
    assert result.returncode != 0 or "train" in ran(result.stdout)


def test_the_stage_fails_when_gradients_are_altered_after_the_clip(clone: Clone) -> None:
    before = (clone.root / "dvc.lock").read_bytes()
    result = clone.dvc("repro", "-f", "-s", "train", ALTER_GRADIENTS="1")
    assert result.returncode != 0
    assert "failed to reproduce 'train'" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert "the step would use a gradient of norm" in line and "certificate" in line
    assert "Traceback" not in result.stdout
    assert (clone.root / "dvc.lock").read_bytes() == before
    certificate = next((clone.root / ".clipdrive" / "failures").glob("*/certificate.json"))
    assert json.loads(certificate.read_text())["certificate"]["violations"] == 1


def _wait_for(condition, process: subprocess.Popen, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "dvc ended by itself"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_killed_twice_in_the_middle_of_train_it_ends_with_the_same_bits(clone: Clone) -> None:
    """dvc and the stage are killed at any moment; the memory of 150 steps has wrapped round by then."""
    expected = outs_of(clone)
    state = clone.root / ".clipdrive"
    shutil.rmtree(state, ignore_errors=True)
    for wait in (0.0, 0.1):  # the stage has a second or less to go when it has saved
        known = {path: path.stat().st_mtime_ns for path in state.glob("checkpoints/*/state.pt")}

        def saved(known: dict[Path, int] = known) -> bool:
            return any(known.get(p) != p.stat().st_mtime_ns for p in state.glob("checkpoints/*/state.pt"))

        def stages() -> list[int]:
            return [process for process, command in clone.processes().items() if "stages.train" in command]

        dvc = clone.start("repro", "-f", "-s", "train")
        _wait_for(stages, dvc)
        doomed = [*stages(), dvc.pid]
        _wait_for(saved, dvc)
        time.sleep(wait)
        for process in doomed:
            os.kill(process, signal.SIGKILL)
        dvc.wait()
        assert _none_left(clone) == {}
    assert not (clone.root / "models" / "agent").exists()
    assert list(state.glob("checkpoints/*/state.pt"))  # to be taken up
    result = clone.dvc("repro", "-f", "-s", "train")  # -f: dvc would fetch the result of the run above from its cache
    assert result.returncode == 0, result.stdout
    assert outs_of(clone) == expected
    assert ran(clone.dvc("repro").stdout) == []
    assert not list(state.glob("checkpoints/*/state.pt"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_dvc_leaves_no_process_behind(clone: Clone, number: signal.Signals) -> None:
    """Ctrl-C reaches the whole group; the other two are sent to dvc alone."""
    before = (clone.root / "dvc.lock").read_bytes()
    dvc = clone.start("repro", "-f", "-s", "collect")
    _wait_for(lambda: any("carla_server" in command for command in clone.processes().values()), dvc)
    if number == signal.SIGINT:
        os.killpg(dvc.pid, number)
    else:
        dvc.send_signal(number)
    assert dvc.wait(timeout=60) != 0
    assert _none_left(clone) == {}
    assert (clone.root / "dvc.lock").read_bytes() == before
