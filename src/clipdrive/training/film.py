"""A film of one episode as a GIF: what the camera sees beside the map, with speed and steering below."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
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

PAPER, INK, SOFT, ROAD = (255, 255, 255), (27, 36, 48), (120, 128, 140), (214, 219, 226)
TRAIL, CAR = (31, 95, 191), (192, 57, 43)


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
    speeds = [row["speed_mps"] for row in rows]
    stage = _Stage(np.asarray(route_xy, dtype=float), rows, max(*speeds, 1.0))
    count, colors = min(len(frames), MOST_FRAMES), 256
    while True:
        shown = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
        data = _gif([stage.picture(frames[i], i) for i in shown], fps, colors)
        if len(data) <= MOST_BYTES or count <= 8:
            break
        if colors > 48:
            colors = 48  # fewer grays first: the eye misses frames sooner
        else:
            count = max(8, int(count * min(0.9, 0.97 * MOST_BYTES / len(data))))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class _Stage:
    """Draws one frame of the film; what does not change is drawn once."""

    def __init__(self, route_xy: np.ndarray, rows: Sequence[Mapping[str, Any]], fastest_mps: float) -> None:
        self.rows, self.fastest_mps = rows, fastest_mps
        self.font = ImageFont.load_default(15)
        low, high = route_xy.min(axis=0), route_xy.max(axis=0)
        self.scale = (VIEW_PX - 2 * MARGIN_PX) / max(float((high - low).max()), 1.0)  # pixels a metre
        self.middle = (low + high) / 2
        self.origin = np.array([VIEW_PX + GAP_PX + VIEW_PX / 2, VIEW_PX / 2])
        self.background = Image.new("RGB", (2 * VIEW_PX + GAP_PX, VIEW_PX + STRIP_PX), PAPER)
        draw = ImageDraw.Draw(self.background)
        draw.line(self._pixels(route_xy), fill=ROAD, width=7, joint="curve")
        positions = np.array([[row["x_m"], row["y_m"]] for row in rows], dtype=float)
        self.trail = self._pixels(positions)

    def _pixels(self, xy_m: np.ndarray) -> list[tuple[float, float]]:
        """Map pixels of points (n, 2): x to the right and y downwards, as seen from above."""
        return [tuple(point) for point in (xy_m - self.middle) * self.scale + self.origin]

    def picture(self, frame: np.ndarray, index: int) -> Image.Image:
        row = self.rows[index]
        image = self.background.copy()
        image.paste(_enlarged(frame), (0, 0))
        draw = ImageDraw.Draw(image)
        if index:
            draw.line(self.trail[: index + 1], fill=TRAIL, width=3)
        draw.polygon(_arrow(self.trail[index], float(row["yaw_rad"])), fill=CAR)
        self._bars(draw, row)
        return image

    def _bars(self, draw: ImageDraw.ImageDraw, row: Mapping[str, Any]) -> None:
        left, width, top = 84, 170, VIEW_PX + 14
        draw.text((4, top - 3), "speed", INK, self.font)
        _bar(draw, left, top, width, 0.0, min(row["speed_mps"] / self.fastest_mps, 1.0))
        draw.text((left + width + 8, top - 3), f"{row['speed_mps']:.1f} m/s", INK, self.font)
        draw.text((4, top + 26), "steering", INK, self.font)
        _bar(draw, left, top + 29, width, 0.5, 0.5 + 0.5 * float(np.clip(row["steer"], -1, 1)))
        draw.text((left + width + 8, top + 26), f"{row['steer']:+.2f}", INK, self.font)
        right = VIEW_PX + GAP_PX
        draw.text((right, top - 3), "throttle", INK, self.font)
        _bar(draw, right + 74, top, width - 20, 0.5, 0.5 + 0.5 * float(np.clip(row["throttle"], -1, 1)))
        draw.text((right + 74 + width - 12, top - 3), f"{row['throttle']:+.2f}", INK, self.font)
        place = f"{row['s_m']:.0f} m along the route, {row['offset_m']:+.2f} m from its middle"
        draw.text((right, top + 26), place, INK, self.font)


def _enlarged(frame: np.ndarray) -> Image.Image:
    """The camera's image in the square of the film, in whole pixels where it is small."""
    image = Image.fromarray(frame)
    height, width = frame.shape[:2]
    factor = VIEW_PX / max(height, width)
    if factor > 1:
        factor = int(factor)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
    square = Image.new("RGB", (VIEW_PX, VIEW_PX), PAPER)
    square.paste(image.resize(size, method), ((VIEW_PX - size[0]) // 2, (VIEW_PX - size[1]) // 2))
    return square


def _arrow(at: tuple[float, float], yaw_rad: float) -> list[tuple[float, float]]:
    """A triangle that points along the yaw (clockwise from above, as on the map)."""
    corners = ((10.0, 0.0), (-6.0, 6.0), (-6.0, -6.0))
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return [(at[0] + cos * ahead - sin * side, at[1] + sin * ahead + cos * side) for ahead, side in corners]


def _bar(draw: ImageDraw.ImageDraw, left: int, top: int, width: int, begin: float, end: float) -> None:
    height = 13
    draw.rectangle((left, top, left + width, top + height), outline=SOFT)
    low, high = sorted((begin, end))
    draw.rectangle((left + round(low * width), top, left + round(high * width), top + height), fill=TRAIL)


def _gif(pictures: list[Image.Image], fps: float, colors: int) -> bytes:
    """The GIF of all pictures in one palette, made from a few of them."""
    few = pictures[:: max(1, len(pictures) // 8)]
    sheet = Image.new("RGB", (few[0].width, few[0].height * len(few)))
    for i, picture in enumerate(few):
        sheet.paste(picture, (0, i * picture.height))
    own = (PAPER, INK, SOFT, ROAD, TRAIL, CAR)  # would be lost among the camera's grays
    found = sheet.quantize(colors - len(own), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(level for color in own for level in color), *found.getpalette()])
    images = [_in_palette(picture, palette) for picture in pictures]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=max(20, 10 * round(100 / fps)),  # a GIF counts in hundredths of a second
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _in_palette(picture: Image.Image, palette: Image.Image) -> Image.Image:
    """The picture in the palette's colours; paper stays paper, where Pillow would take a gray that is near enough."""
    image = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    paper = Image.fromarray((np.asarray(picture) == PAPER).all(axis=2))
    image.paste(0, mask=paper)  # the palette's first colour
    return image
