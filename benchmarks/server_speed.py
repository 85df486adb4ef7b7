"""How fast the bundled server is through the real `carla` client, against its own constant image.

`python -m benchmarks.server_speed` prints a table; `--record` also writes benchmarks/records/server-speed.json.

Two servers run, one of which sends black images of the same size: what it reaches is the limit of the wire. They are
measured in turns, constant, rendered, constant, ..., so that whatever else the machine does meets both alike; the
ratio is the median over the turns of rendered / (mean of the constant turns before and after).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.runs import machine, markdown_table, store
from benchmarks.server_drives import Drive, server

TRACK = "circuit_1"
TOWN = "CLIPDRIVE_BENCH_TOWN"  # environment variable: path of an .xodr file of a town


def in_turns(vehicles: int, turns: int, ticks: int) -> dict[str, Any]:
    """Images a second with a constant and with a rendered image, measured in turns."""
    with contextlib.ExitStack() as stack:
        drives = []
        for constant in (True, False):
            address = stack.enter_context(server(constant)).address
            drives.append(stack.enter_context(contextlib.closing(Drive(address, TRACK, vehicles))))
        constant, rendered = drives
        for drive in drives:
            drive.images_per_s(ticks)  # warm caches
        floors, rates = [constant.images_per_s(ticks)], []
        for _ in range(turns):
            rates.append(rendered.images_per_s(ticks))
            floors.append(constant.images_per_s(ticks))
    ratios = [2.0 * rate / (floors[turn] + floors[turn + 1]) for turn, rate in enumerate(rates)]
    return {
        "vehicles": vehicles,
        "constant_images_per_s": round(statistics.median(floors), 1),
        "rendered_images_per_s": round(statistics.median(rates), 1),
        "rendered_images_per_s_best": round(max(rates), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def town(path: Path | None) -> dict[str, Any]:
    """Seconds to load a town (a circuit without `path`), and the server's peak memory after driving there."""
    name = path.stem if path else "circuit_2"
    with server(maps=path.parent if path else None) as process:
        before = _peak_rss_mb(process.pid)
        import carla

        client = carla.Client(*process.address)
        client.set_timeout(60.0)
        client.get_world()
        begun = time.perf_counter()
        client.load_world(name)
        load_s = time.perf_counter() - begun
        with contextlib.closing(Drive(process.address, name, 1)) as drive:
            drive.images_per_s(200)
        return {
            "map": name,
            "load_s": round(load_s, 2),
            "peak_rss_mb": round(_peak_rss_mb(process.pid), 1),
            "peak_rss_before_mb": round(before, 1),
        }


def _peak_rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024.0 for line in lines if line.startswith("VmHWM"))


def others(steps: int) -> list[dict[str, Any]]:
    """Steps a second with an image, of other environments that are installed (`pip install clipdrive[bench]`)."""
    return [
        {"name": name, "steps_per_s": round(rate, 1)}
        for name, make in (("CarRacing-v3, 96x96 RGB", _car_racing), ("racetrack-v0, 84x84 gray", _racetrack))
        if (rate := _environment_rate(make, steps)) is not None
    ]


def _car_racing() -> Any:
    import gymnasium

    return gymnasium.make("CarRacing-v3")


def _racetrack() -> Any:
    import gymnasium
    import highway_env

    gymnasium.register_envs(highway_env)
    observation = {
        "type": "GrayscaleObservation", "observation_shape": (84, 84), "stack_size": 1, "scaling": 1.75,
        "weights": [0.2989, 0.5870, 0.1140],
    }  # fmt: skip
    return gymnasium.make("racetrack-v0", config={"observation": observation})


def _environment_rate(make: Any, steps: int) -> float | None:
    import gymnasium

    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        environment = make()
    except (ImportError, gymnasium.error.Error):
        return None
    environment.action_space.seed(0)
    environment.reset(seed=0)
    begun = time.perf_counter()
    for _ in range(steps):
        *_, terminated, truncated, _info = environment.step(environment.action_space.sample())
        if terminated or truncated:
            environment.reset()
    rate = steps / (time.perf_counter() - begun)
    environment.close()
    return rate


def tables(record: dict[str, Any]) -> str:
    """The record as markdown."""
    rows = [
        [
            str(row["vehicles"]),
            f"{row['constant_images_per_s']:,.0f}",
            f"{row['rendered_images_per_s']:,.0f}",
            f"{row['ratio']:.2f}",
        ]
        for row in record["drives"]
    ]
    head = ["vehicles with a camera", "constant images / s", "rendered images / s", "ratio"]
    loaded = record["town"]
    lines = [
        markdown_table(head, rows),
        f"{loaded['map']}: loads in {loaded['load_s']:.2f} s, peak memory of the server "
        f"{loaded['peak_rss_mb']:.0f} MB ({loaded['peak_rss_before_mb']:.0f} MB before any map).",
    ]
    if record["others"]:
        rows = [[row["name"], f"{row['steps_per_s']:,.0f}"] for row in record["others"]]
        lines.append(markdown_table(["other environments, random actions", "steps / s"], rows))
    return "\n\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server_speed", description=__doc__)
    parser.add_argument("--turns", type=int, default=9, help="turns of each kind (default %(default)s)")
    parser.add_argument("--ticks", type=int, default=2000, help="ticks a turn, 1 vehicle (default %(default)s)")
    parser.add_argument("--vehicles", default="1,8", help="how many, one run each (default %(default)s)")
    parser.add_argument(
        "--town", type=Path, default=os.environ.get(TOWN), metavar="XODR",
        help=f"a town's OpenDRIVE file to load; default: ${TOWN}, else a circuit",
    )  # fmt: skip
    parser.add_argument("--record", action="store_true", help="write benchmarks/records/server-speed.json")
    arguments = parser.parse_args()
    record = {
        "machine": machine(),
        "drives": [
            in_turns(vehicles, arguments.turns, max(50, arguments.ticks // vehicles))
            for vehicles in map(int, arguments.vehicles.split(","))
        ],
        "town": town(arguments.town),
        "others": others(1000),
    }
    print(tables(record))
    if arguments.record:
        store("server-speed", record)


if __name__ == "__main__":
    main()
