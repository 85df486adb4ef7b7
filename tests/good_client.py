"""A carla client that drives on in a process of its own while a test hurts the server.

As a program it drives until its stdin is closed; for every line on stdin it prints what happened since the last one.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator


class GoodClient:
    """The test's side of the driving process."""

    def __init__(self, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.report()["ticks"] >= 0  # it has begun

    def report(self) -> dict:
        """Return ticks, lost images and the slowest tick (s) since the last report."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the good client ended"
        return json.loads(line)

    def drives_on(self, ticks: int = 5, within_s: float = 10.0) -> dict:
        """Return a report in which at least so many ticks passed, each with its image; fails otherwise."""
        total = self.report()
        deadline = time.monotonic() + within_s
        while total["ticks"] < ticks:
            assert time.monotonic() < deadline, f"{total['ticks']} ticks in {within_s} s"
            time.sleep(0.05)
            more = self.report()
            total = {key: max(total[key], more[key]) if key == "slowest_s" else total[key] + more[key] for key in total}
        assert total["lost"] == 0
        return total


@contextlib.contextmanager
def good_client(port: int) -> Iterator[GoodClient]:
    """Give a client that drives; it must end well."""
    client = GoodClient(port)
    try:
        yield client
        client.process.stdin.close()
        assert client.process.wait(20.0) == 0
    finally:
        client.process.kill()
        client.process.wait()
        client.process.stdout.close()


def _drive(port: int) -> None:
    import carla

    client = carla.Client("127.0.0.1", port)
    client.set_timeout(20.0)
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)
    library = world.get_blueprint_library()
    car = world.spawn_actor(library.find("vehicle.tesla.model3"), world.get_map().get_spawn_points()[0])
    blueprint = library.find("sensor.camera.rgb")
    blueprint.set_attribute("image_size_x", "84")
    blueprint.set_attribute("image_size_y", "84")
    camera = world.spawn_actor(blueprint, carla.Transform(carla.Location(x=1.0, z=1.4)), attach_to=car)
    images: queue.Queue = queue.Queue()
    camera.listen(images.put)
    world.tick()
    seen = {"ticks": 0, "lost": 0, "slowest_s": 0.0}
    lock, ended = threading.Lock(), threading.Event()

    def answer() -> None:
        for _ in sys.stdin:
            with lock:
                print(json.dumps(seen), flush=True)
                seen.update(ticks=0, lost=0, slowest_s=0.0)
        ended.set()

    threading.Thread(target=answer, daemon=True).start()
    while not ended.is_set():
        begun = time.monotonic()
        car.apply_control(carla.VehicleControl(throttle=0.3))
        came = _came(images, world.tick())
        with lock:
            seen["ticks"] += 1
            seen["lost"] += not came
            seen["slowest_s"] = max(seen["slowest_s"], time.monotonic() - begun)
        time.sleep(0.005)  # two cores are shared with the test and the server
    camera.stop()
    world.tick()
    assert camera.destroy() and car.destroy()


def _came(images: queue.Queue, frame: int) -> bool:
    with contextlib.suppress(queue.Empty):
        while (image := images.get(timeout=5.0)).frame < frame:  # of somebody else's tick
            pass
        return image.frame == frame and len(image.raw_data) == 84 * 84 * 4
    return False


if __name__ == "__main__":
    _drive(int(sys.argv[1]))
