"""Driving and learning side by side: the bits depend on neither's speed, and a fault on the thread arrives."""

from __future__ import annotations

import csv
import random
import threading
import time

import numpy as np
import pytest
import torch

from clipdrive.agents.networks import NetworkSpec
from clipdrive.agents.td3 import TD3
from clipdrive.simulator.errors import ServerFault, ServerLost
from clipdrive.training.pilot import DECISIONS_A_LEG, PilotAhead
from clipdrive.training.train import TrainError, train
from interruption import interrupted_after
from small_params import params_with
from test_training_train import OFFLINE, episodes, own_state_folder  # noqa: F401 - fixtures

ONLINE = OFFLINE | {
    "train__updates_before_driving": 10,
    "train__env_steps": 61,
    "train__memory_steps": 200,
    "train__checkpoint_every_steps": 20,
    "exploration_noise": 0.2,
}
OUTPUTS = ("models/agent.pt", "run/updates.csv", "run/episodes.csv", "run/metrics.json")
EPISODE_STEPS = 7  # odd: its last leg is a short one


class SmallWorld:
    """An environment whose frames tell episode, step and last action; `waits` is called in each step."""

    def __init__(self, waits=lambda: None, fault_at=None):
        self.waits, self.fault_at = waits, fault_at  # (episode, step or "reset"), once
        self.restarts, self.closed, self.inside, self.threads, self.resets = 0, False, False, set(), []

    def reset(self, options):
        self.episode, self.steps, self.action = options["episode"], 0, np.zeros(2, np.float32)
        self.resets.append((self.episode, threading.current_thread().name))
        if self.fault_at == "always":
            raise ServerLost("the server is lost", self.restarts)
        self._fail_at((self.episode, "reset"))
        return self._seen(), self._info(None)

    def step(self, action):
        self.threads.add(threading.current_thread().name)
        self.inside = True
        self.waits()
        self.inside = False
        self._fail_at((self.episode, self.steps))
        self.action, self.steps = action, self.steps + 1
        ending = "off_road" if self.steps == EPISODE_STEPS else None
        return self._seen(), float(action.sum()), ending is not None, False, self._info(ending)

    def _fail_at(self, place):
        if self.fault_at == place:
            self.fault_at, self.restarts = None, self.restarts + 1
            raise ServerFault("the server fell silent")

    def _seen(self):
        frames = np.random.default_rng([self.episode, self.steps]).integers(0, 256, (3, 36, 36), dtype=np.uint8)
        return {"frames": frames, "state": np.array([self.steps, *self.action], np.float32)}

    def _info(self, ending):
        numbers = dict.fromkeys(
            ("s_m", "x_m", "y_m", "progress_m", "route_completion", "speed_mps", "offset_m"), float(self.steps)
        )
        return numbers | {"track": "circuit:1", "direction": "forward", "ending": ending}

    def close(self):
        assert not self.inside, "closed while a step was on its way"
        self.closed = True


@pytest.fixture()
def run(tmp_path, episodes, monkeypatch):  # noqa: F811
    """`run(name, world, **changes)`: a run in that world; its outputs as bytes."""

    def of(name, world, **changes):
        monkeypatch.setattr("clipdrive.training.run.open_task", lambda *_: world)
        folder = tmp_path / name
        train(params_with(**(ONLINE | changes)), episodes, folder / "models", folder / "run")
        assert world.closed
        return {path: (folder / path).read_bytes() for path in OUTPUTS}

    return of


def rows_of(outputs):
    return list(csv.DictReader(outputs["run/episodes.csv"].decode().splitlines()))


@pytest.mark.parametrize("changes", [{}, {"replay": "none"}, {"n_step": 3}, {"train__updates_per_step": 2.0}])
def test_the_bits_do_not_depend_on_who_is_faster(run, changes):
    chance = random.Random(0)
    quick, slow = SmallWorld(), SmallWorld(lambda: time.sleep(chance.choice([0.0, 0.0, 0.01])))
    assert run("quick", quick, **changes) == run("slow", slow, **changes)
    assert quick.threads == {"pilot_0"}  # and not the main thread


