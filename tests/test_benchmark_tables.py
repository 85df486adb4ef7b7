"""What the long benchmarks say of their records: medians of runs that were cut off, spreads, and verdicts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks import ablation, judging, proof, runs, time_to_driver

ROOT = Path(__file__).resolve().parents[1]


def _runs(*times: float, cap_s: float | None = None, steps: int = 8000) -> list[dict]:
    return [
        {"time_s": s, "reached": cap_s is None or s < cap_s, "env_steps": steps, "basis": {"params": {"seed": seed}}}
        for seed, s in enumerate(times)
    ]


def test_the_median_of_runs_that_were_cut_off_is_only_a_bound():
    assert time_to_driver.median_s(_runs(10, 30, 20)) == (20, False)
    assert time_to_driver.median_s(_runs(10, 1200, 20, cap_s=1200)) == (20, False)
    assert time_to_driver.median_s(_runs(1200, 1200, 20, cap_s=1200)) == (1200, True)


def test_a_run_is_compared_with_clipdrives_run_of_its_seed():
    ours = _runs(100, 200, 400)
    assert time_to_driver.times_ours(_runs(1000, 1000, 1000), ours) == (5.0, False)
    assert time_to_driver.times_ours(_runs(1000, 1000, 800, cap_s=900), ours) == (5.0, True)
    assert time_to_driver.times_ours(_runs(1000, 600, 1000, cap_s=700), ours) == (3.0, True)
    assert time_to_driver.times_ours(_runs(1000), ours) == (10.0, False)
    assert math.isnan(time_to_driver.times_ours(_runs(1000), _runs(100, cap_s=50))[0])


def test_the_table_of_times_to_a_driver():
    found = {
        "clipdrive": _runs(100, 90, 120),
        "clipdrive-3000": _runs(60, 50, 70, steps=5000),
        "clipdrive-2000": _runs(40, 39, 45, cap_s=42, steps=4000),  # one seed does not drive at its end
        "sb3-td3": _runs(1200, 1200, 1200, cap_s=1200, steps=3000),
        "sb3-sac": [],
        "sb3-sac-our-settings": _runs(240, 250, 700, cap_s=1200, steps=9000),
    }
    lines = time_to_driver.table(found).splitlines()
    assert lines[2] == "| clipdrive | 100 s (100 s / 90 s / 120 s) | 8,000 | 3 of 3 | 1.00 |"
    assert lines[4] == "| clipdrive-2000 | 40 s (40 s / 39 s / > 45 s) | 4,000 | 2 of 3 | > 0.40 |"
    minutes = "> 20.0 min"
    assert lines[5] == f"| sb3-td3 | {minutes} ({minutes} / {minutes} / {minutes}) | > 3,000 | 0 of 3 | > 12.00 |"
    assert lines[6] == "| sb3-sac-our-settings | 250 s (240 s / 250 s / 11.7 min) | 9,000 | 3 of 3 | 2.78 |"
    assert lines[8:] == [
        "shortest budget with which every seed reaches 0.95: clipdrive-3000, 60 s",
        "best of Stable-Baselines3 with own defaults: sb3-td3, > 20.0 min, more than 12.0 x clipdrive's; "
        "10 x asked: yes",
        "best of Stable-Baselines3 with our settings: sb3-sac-our-settings, 250 s, 2.8 x clipdrive's; 3 x asked: NO",
    ]


def test_a_cap_that_is_too_short_decides_nothing():
    found = {"clipdrive": _runs(200), "sb3-td3": _runs(1200, cap_s=1200)}
    assert time_to_driver.verdicts(found)[1].endswith("more than 6.0 x clipdrive's; 10 x asked: open, "
                                                      "the cap is too short to tell")
    late = {"clipdrive": _runs(100, cap_s=50), "sb3-td3": _runs(1200)}  # and no goal is held by a run that failed
    assert time_to_driver.verdicts(late) == []


def test_a_record_answers_a_cap_that_it_had_or_did_not_need():
    record = {"basis": {"threads": 2, "params": {"seed": 0}}, "reached": False, "cap_minutes": 20.0}
    basis = {"threads": 2, "params": {"seed": 0, "later": 1}}
    assert time_to_driver.answers(record, basis, 20.0, False)
    assert not time_to_driver.answers(record, basis, 30.0, False)
    assert time_to_driver.answers(record | {"reached": True}, basis, 30.0, False)
    assert not time_to_driver.answers(record, {"threads": 1, "params": {"seed": 0}}, 20.0, False)


def test_every_agent_has_its_basis_and_the_peers_take_our_settings(monkeypatch):
    monkeypatch.chdir(ROOT)
    from benchmarks.peer_drivers import settings

    params = time_to_driver._params("clipdrive-3000", 1, 2)
    assert (params.train.env_steps, params.seed) == (3000, 1)
    assert settings(params, "sac", ours=False) == {"buffer_size": params.train.memory_steps}
    given = settings(params, "td3", ours=True)
    assert given["gradient_steps"] / given["train_freq"] == params.train.updates_per_step
    assert json.loads(json.dumps(given)) == given  # as the record holds them


def test_the_peers_noise_falls_once_the_random_steps_are_driven():
    from benchmarks.peer_drivers import FallingNoise

    noise = FallingNoise(0.4, 0.1, steps=10, random_steps=5)
    deviations = [(noise.deviation, noise())[0] for _ in range(20)]
    np.testing.assert_allclose(deviations[:6], 0.4)
    np.testing.assert_allclose(deviations[10], 0.25)  # half way
    np.testing.assert_allclose(deviations[15:], 0.1)


def test_the_clock_stands_still_while_something_is_judged():
    now = judging.Clock()
    with now.stopped():
        before = now._held_s
        total = sum(range(3_000_000))
    assert total > 0
    assert now.seconds < now._held_s - before


@pytest.mark.parametrize(
    ("completion", "clean", "speed", "said"),
    [
        (0.998, 0.99, 9.0, "yes"),
        (0.9979, 0.99, 9.0, "NO: route completion"),
        (0.9979, 0.98, 9.0, "NO: route completion, clean laps"),
        (1.0, 1.0, 8.99, "NO: speed"),
    ],
)
def test_the_verdict_of_the_proof(completion, clean, speed, said):
    agent = {"route_completion_mean": completion, "clean_share": clean, "speed_mean_mps": speed}
    assert proof.verdict(agent, {"speed_mean_mps": 10.0}) == said
    if said == "yes":
        assert proof.verdict(agent, None) == "NO: no follower to compare with"


def test_the_table_shows_what_is_recorded_whatever_its_cap(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runs, "RECORDS", tmp_path)
    basis = {"threads": 2} | time_to_driver._basis_of_peer("sb3-sac", time_to_driver._params("sb3-sac", 0, 2))
    runs.store("time-to-driver-sb3-sac-seed0", {"basis": basis, "reached": False, "cap_minutes": 6.0})
    assert time_to_driver.recorded("sb3-sac", 0, 30.0, 2, only_look=True)["cap_minutes"] == 6.0
    assert time_to_driver.recorded("sb3-sac", 0, 30.0, 1, only_look=True) is None


def test_a_row_of_the_ablation_has_the_spread_of_its_seeds():
    assert ablation.spread([0.98, 1.0, 0.99], 3) == "0.990 (0.980 .. 1.000)"
    assert ablation.spread([0.98], 2) == "0.98"
    assert runs.whole_numbers("0,1,12") == [0, 1, 12]


def test_what_is_not_recorded_is_not_driven_when_only_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runs, "RECORDS", tmp_path)
    assert runs.recorded_run("none", {}, ("agent",), only_look=True) is None
    runs.store("some", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["some.json"]
    assert runs.stored("some") == {"a": 1}


class _ScriptedJudge:
    """Probes and laps as written down, one after the other."""

    def __init__(self, probes: list[float], laps: list[float]) -> None:
        self._probes, self._laps = iter(probes), iter(laps)

    def probe(self, actor: object) -> float:
        return next(self._probes)

    def whole_laps(self, actor: object) -> dict[str, float]:
        return {"route_completion_mean": next(self._laps)}


class _SteppedClock(judging.Clock):
    seconds = 0.0


@pytest.mark.parametrize(
    ("probes", "laps", "reached", "time_s", "last_laps"),
    [
        ([0.94, 0.95, 0.96], [0.9, 0.951], True, 60.0, 0.951),  # laps do not confirm the second probe
        ([0.1, 0.1, 0.1, 0.97], [0.5], False, 75.0, 0.5),  # judged once more at the cap
        ([0.1, 0.1, 0.1, 0.1], [], False, 75.0, None),
    ],
)
def test_a_peer_learns_until_laps_confirm_a_probe_or_the_time_is_up(probes, laps, reached, time_s, last_laps):
    from benchmarks.peer_drivers import _Watch

    clock = _SteppedClock()
    watch = _Watch(_ScriptedJudge(probes, laps), clock, cap_s=75.0, every_s=20.0)
    watch.model, goes_on = None, True
    while goes_on:
        clock.seconds += 5.0
        watch.num_timesteps += 10
        goes_on = watch._on_step()
    found = watch.found()
    assert (found["reached"], found["time_s"], found["env_steps"]) == (reached, time_s, 2 * time_s)
    assert (found["laps"] or {}).get("route_completion_mean") == last_laps
    assert len(found["probes"]) == len(probes)
