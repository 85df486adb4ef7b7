"""The soak: spawn, listen, tick, destroy with the real carla client, over and over, and watch what grows.

`python -m benchmarks.soak --ticks 200000 --episodes 1000` prints a row every fiftieth part of the run: memory and file
descriptors of both processes, images that did not come. The last line says pass or what failed, and so does the exit
code. `--record FILE` keeps all of it as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from clipdrive.simulator.process import ServerProcess

STEP_S = 0.05
MAPS = ("circuit_1", "circuit_2")
ROWS = 50
EPISODES_PER_LOAD = 50
EPISODES_PER_CLIENT = 100
IMAGE_WITHIN_S = 5.0
GROWTH_MB = 8.0  # between the second and the last fifth of the run, on either side
COLUMNS = (
    "episodes", "ticks", "ticks_per_s", "server_mb", "client_mb", "server_files", "client_files", "lost_images",
)  # fmt: skip
SENSORS = ("sensor.camera.rgb", "sensor.other.collision", "sensor.other.imu", "sensor.other.gnss")


# ---- the process that drives ----


def drive(port: int, ticks: int, episodes: int) -> None:
    """Drive all episodes and print a JSON line for each row."""
    client, world = _connect(port)
    for name in MAPS:  # kept by the server, and so no growth
        world = _load(client, name)
    lost = done = 0
    begun_s = row_s = time.perf_counter()
    row_ticks = 0
    for episode in range(episodes):
        if episode % EPISODES_PER_CLIENT == 0:
            client, world = None, None  # the old client lets go of its connections first
            client, world = _connect(port)
        if episode % EPISODES_PER_LOAD == 0:
            world = _load(client, MAPS[episode // EPISODES_PER_LOAD % len(MAPS)])
        count = ticks * (episode + 1) // episodes - done
        lost += _episode(client, world, episode, count)
        done += count
        if (episode + 1) * ROWS // episodes > episode * ROWS // episodes:
            now_s = time.perf_counter()
            row = {
                "episodes": episode + 1, "ticks": done, "ticks_per_s": round((done - row_ticks) / (now_s - row_s)),
                "lost_images": lost,
            }  # fmt: skip
            print(json.dumps(row), flush=True)
            sys.stdin.readline()  # the parent has measured both processes
            row_s, row_ticks = time.perf_counter(), done
    print(json.dumps({"wall_s": round(time.perf_counter() - begun_s, 1)}), flush=True)


def _connect(port: int) -> tuple[Any, Any]:
    import carla

    client = carla.Client("127.0.0.1", port, 2)
    client.set_timeout(30.0)
    return client, client.get_world()


def _load(client: Any, name: str) -> Any:
    world = client.load_world(name)
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, STEP_S
    world.apply_settings(settings)
    return world


def _episode(client: Any, world: Any, episode: int, ticks: int) -> int:
    """Spawn a car with sensors, drive, destroy; returns the number of images that did not come."""
    import carla

    library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
    car = world.spawn_actor(library.find("vehicle.tesla.model3"), points[episode % len(points)])
    images: queue.Queue[tuple[int, int]] = queue.Queue()
    sensors = []
    for name in SENSORS:
        blueprint = library.find(name)
        if blueprint.has_attribute("image_size_x"):
            blueprint.set_attribute("image_size_x", "84")
            blueprint.set_attribute("image_size_y", "84")
        sensors.append(world.spawn_actor(blueprint, carla.Transform(carla.Location(x=1.0, z=1.4)), attach_to=car))
    sensors[0].listen(lambda image: images.put((image.frame, len(image.raw_data))))
    for sensor in sensors[1:]:
        sensor.listen(lambda _: None)
    lost = 0
    for tick in range(ticks):
        steer = 0.1 * ((episode + tick // 20) % 5 - 2)
        car.apply_control(carla.VehicleControl(throttle=0.6, steer=steer))
        lost += not _came(images, world.tick())
    for sensor in sensors:
        sensor.stop()
    if episode % 2:
        client.apply_batch_sync([carla.command.DestroyActor(actor.id) for actor in (*sensors, car)])
        world.tick()  # not in the batch: it holds the GIL, and callbacks that wait for it hold the client's threads
    elif not all(actor.destroy() for actor in (*sensors, car)):
        raise SystemExit(f"episode {episode}: an actor could not be destroyed")
    return lost


def _came(images: queue.Queue[tuple[int, int]], frame: int) -> bool:
    """Tell whether the image of that frame came, whole, as the next one."""
    try:
        return images.get(timeout=IMAGE_WITHIN_S) == (frame, 84 * 84 * 4)
    except queue.Empty:
        return False


# ---- the process that watches ----


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def open_files(pid: int) -> int:
    """Number of file descriptors that a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def watch(ticks: int, episodes: int) -> dict[str, Any]:
    """Run the soak, printing its rows; returns the record."""
    record: dict[str, Any] = {"ticks": ticks, "episodes": episodes, "rows": []}
    print("".join(f"{name:>13}" for name in COLUMNS), flush=True)
    with ServerProcess() as server:
        command = [sys.executable, "-m", "benchmarks.soak", "--drive", str(server.port)]
        command += ["--ticks", str(ticks), "--episodes", str(episodes)]
        driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            for line in driver.stdout:
                row = json.loads(line)
                if "wall_s" in row:
                    record.update(row)
                    continue
                for name, pid in (("server", server.pid), ("client", driver.pid)):
                    row[f"{name}_mb"], row[f"{name}_files"] = round(resident_mb(pid), 1), open_files(pid)
                record["rows"].append(row)
                print("".join(f"{row[name]:>13}" for name in COLUMNS), flush=True)
                driver.stdin.write("\n")
                driver.stdin.flush()
            record["client_exit_code"] = driver.wait()
        finally:
            driver.kill()
            driver.wait()
        record["server_lives"] = server.running
    record["failures"] = failures(record)
    return record


def failures(record: dict[str, Any]) -> list[str]:
    """What a record says against the server or the client; empty where all is well."""
    found, rows = [], record["rows"]
    if record["client_exit_code"] != 0:
        found.append(f"the client ended with exit code {record['client_exit_code']}")
    if not record["server_lives"]:
        found.append("the server ended")
    if not rows or rows[-1]["ticks"] != record["ticks"]:
        return [*found, "not all ticks were driven"]
    if rows[-1]["lost_images"]:
        found.append(f"{rows[-1]['lost_images']} images were lost")
    fifth = max(1, len(rows) // 5)
    for side in ("server", "client"):
        early, late = (
            {key: statistics.median(row[f"{side}_{key}"] for row in part) for key in ("mb", "files")}
            for part in (rows[fifth : 2 * fifth] or rows, rows[-fifth:])
        )
        if late["mb"] > early["mb"] + GROWTH_MB:
            found.append(f"the {side}'s memory grew from {early['mb']:.1f} to {late['mb']:.1f} MB")
        if late["files"] > early["files"]:
            found.append(f"the {side}'s file descriptors grew from {early['files']:g} to {late['files']:g}")
    return found


def main() -> int:
    """Run what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--ticks", type=int, default=200_000, help="of all episodes together (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep the rows and the verdict as JSON")
    parser.add_argument("--drive", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive is not None:
        drive(options.drive, options.ticks, options.episodes)
        return 0
    record = watch(options.ticks, options.episodes)
    if options.record is not None:
        options.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print("pass" if not record["failures"] else "; ".join(record["failures"]))
    return 1 if record["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
