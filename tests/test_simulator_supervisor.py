"""The supervisor: a failed session is replaced, after growing pauses, a bounded number of times in a row."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from clipdrive.driving.environment import DriveEnv
from clipdrive.simulator.deadlines import BUNDLED, REAL, deadlines_for
from clipdrive.simulator.errors import ServerFault, ServerLost, SimulatorError
from clipdrive.simulator.supervisor import Supervisor, until_done
from fake_world import FakeSession, circle_track, default_params

PARAMS = default_params()


@pytest.fixture()
def opened(monkeypatch):
    """The sessions that supervisors open, in order."""
    sessions = []
    monkeypatch.setattr(
        "clipdrive.simulator.supervisor.open_session", lambda *_: sessions.append(FakeSession(PARAMS)) or sessions[-1]
    )
    return sessions


@pytest.fixture()
def pauses(monkeypatch):
    slept = []
    monkeypatch.setattr("clipdrive.simulator.supervisor.time.sleep", slept.append)
    return slept


def test_a_healthy_session_stays(opened, pauses):
    supervisor = Supervisor(PARAMS)
    assert supervisor.session() is supervisor.session() and len(opened) == 1
    assert (supervisor.restarts, pauses) == (0, [])


def test_pauses_grow_and_begin_anew_after_a_success(opened, pauses, monkeypatch):
    monkeypatch.setenv("CLIPDRIVE_RESTART_PAUSE_S", "0.5")
    supervisor = Supervisor(PARAMS)
    for _ in range(3):
        supervisor.session().fault = "it hangs"
    supervisor.session()
    assert pauses == [0.5, 1.0, 2.0] and [session.closed for session in opened] == [True] * 3 + [False]
    supervisor.succeeded()
    opened[-1].fault = "it hangs again"
    supervisor.session()
    assert pauses[3:] == [0.5] and supervisor.restarts == 4


def test_past_the_bound_the_server_is_lost(opened, pauses, monkeypatch, capsys):
    monkeypatch.setenv("CLIPDRIVE_RESTARTS", "2")
    supervisor = Supervisor(PARAMS)
    for _ in range(2):
        supervisor.session().fault = "it hangs"
    supervisor.session().fault = "it is gone"
    with pytest.raises(ServerLost, match="it is gone; 2 restarts in a row did not help") as lost:
        supervisor.session()
    assert len(opened) == 3 and all(session.closed for session in opened)
    assert capsys.readouterr().err == "it hangs; restart 1 of 2 in 1 s\nit hangs; restart 2 of 2 in 2 s\n"
    assert pickle.loads(pickle.dumps(lost.value)).restarts == 2 and not isinstance(lost.value, ServerFault)


def test_a_failed_opening_counts_too(monkeypatch, pauses):
    def refuse(*_):
        raise ServerFault("nobody answers")

    monkeypatch.setattr("clipdrive.simulator.supervisor.open_session", refuse)
    monkeypatch.setenv("CLIPDRIVE_RESTARTS", "3")
    supervisor = Supervisor(PARAMS)
    with pytest.raises(ServerLost, match="nobody answers; 3 restarts"):
        until_done(supervisor.session)
    assert pauses == [1.0, 2.0, 4.0]


def test_what_a_restart_does_not_help_against_is_raised_at_once(monkeypatch, pauses):
    def refuse(*_):
        raise SimulatorError("another version")

    monkeypatch.setattr("clipdrive.simulator.supervisor.open_session", refuse)
    with pytest.raises(SimulatorError, match="another version"):
        until_done(Supervisor(PARAMS).session)
    assert pauses == []


@pytest.mark.parametrize("text", ["-1", "many", "nan"])
def test_a_wrong_number_is_refused(opened, monkeypatch, text):
    monkeypatch.setenv("CLIPDRIVE_RESTARTS", text)
    supervisor = Supervisor(PARAMS)
    supervisor.session().fault = "it hangs"
    with pytest.raises(SimulatorError, match=f"CLIPDRIVE_RESTARTS: got '{text}', allowed"):
        supervisor.session()


def test_an_environment_begins_the_episode_again_where_it_did(opened, pauses, monkeypatch):
    """With spawn.kind: last the start depends on the episode before, which the repeated one must not forget."""
    monkeypatch.setattr("clipdrive.driving.environment.open_track", lambda name, *_: circle_track(name))
    params = default_params(spawn={"kind": "last"}, tracks={"episodes_per_load": 10}, ending={"time_limit_steps": 60})
    env = DriveEnv(params)

    def drive(episode: int) -> float:
        _, start = env.reset(options={"episode": episode})
        done = False
        while not done:
            *_, terminated, truncated, _ = env.step(np.array([0.06, 0.8]))
            done = terminated or truncated
        return start["s_m"]

    starts = [drive(episode) for episode in range(3)]
    assert len(set(starts)) == 3 and env.restarts == 0
    env.close()

    env = DriveEnv(params)
    drive(0)
    opened[-1].fail_at, opened[-1].error = 50, ServerFault("gone")
    real = FakeSession.step

    def step(session, *arguments):
        try:
            return real(session, *arguments)
        except ServerFault as fault:
            session.fault = str(fault)
            raise

    monkeypatch.setattr(FakeSession, "step", step)
    assert [until_done(drive, 1), until_done(drive, 2)] == starts[1:]
    assert env.restarts == 1 and len(opened) == 3


def test_deadlines_of_a_machine():
    assert deadlines_for(real=True, environment={}) == REAL and deadlines_for(real=False, environment={}) == BUNDLED
    changed = deadlines_for(real=True, environment={"CLIPDRIVE_DEADLINES": "call_s=90, image_s=0.5"})
    assert (changed.call_s, changed.image_s, changed.load_s) == (90.0, 0.5, REAL.load_s)
    for text in ("call=3", "call_s=0", "call_s", "call_s=-1"):
        with pytest.raises(SimulatorError, match="CLIPDRIVE_DEADLINES: got"):
            deadlines_for(real=True, environment={"CLIPDRIVE_DEADLINES": text})
