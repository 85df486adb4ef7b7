"""The records of the long benchmarks: when one counts, and that the proof is of the agent that main delivers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import ablation, conditions, race, runs, tasks, towns
from ruamel.yaml import YAML

from clipdrive.params import params_as_values

ROOT = Path(__file__).resolve().parents[1]


def test_the_proof_of_seed_0_drove_the_agent_that_the_lock_holds() -> None:
    lock = YAML(typ="safe").load((ROOT / "dvc.lock").read_text(encoding="utf-8"))
    outs = {out["path"]: out["md5"] for out in lock["stages"]["train"]["outs"]}
    record = json.loads((ROOT / "benchmarks" / "records" / "proof-seed0.json").read_text(encoding="utf-8"))
    assert record["agent_md5"] == outs["models/agent"]


def test_a_folder_has_the_checksum_that_dvc_gives_it(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    for name in ("b.txt", "a.bin"):
        (tmp_path / "made" / name).write_text(name)
    for command in (["init", "-q", "--no-scm"], ["add", "-q", "made"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True, timeout=60)
    recorded = YAML(typ="safe").load((tmp_path / "made.dvc").read_text())["outs"][0]["md5"]
    assert runs.folder_md5(tmp_path / "made") == recorded


def test_a_record_counts_as_long_as_its_params_have_their_values(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runs, "RECORDS", tmp_path)
    monkeypatch.setattr(runs, "collect", _not_driven)
    record = {"params": params_as_values(runs.params_with({"seed": 5})), "evaluate": {"agent": {}}}
    del record["params"]["mirror"], record["params"]["clip"]["actor_head"]  # params that came after the record
    (tmp_path / "some.json").write_text(json.dumps(record))
    assert runs.recorded_run("some", {"seed": 5}, ("agent",)) == record
    for changes, drivers in (({"seed": 6}, ("agent",)), ({"seed": 5}, ("agent", "follower"))):
        with pytest.raises(ZeroDivisionError):
            runs.recorded_run("some", changes, drivers)
    record["params"]["gone"] = 1
    (tmp_path / "some.json").write_text(json.dumps(record))
    with pytest.raises(ZeroDivisionError):
        runs.recorded_run("some", {"seed": 5}, ("agent",))


def _not_driven(*_: object) -> None:
    raise ZeroDivisionError("a run would begin")


@pytest.mark.parametrize("row", sorted(ablation.ROWS))
def test_every_row_of_the_ablation_is_a_valid_change(row: str, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    default, changed = runs.params_with({}), runs.params_with(ablation.ROWS[row])
    assert (default == changed) == (row == "default")


def test_a_cell_of_the_conditions_is_driven_once_and_again_with_other_settings(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runs, "RECORDS", tmp_path)
    monkeypatch.setattr(conditions, "evaluate", _not_driven)
    name, agent = "conditions", tmp_path / "agent"
    agent.mkdir()
    (agent / "agent.json").write_text("{}")
    record = conditions.record_of(name, agent)
    changes = {"evaluate.weather": ["WetNoon"], "tracks.folder": "here"}
    record["cells"]["wet"] = {"settings": {"evaluate.weather": ["WetNoon"]}, "metrics": {"clean_share": 1.0}}
    runs.store(name, record)
    again = conditions.record_of(name, agent)
    assert conditions.judged(again, name, agent, "wet", changes, "agent") == {"clean_share": 1.0}
    with pytest.raises(ZeroDivisionError):
        conditions.judged(again, name, agent, "wet", changes | {"evaluate.starts": 8}, "agent")
    (agent / "agent.json").write_text("[]")  # another agent
    assert conditions.record_of(name, agent)["cells"] == {}


@pytest.mark.parametrize("weather", conditions.WEATHERS)
def test_every_weather_of_the_conditions_is_valid(weather: str, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    params = runs.params_with({"evaluate.weather": conditions.WEATHERS[weather]})
    assert (params.evaluate.weather is None) == (weather == "as trained")


def test_the_races_follower_is_judged_by_its_quickest_clean_setting_and_a_lap_by_its_mean_time() -> None:
    setting = {"route_completion_mean": 1.0, "clean_share": 1.0, "speed_mean_mps": 10.0, "lap_s": 90.0}
    unclean = setting | {"clean_share": 0.5, "lap_s": 40.0}
    rows = race.follower_rows({"a": setting, "b": setting | {"lap_s": 80.0}, "c": unclean})
    assert [cells[0] for cells in rows] == ["a", "b", "c", "best clean b"] and rows[2][-1] == ""
    laps = [{"clean": True, "completion": 1.0, "seconds": 50.0, "metres": 600.0}]
    laps.append({"clean": False, "completion": 0.5, "seconds": 50.0, "metres": 400.0})
    assert list(race._metrics(laps).values()) == [0.75, 0.5, 10.0, 50.0]
    agent = {"route_completion_mean": 1.0, "clean_share": 1.0, "speed_mean_mps": 12.0, "driven_km": 2.4, "laps": 2}
    assert race.agent_row("x", agent)[-2:] == ["12.00", "100.0"]


@pytest.mark.parametrize("name", race.AGENTS)
def test_every_agent_of_the_race_is_a_valid_change(name: str, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert runs.params_with(race.AGENTS[name]) != runs.params_with({})


@pytest.mark.parametrize("name", towns.AGENTS)
def test_every_agent_and_road_of_the_towns_is_a_valid_change(name: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "Some.xodr").touch()
    for changes in towns.roads_with(tmp_path).values():
        params = runs.params_with(towns.AGENTS[name] | changes)
        assert not set(params.tracks.training) & set(params.tracks.evaluation)
    with pytest.raises(SystemExit, match=r"--maps: got .*, which has no \.xodr file"):
        towns.roads_with(tmp_path / "none")


def test_a_town_is_judged_with_the_recorded_agent_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runs, "RECORDS", tmp_path)
    monkeypatch.setenv("CLIPDRIVE_STATE", str(tmp_path / "state"))
    metrics = {"route_completion_mean": 0.5, "clean_share": 0.25, "speed_mean_mps": 6.0, "offset_abs_mean_m": 0.1}
    record = {"name": "some", "params": params_as_values(runs.params_with({})), "agent_md5": "x"}
    runs.store("some", record | {"evaluate": {"agent": metrics}})
    rows = towns.judged_run("some", {}, {towns.GENERATED: {}}, "agent")
    assert rows == [[towns.GENERATED, "some", "0.500", "25 %", "6.00", "0.10"]]
    with pytest.raises(SystemExit, match="got no agent, or another than the record's"):
        towns.judged_run("some", {}, {towns.GENERATED: {}}, "follower")


def test_seeds_tell_two_agents_apart_by_the_interval_of_their_means_difference() -> None:
    """4.303, Student's t of 2 degrees, times the square root of 1 / 3 + 1 / 3, is 3.5."""
    assert tasks.against((1.0, 2.0, 3.0), (11.0, 12.0, 13.0)) == "-10 +- 4: worse"
    assert tasks.against((2.0, 3.0, 4.0), (1.0, 2.0, 3.0)) == "+1 +- 4: not told apart"
    assert tasks.against((6.0, 7.0, 8.0), (1.0, 2.0, 3.0)) == "+5 +- 4: better"
