"""The pytest plugin as another project uses it: host, port and clients, and no server that outlives pytest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint

import pytest

from import_graph import ROOT

pytest_plugins = ["pytester"]

PLUGIN = "clipdrive.pytest_plugin"
REMEMBER = "open('pid', 'w').write(str(carla_server.pid))"


@pytest.fixture
def project(pytester):
    """An empty project whose tests have the plugin."""
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\n")
    pytester.makeconftest(f"pytest_plugins = ['{PLUGIN}']")
    return pytester


def has_ended(project, within_s=10.0):
    pid = int((project.path / "pid").read_text())
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return False


def test_one_server_serves_passing_and_failing_tests_and_ends(project):
    project.makepyfile(f"""
        import carla

        def test_address(carla_server):
            {REMEMBER}
            client = carla.Client(carla_server.host, carla_server.port)
            client.set_timeout(20.0)
            assert client.get_server_version() == "0.9.16"

        def test_left_in_a_mess(carla_client):
            world = carla_client.get_world()
            settings = world.get_settings()
            settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
            world.apply_settings(settings)
            library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
            world.spawn_actor(library.find("vehicle.tesla.model3"), points[0])
            assert False

        def test_begins_afresh(carla_client):
            world = carla_client.get_world()
            assert not world.get_settings().synchronous_mode
            assert [actor.type_id for actor in world.get_actors()] == ["spectator"]

        def test_the_same_server(carla_server):
            assert carla_server.pid == int(open('pid').read())
            assert carla_server.client(5.0).get_available_maps()
    """)
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=3, failed=1)
    assert has_ended(project)


def test_ctrl_c_ends_the_server(project):
    project.makepyfile(f"""
        def test_interrupted(carla_server):
            {REMEMBER}
            raise KeyboardInterrupt
    """)
    assert project.runpytest_subprocess().ret == pytest.ExitCode.INTERRUPTED
    assert has_ended(project)


def test_a_killed_pytest_takes_the_server_with_it(project):
    project.makepyfile(f"""
        import os, signal

        def test_killed(carla_server):
            {REMEMBER}
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert project.runpytest_subprocess().ret == -signal.SIGKILL
    assert has_ended(project)


def test_arguments_of_the_server_come_from_the_ini_file(project):
    from clipdrive.opendrive.circuit import circuit_xodr

    project.makeini("[pytest]\ncarla_server_arguments = --maps 'my maps' --map Village\n")
    project.mkdir("my maps").joinpath("Village.xodr").write_text(circuit_xodr(5))
    project.makepyfile("""
        def test_map(carla_client):
            assert carla_client.get_world().get_map().name == "Carla/Maps/Village"
    """)
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_server_that_cannot_start_is_one_clear_error(project):
    project.makeini("[pytest]\ncarla_server_arguments = --map Atlantis\n")
    project.makepyfile("def test_never(carla_server): pass")
    result = project.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ServerError*Map 'Atlantis' not found*"])


def test_pytest_finds_it_where_clipdrive_is_installed():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    line = text.split("[project.entry-points.pytest11]\n", 1)[1].split("\n", 1)[0]
    name, value = (part.strip().strip('"') for part in line.split("="))
    assert name == PLUGIN  # the same name: a conftest that lists the plugin too does no harm
    assert EntryPoint(name, value, "pytest11").load().carla_server


def test_it_costs_nothing_where_nobody_asks_for_it():
    code = f"import sys, {PLUGIN}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"carla", "numpy", "clipdrive.simulator.process"} & set(loaded)
