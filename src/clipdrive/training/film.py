"""A film of one episode as a GIF: what the camera sees beside the map, with speed and steering below.

Pictures are drawn in palette colours from the start: small frames are reduced to them before they are enlarged.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MOST_FRAMES = 300
MOST_BYTES = 4_000_000
VIEW_PX = 336  # side of the camera's and of the map's square
STRIP_PX = 74
GAP_PX = 12
MARGIN_PX = 18  # inside the map
LABEL_PX, BAR_PX, BAR_HEIGHT_PX = 80, 164, 13

# The palette: shades from ink to paper for the text, then the colours of map and bars, then those of the camera.
SHADES = 16
PAPER = SHADES - 1
COLORS = {"road": (214, 219, 226), "trail": (31, 95, 191), "car": (192, 57, 43), "frame": (120, 128, 140)}
ROAD, TRAIL, CAR, FRAME = range(SHADES, SHADES + len(COLORS))
CAMERA = SHADES + len(COLORS)  # the first of the camera's colours
CAMERA_COLORS = (64, 40)  # the second where the first make too large a file


class FilmError(ValueError):
    """Frames and rows of an episode do not fit together."""


def write_film(
    path: Path, frames: np.ndarray, rows: Sequence[Mapping[str, Any]], route_xy: np.ndarray, fps: float
) -> None:
    """Write an episode as a GIF of at most 300 frames and 4 MB; the same input gives the same bytes.

    `frames` is uint8 (T, H, W) or (T, H, W, 3); `rows` are T mappings with x_m, y_m, yaw_rad, speed_mps,
    steer, throttle, offset_m and s_m (CARLA's frame, y to the right); `route_xy` (n, 2) is the middle of the road
    in metres; `fps` is how many frames are shown a second, and a longer episode is shown faster. Raises FilmError.
    """
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or len(frames) == 0:
        raise FilmError(f"frames: got {frames.dtype} {frames.shape}, allowed: uint8 (T, H, W) or (T, H, W, 3)")
    if len(rows) != len(frames):
        raise FilmError(f"rows: got {len(rows)}, allowed: one for each of the {len(frames)} frames")
    count = min(len(frames), MOST_FRAMES)
    colors, fewer_colors = CAMERA_COLORS
    data = _film(frames, rows, route_xy, fps, count, colors)
    while len(data) > MOST_BYTES and count > 8:
        if colors > fewer_colors:
            colors = fewer_colors  # the eye misses frames sooner
        else:
            count = max(8, int(count * min(0.9, 0.97 * MOST_BYTES / len(data))))
        data = _film(frames, rows, route_xy, fps, count, colors)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _film(
    frames: np.ndarray, rows: Sequence[Mapping[str, Any]], route_xy: np.ndarray, fps: float, count: int, colors: int
) -> bytes:
    """The GIF's bytes, of `count` of the frames, the camera's part in `colors` colours."""
    shown = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    camera = _Camera(frames[shown], colors)
    stage = _Stage(np.asarray(route_xy, dtype=float), rows, camera.palette)
    pictures = [stage.picture(camera.picture(frames[i]), i) for i in shown]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=max(20, 10 * round(100 / fps)),  # a GIF counts in hundredths of a second
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


class _Camera:
    """The camera's frames in the film's palette: even grays, or the commonest colours of some of the frames."""

    def __init__(self, frames: np.ndarray, colors: int) -> None:
        if frames.ndim == 3:
            own = np.linspace(0, 255, colors).round().astype(int).repeat(3).tolist()
        else:
            few = frames[:: max(1, len(frames) // 16)]
            sheet = Image.fromarray(few.reshape(-1, *few.shape[2:]))
            own = sheet.quantize(colors, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).getpalette()
            own = (own + own[-3:] * colors)[: 3 * colors]
        ink, paper = np.array([27, 36, 48]), np.array([255, 255, 255])
        shades = [(ink + (paper - ink) * i / PAPER).round().astype(int).tolist() for i in range(SHADES)]
        self.palette = [level for color in (*shades, *COLORS.values()) for level in color] + own
        self.own = Image.new("P", (1, 1))
        self.own.putpalette(own)
        self.level_of_gray = (np.arange(256) * (colors - 1) / 255.0).round().astype(np.uint8)

    def picture(self, frame: np.ndarray) -> Image.Image:
        """Palette indices of one frame in a square of VIEW_PX, enlarged by a whole factor where it is small."""
        height, width = frame.shape[:2]
        factor = VIEW_PX / max(height, width)
        image = Image.fromarray(frame)
        if factor < 1:
            image = image.resize((max(1, round(width * factor)), max(1, round(height * factor))), Image.Resampling.BOX)
        if frame.ndim == 2:
            indices = self.level_of_gray[np.asarray(image)]
        else:
            indices = np.asarray(image.quantize(palette=self.own, dither=Image.Dither.NONE))
        indices = np.kron(indices + np.uint8(CAMERA), np.ones((max(1, int(factor)),) * 2, np.uint8))
        square = np.full((VIEW_PX, VIEW_PX), PAPER, np.uint8)
        top, left = (VIEW_PX - indices.shape[0]) // 2, (VIEW_PX - indices.shape[1]) // 2
        square[top : top + indices.shape[0], left : left + indices.shape[1]] = indices
        return Image.fromarray(square)


class _Stage:
    """Draws one picture of the film; what does not change is drawn once."""

    def __init__(self, route_xy: np.ndarray, rows: Sequence[Mapping[str, Any]], palette: list[int]) -> None:
        self.rows = rows
        self.fastest_mps = max(*(row["speed_mps"] for row in rows), 1.0)
        low, high = route_xy.min(axis=0), route_xy.max(axis=0)
        self.scale = (VIEW_PX - 2 * MARGIN_PX) / max(float((high - low).max()), 1.0)  # pixels a metre
        self.middle = (low + high) / 2
        self.origin = np.array([VIEW_PX + GAP_PX + VIEW_PX / 2, VIEW_PX / 2])
        self.trail = self._pixels(np.array([[row["x_m"], row["y_m"]] for row in rows], dtype=float))
        self.background = Image.new("P", (2 * VIEW_PX + GAP_PX, VIEW_PX + STRIP_PX), PAPER)
        self.background.putpalette(palette)
        ImageDraw.Draw(self.background).line(self._pixels(route_xy), fill=ROAD, width=7, joint="curve")
        for words, left, line in (("speed", 4, 0), ("steering", 4, 1), ("throttle", VIEW_PX + GAP_PX, 0)):
            self.background.paste(_text(words), (left, _line_px(line)))

    def _pixels(self, xy_m: np.ndarray) -> list[tuple[float, float]]:
        """Map pixels of points (n, 2): x to the right and y downwards, as seen from above."""
        return [tuple(point) for point in (xy_m - self.middle) * self.scale + self.origin]

    def picture(self, camera: Image.Image, index: int) -> Image.Image:
        row = self.rows[index]
        image = self.background.copy()
        image.paste(camera, (0, 0))
        draw = ImageDraw.Draw(image)
        if index:
            draw.line(self.trail[: index + 1], fill=TRAIL, width=3)
        draw.polygon(_arrow(self.trail[index], float(row["yaw_rad"])), fill=CAR)
        left, right = 4, VIEW_PX + GAP_PX
        steer, throttle = (0.5 + 0.5 * float(np.clip(row[name], -1, 1)) for name in ("steer", "throttle"))
        _bar(image, draw, left, 0, (0.0, min(row["speed_mps"] / self.fastest_mps, 1.0)), f"{row['speed_mps']:.1f} m/s")
        _bar(image, draw, left, 1, (0.5, steer), f"{row['steer']:+.2f}")
        _bar(image, draw, right, 0, (0.5, throttle), f"{row['throttle']:+.2f}")
        image.paste(_text(f"{row['s_m']:.0f} m along the route"), (right, _line_px(1)))
        image.paste(_text(f"{row['offset_m']:+.2f} m off its middle"), (right + 180, _line_px(1)))
        return image


def _line_px(line: int) -> int:
    """Top of a line of text below the pictures."""
    return VIEW_PX + 11 + 29 * line


def _bar(
    image: Image.Image, draw: ImageDraw.ImageDraw, left: int, line: int, ends: tuple[float, float], words: str
) -> None:
    """A bar between two shares of its length, with its number behind it."""
    left, top = left + LABEL_PX, _line_px(line) + 3
    draw.rectangle((left, top, left + BAR_PX, top + BAR_HEIGHT_PX), outline=FRAME)
    low, high = sorted(round(share * BAR_PX) for share in ends)
    draw.rectangle((left + low, top, left + high, top + BAR_HEIGHT_PX), fill=TRAIL)
    image.paste(_text(words), (left + BAR_PX + 8, top - 3))


@lru_cache(maxsize=4096)
def _text(words: str) -> Image.Image:
    """The words in shades from ink to paper."""
    font = _font()
    image = Image.new("L", (round(font.getlength(words)) + 2, 20), 255)
    ImageDraw.Draw(image).text((0, 0), words, 0, font)
    return Image.fromarray((np.asarray(image) * (PAPER / 255.0)).round().astype(np.uint8))


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(15)


def _arrow(at: tuple[float, float], yaw_rad: float) -> list[tuple[float, float]]:
    """A triangle that points along the yaw (clockwise from above, as on the map)."""
    corners = ((10.0, 0.0), (-6.0, 6.0), (-6.0, -6.0))
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return [(at[0] + cos * ahead - sin * side, at[1] + sin * ahead + cos * side) for ahead, side in corners]
