"""The film: a GIF of bounded size that shows camera, map, speed and steering, and has the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipdrive.training.film import MOST_BYTES, STRIP_PX, VIEW_PX, FilmError, write_film
from reporting_data import circle


def episode(steps: int, shape: tuple[int, ...] = (84, 84), noise: int = 0) -> tuple[np.ndarray, list[dict], np.ndarray]:
    """Frames that brighten as time goes by, rows of a lap on a wavy road, and the road."""
    rng = np.random.default_rng(0)
    road = circle("circuit:1", steps + 1)
    levels = np.linspace(20, 235, steps).astype(np.uint8).reshape(-1, *([1] * len(shape)))
    frames = np.broadcast_to(levels, (steps, *shape)).copy()
    if noise:
        frames = np.clip(frames + rng.integers(-noise, noise, frames.shape), 0, 255).astype(np.uint8)
    way = np.diff(road, axis=0)
    rows = [
        {
            "x_m": road[i, 0],
            "y_m": road[i, 1],
            "yaw_rad": float(np.arctan2(way[i, 1], way[i, 0])),
            "speed_mps": 10.0 * i / steps,
            "steer": float(np.sin(i)),
            "throttle": 0.5,
            "offset_m": 0.1,
            "s_m": float(i),
        }
        for i in range(steps)
    ]
    return frames, rows, road


def pictures(path: Path) -> list[np.ndarray]:
    with Image.open(path) as film:
        result = []
        for i in range(film.n_frames):
            film.seek(i)
            result.append(np.asarray(film.convert("RGB")))
        return result


def test_it_shows_the_camera_beside_the_map(tmp_path: Path) -> None:
    write_film(tmp_path / "a" / "film.gif", *episode(20), fps=10.0)
    shown = pictures(tmp_path / "a" / "film.gif")
    assert len(shown) == 20
    assert shown[0].shape[0] == VIEW_PX + STRIP_PX and shown[0].shape[1] > 2 * VIEW_PX
    camera = [picture[:VIEW_PX, :VIEW_PX].mean() for picture in shown]
    assert np.all(np.diff(camera) >= 0) and np.unique(camera).size > 6  # the frames, in their order
    assert abs(camera[0] - 20) < 6 and abs(camera[-1] - 235) < 6
    with Image.open(tmp_path / "a" / "film.gif") as film:
        assert film.info["duration"] == 100


def test_the_car_is_where_the_row_says_and_leaves_a_trail(tmp_path: Path) -> None:
    frames, rows, road = episode(20)
    write_film(tmp_path / "film.gif", frames, rows, road, fps=10.0)
    shown = pictures(tmp_path / "film.gif")

    def centre(picture: np.ndarray, color: tuple[int, int, int]) -> tuple[np.ndarray, int]:
        """Mean pixel (x, y) inside the map that is nearly of that colour, and how many there are."""
        part = picture[:VIEW_PX, VIEW_PX:].astype(int)
        y, x = np.nonzero(np.abs(part - color).sum(axis=2) < 60)
        return np.array([x.mean(), y.mean()]) if len(x) else np.zeros(2), len(x)

    middle, scale = (road.min(axis=0) + road.max(axis=0)) / 2, 300.0 / np.ptp(road, axis=0).max()
    for i in (0, 7, 19):
        expected = np.array([12 + VIEW_PX / 2, VIEW_PX / 2]) + scale * (
            np.array([rows[i]["x_m"], rows[i]["y_m"]]) - middle
        )
        car, pixels = centre(shown[i], (192, 57, 43))
        assert pixels > 40 and np.abs(car - expected).max() < 4  # y grows downwards: to the right of x, as from above
    trail = [centre(picture, (31, 95, 191))[1] for picture in shown]
    assert trail[0] == 0 and np.all(np.diff(trail[1:]) > 0)


def test_color_frames_and_other_sizes(tmp_path: Path) -> None:
    frames, rows, road = episode(5, (60, 400, 3))
    frames[..., 0] = 250
    frames[..., 1:] = 10
    write_film(tmp_path / "film.gif", frames, rows, road, fps=25.0)
    red = pictures(tmp_path / "film.gif")[2][VIEW_PX // 2, VIEW_PX // 2]
    assert red[0] > 200 and red[1] < 60


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.gif", "two.gif"):
        write_film(tmp_path / name, *episode(12, noise=20), fps=10.0)
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()


def test_a_long_noisy_episode_stays_below_4_megabytes(tmp_path: Path) -> None:
    frames, rows, road = episode(400, noise=30)
    write_film(tmp_path / "film.gif", frames, rows, road, fps=10.0)
    assert (tmp_path / "film.gif").stat().st_size <= MOST_BYTES
    shown = pictures(tmp_path / "film.gif")
    assert 20 < len(shown) <= 300
    assert shown[-1][:VIEW_PX, :VIEW_PX].mean() > shown[0][:VIEW_PX, :VIEW_PX].mean() + 150  # from begin to end


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    frames, rows, road = episode(5)
    with pytest.raises(FilmError, match=r"^rows: got 4, allowed: one for each of the 5 frames$"):
        write_film(tmp_path / "film.gif", frames, rows[:4], road, fps=10.0)
    with pytest.raises(FilmError, match=r"^frames: got float64 \(5, 84, 84\), allowed: uint8"):
        write_film(tmp_path / "film.gif", frames.astype(float), rows, road, fps=10.0)
    with pytest.raises(FilmError, match=r"^frames: got uint8 \(0, 84, 84\)"):
        write_film(tmp_path / "film.gif", frames[:0], [], road, fps=10.0)
    assert not list(tmp_path.iterdir())