@pytest.mark.parametrize("stop_at", [11, 25, 33])  # behind 0, 1 and 1 checkpoints or more
def test_interrupted_while_a_leg_is_driven_it_ends_in_order_and_goes_on_to_the_same_bits(run, stop_at):
    whole = run("whole", SmallWorld())
    interrupted = SmallWorld(lambda: time.sleep(0.005))
    with interrupted_after(stop_at):
        run("again", interrupted)
    assert interrupted.closed
    assert run("again", SmallWorld()) == whole


def test_every_step_brings_its_updates_and_none_is_lost(run):
    outputs = run("out", SmallWorld(), train__updates_per_step=0.5, train__log_every_updates=1)
    rows = list(csv.DictReader(outputs["run/updates.csv"].decode().splitlines()))
    assert len(rows) == 10 + 61 // 2
    for row in rows[10:]:  # an update is made as soon as the steps that it is due for are in the memory
        due_at, seen = 2 * (int(row["update"]) - 10), int(row["env_step"])
        assert due_at <= seen < due_at + DECISIONS_A_LEG


def test_a_fault_on_the_thread_costs_the_rest_of_its_episode_alone(run):
    rows = rows_of(run("out", SmallWorld(fault_at=(2, 3))))
    assert [int(row["steps"]) for row in rows] == [7, 7, 3, 7, 7, 7, 7, 7, 7, 2]
    assert [row["ending"] for row in rows] == ["off_road"] * 2 + ["server_fault"] + ["off_road"] * 6 + ["run_end"]


def test_a_fault_in_the_first_step_begins_the_episode_again(run):
    rows = rows_of(run("out", SmallWorld(fault_at=(1, 0))))
    assert [row["episode"] for row in rows[:3]] == ["0", "1", "2"] and rows[1]["steps"] == "7"


def test_the_next_episode_is_begun_ahead_and_after_a_fault_by_the_main_thread(run):
    world, sound = SmallWorld(fault_at=(3, "reset")), SmallWorld()
    assert rows_of(run("out", world)) == rows_of(run("sound", sound))
    main = threading.main_thread().name
    assert sound.resets == [(0, main)] + [(episode, "pilot_0") for episode in range(1, 9)]
    assert world.resets == sound.resets[:4] + [(3, main)] + sound.resets[4:]


def test_a_lost_server_leaves_a_checkpoint(run, tmp_path):
    with pytest.raises(TrainError, match="the server is lost; the same command goes on from the checkpoint"):
        run("out", SmallWorld(fault_at="always"))
    assert list((tmp_path / "state" / "checkpoints").glob("*/state.pt"))


def test_what_is_learned_while_a_leg_is_driven_does_not_reach_it():
    params = params_with(**ONLINE)
    agent = TD3(NetworkSpec.of(params, 3, 2, (1, 36, 36)), params, torch.device("cpu"), torch.Generator())
    gate = threading.Event()
    pilot = PilotAhead(SmallWorld(lambda: gate.wait(10)), agent)
    try:
        observation, _ = pilot.begin(0)
        frames, state = (torch.from_numpy(observation[name])[None] for name in ("frames", "state"))
        before = agent.act(frames, state)[0].numpy()
        leg = pilot.start(observation, np.zeros((DECISIONS_A_LEG, 2)))
        with torch.no_grad():
            for parameter in agent.actor.parameters():
                parameter.add_(1.0)
        gate.set()
        steps = leg.result().steps
        assert len(steps) == DECISIONS_A_LEG
        assert steps[0].action == pytest.approx(before, abs=1e-6)
        assert np.abs(steps[1].action).max() < 0.5  # a weight of 1 more each would saturate it
        later = pilot.start(observation, np.zeros((1, 2))).result().steps
        assert np.abs(later[0].action).min() > 0.9
    finally:
        pilot.close()


def test_the_main_thread_keeps_its_torch_threads():
    params = params_with(**ONLINE)
    agent = TD3(NetworkSpec.of(params, 3, 2, (1, 36, 36)), params, torch.device("cpu"), torch.Generator())
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pilot = PilotAhead(SmallWorld(), agent)
        assert torch.get_num_threads() == 2
        assert pilot._thread.submit(torch.get_num_threads).result() == 1
        pilot.close()
    finally:
        torch.set_num_threads(before)
