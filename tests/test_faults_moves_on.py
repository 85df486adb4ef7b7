"""The fault suite: train, whose server dies for good, goes on with another one."""

from __future__ import annotations

import pytest

from clipdrive.experience.collect import collect
from clipdrive.training.train import train
from fault_runs import disturbed, small_params
from server_process import running_server, start


@pytest.mark.slow()
def test_train_goes_on_with_another_server(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("CLIPDRIVE_DEADLINES", "connect_s=1,call_s=3,load_s=30,image_s=3")
    monkeypatch.setenv("CLIPDRIVE_RESTARTS", "1")
    monkeypatch.setenv("CLIPDRIVE_RESTART_PAUSE_S", "0.05")
    monkeypatch.setenv("CLIPDRIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CLIPDRIVE_DEVICE", "cpu")
    params = small_params(simulator="carla", tracks__training=["circuit:1"])
    mortal, port = start()
    with running_server() as other:
        try:
            monkeypatch.setenv("CARLA_SERVERS", f"127.0.0.1:{port},127.0.0.1:{other}")
            collect(params, tmp_path / "episodes", tmp_path / "spawns.png")

            def driven() -> bool:
                return any(log.read_text().count("\n") > 1 for log in tmp_path.glob("state/checkpoints/*/episodes.csv"))

            with disturbed(driven, mortal.kill) as done:
                metrics = train(params, tmp_path / "episodes", tmp_path / "agent", tmp_path / "run")
        finally:
            mortal.kill()
            mortal.communicate()
    assert done.is_set() and metrics["env_steps"] == 400 and metrics["faults"]["restarts"] == 2
    assert f"given up, and going on with 127.0.0.1:{other}" in capfd.readouterr().err
