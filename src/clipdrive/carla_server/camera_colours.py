"""Kernels of the camera: the colour of what the rays meet; stages and quantities as in `camera_kernels`."""

from __future__ import annotations

import numpy as np

from clipdrive.carla_server import materials as m
from clipdrive.carla_server.camera_kernels import (
    APART,
    BLUE,
    BLUE_AT,
    BLUR,
    CELL_COLUMN,
    CELL_ROW,
    COARSE,
    COARSE_GRAIN,
    CODES,
    COLUMN,
    DEPTH,
    DX,
    DY,
    DZ,
    EDGE,
    FINE,
    FINE_GRAIN,
    GREEN,
    HAZE,
    LINE,
    LINED,
    LINED_COLUMN,
    LINED_DEPTH,
    LINED_DX,
    LINED_DY,
    LINED_DZ,
    LINED_LOW,
    LINED_LOW_RIGHT,
    LINED_ROW,
    LINED_SLOPE_X,
    LINED_SLOPE_Y,
    LINED_TOP,
    LINED_TOP_RIGHT,
    LINED_WIDE,
    NEVER,
    REACH,
    RED,
    ROAD,
    ROW,
    SLOPE_X,
    SLOPE_Y,
    WIDE,
    YELLOW,
)
from clipdrive.carla_server.raster import LINE_BROKEN, LINE_DOUBLE, LINE_IDS, LINE_YELLOW, kernel

EDGE_LINE_FROM_M, EDGE_LINE_TO_M = np.float32(0.12), np.float32(0.26)  # the white line inside the road's edge
LINE_HALF_M = 0.065  # half width of inner lines
DOUBLE_HALF_M = 0.12  # from the middle of a double line to each of the two
LINE_CERTAIN_M = np.float32(0.37)  # a cell further from a line has no paint but for the pixel's own reach
BROKEN_SHARE = 1.0 / 3.0  # painted share of a broken line, seen from afar
SKY_GRADIENT = np.float32(1.4)
GRAIN_SCALE = np.float32(m.GRAIN_UNIT)

_0, _HALF, _1, _255 = (np.float32(number) for number in (0.0, 0.5, 1.0, 255.0))
_04, _07, _5, _16, _36 = (np.float32(number) for number in (0.4, 0.7, 5.0, 16.0, 36.0))
_MASK, _SHIFT = np.int32(m.GRAIN_CELLS - 1), np.int32(8)  # 256 cells
_BYTE, _7_BITS, _8, _16_BITS, _24 = (np.int32(number) for number in (255, 7, 8, 16, 24))


@kernel
def read_grain(s, q, n, grain):
    """The grain of the ground: of 5 cm, fading before it is smaller than a pixel, and of 60 cm."""
    near = np.int32(0)
    for k in range(n):
        i = np.uintp(k)
        column, row = s[COLUMN + i], s[ROW + i]
        q[FINE_GRAIN + i] = (np.int32(row * _5) & _MASK) << _SHIFT | (np.int32(column * _5) & _MASK)
        q[COARSE_GRAIN + i] = (np.int32(column * _04) & _MASK) << _SHIFT | (np.int32(row * _04) & _MASK)
        near += np.int32(_16 * s[WIDE + i] < _1)
    for k in range(n):
        i = np.uintp(k)
        q[COARSE_GRAIN + i] = grain[np.uint32(q[COARSE_GRAIN + i])]
    for k in range(n):
        i = np.uintp(k)
        s[COARSE + i] = np.float32(q[COARSE_GRAIN + i]) * max(_1 - s[WIDE + i] / _36, _0) * GRAIN_SCALE
        s[FINE + i] = _0
    if near == 0:
        return
    for k in range(n):
        i = np.uintp(k)
        q[FINE_GRAIN + i] = grain[np.uint32(q[FINE_GRAIN + i])]
    for k in range(n):
        i = np.uintp(k)
        s[FINE + i] = np.float32(q[FINE_GRAIN + i]) * max(_1 - _16 * s[WIDE + i], _0) * GRAIN_SCALE


@kernel
def find_lines(s, q, n, line, code):
    """Which pixels may show an inner line: their numbers in LINED, and how many."""
    for k in range(n):
        i = np.uintp(k)
        s[LINE + i] = s[YELLOW + i] = _0
        q[CELL_ROW + i], q[CELL_COLUMN + i] = np.int32(s[ROW + i] + _HALF), np.int32(s[COLUMN + i] + _HALF)
        reach = _04 * s[WIDE + i] if s[EDGE + i] > EDGE_LINE_TO_M else -_1
        s[REACH + i] = reach if s[DEPTH + i] < NEVER else -_1  # none at all
    some = 0
    for k in range(n):
        i = np.uintp(k)
        v, u = np.uint32(q[CELL_ROW + i]), np.uint32(q[CELL_COLUMN + i])
        beyond = abs(line[v, u]) - LINE_CERTAIN_M
        if beyond * abs(beyond) < s[REACH + i] and code[v, u] != 0:
            s[LINED + np.uintp(some)] = k
            some += 1
    return some


@kernel
def draw_lines(s, q, some, line, code, axes, focal, per_m):
    """The share that inner lines have in the `some` pixels of LINED, and which are yellow."""
    if some == 0:
        return
    gather_lined(s, q, some, line, code)
    paint_lined(s, q, some, axes, focal, per_m)
    for k in range(some):
        b = np.uintp(k)
        i = np.uintp(s[LINED + b])
        s[LINE + i] = s[LINED_TOP + b]
        s[YELLOW + i] = _1 if q[CODES + b] & LINE_YELLOW else _0


@kernel
def gather_lined(s, q, some, line, code):
    """What `paint_lined` needs of the `some` pixels of LINED."""
    for k in range(some):
        b = np.uintp(k)
        i = np.uintp(s[LINED + b])
        u, v = s[COLUMN + i], s[ROW + i]
        s[LINED_COLUMN + b], s[LINED_ROW + b] = u, v
        s[LINED_DX + b], s[LINED_DY + b], s[LINED_DZ + b] = s[DX + i], s[DY + i], s[DZ + i]
        s[LINED_DEPTH + b], s[LINED_WIDE + b] = s[DEPTH + i], s[WIDE + i]
        s[LINED_SLOPE_X + b], s[LINED_SLOPE_Y + b] = s[SLOPE_X + i], s[SLOPE_Y + i]
        row, column = np.uint32(np.int32(v)), np.uint32(np.int32(u))
        below, right = row + np.uint32(1), column + np.uint32(1)
        s[LINED_TOP + b], s[LINED_TOP_RIGHT + b] = line[row, column], line[row, right]
        s[LINED_LOW + b], s[LINED_LOW_RIGHT + b] = line[below, column], line[below, right]
        top = np.int32(code[row, column]) | np.int32(code[row, right]) << _8
        q[CODES + b] = top | np.int32(code[below, column]) << _16_BITS | np.int32(code[below, right]) << _24


@kernel
def paint_lined(s, q, some, axes, focal, per_m):
    """LINED_TOP = share of the pixel that the nearest inner line covers; 0 where its four cells are not of one line."""
    for k in range(some):
        b = np.uintp(k)
        codes = q[CODES + b]
        top_left, top_right = codes & _BYTE, (codes >> _8) & _BYTE
        low_left, low_right = (codes >> _16_BITS) & _BYTE, (codes >> _24) & _BYTE
        others = (top_left ^ top_right) | (top_left ^ low_left) | (top_left ^ low_right)
        of_one_line = np.int32(others & LINE_IDS == 0)
        u, v = s[LINED_COLUMN + b], s[LINED_ROW + b]
        along, down = u - np.float32(np.int32(u)), v - np.float32(np.int32(v))
        top_step = s[LINED_TOP_RIGHT + b] - s[LINED_TOP + b]
        low_step = s[LINED_LOW_RIGHT + b] - s[LINED_LOW + b]
        top, bottom = s[LINED_TOP + b] + along * top_step, s[LINED_LOW + b] + along * low_step
        beside = np.float64(top + down * (bottom - top))
        to_x, to_y = np.float64(top_step + down * (low_step - top_step)) * per_m, np.float64(bottom - top) * per_m
        of_one_line &= np.int32(to_x * to_x + to_y * to_y <= 2.0)  # not two lines of one number, nor a line's end
        # How far a pixel reaches across the line, as in `footprint`.
        dx, dy, size = s[LINED_DX + b], s[LINED_DY + b], s[LINED_DEPTH + b] / focal
        slope_x, slope_y = s[LINED_SLOPE_X + b], s[LINED_SLOPE_Y + b]
        falls = size / (s[LINED_DZ + b] - slope_x * dx - slope_y * dy)
        turn = falls * (axes[2, 1] - slope_x * axes[0, 1] - slope_y * axes[1, 1])
        tilt = falls * (axes[2, 2] - slope_x * axes[0, 2] - slope_y * axes[1, 2])
        column = abs(to_x * (size * axes[0, 1] - dx * turn) + to_y * (size * axes[1, 1] - dy * turn))
        row = abs(to_x * (size * axes[0, 2] - dx * tilt) + to_y * (size * axes[1, 2] - dy * tilt))
        blur = max(column, row) + 0.4 * min(column, row) + 1e-3
        beside = abs(beside) - DOUBLE_HALF_M if top_left & LINE_DOUBLE else beside
        covers = of_one_line & np.int32(abs(beside) < LINE_HALF_M + 0.5 * blur)
        painted = min((beside + LINE_HALF_M) / blur + 0.5, 1.0) - max((beside - LINE_HALF_M) / blur + 0.5, 0.0)
        on_left, on_right = np.float64(top_left >> _7_BITS), np.float64(top_right >> _7_BITS)
        on_top = on_left + np.float64(along) * (on_right - on_left)
        on_left, on_right = np.float64(low_left >> _7_BITS), np.float64(low_right >> _7_BITS)
        on_bottom = on_left + np.float64(along) * (on_right - on_left)
        on = on_top + np.float64(down) * (on_bottom - on_top)
        far = min(max(0.25 * (s[LINED_WIDE + b] - 1.0), 0.0), 1.0)  # dashes run together where pixels span them
        dashed = painted * (on + far * (BROKEN_SHARE - on))
        painted = dashed if top_left & LINE_BROKEN else painted
        s[LINED_TOP + b] = painted if covers else 0.0


@kernel
def shares(s, n, haze):
    """Of every pixel: the share of road in it, of lines on that road, and of haze before it."""
    haze_m, haze_from_m, _ = haze
    for k in range(n):
        i = np.uintp(k)
        from_edge, per = s[EDGE + i], _1 / s[BLUR + i]
        s[ROAD + i] = min(max(from_edge * per + _HALF, _0), _1)
        band = min(max((from_edge - EDGE_LINE_FROM_M) * per + _HALF, _0), _1)
        band -= min(max((from_edge - EDGE_LINE_TO_M) * per + _HALF, _0), _1)
        s[LINE + i] = max(band, s[LINE + i])
        t = max(s[DEPTH + i] - haze_from_m, _0)
        s[HAZE + i] = t * t / (t * t + haze_m * haze_m)


@kernel
def colour_ground(s, n, verge, colours, contrasts):
    """Colours of what is ground, and of the sky elsewhere."""
    verge, rough, grassy = np.float32(verge), np.float32(contrasts[0]), _07 * np.float32(contrasts[1])
    for channel in range(3):
        out = np.uintp(APART * (BLUE_AT + channel))
        haze = np.float32(colours[m.HORIZON, channel])
        sky = np.float32(colours[m.ZENITH, channel]) - haze
        asphalt, white = np.float32(colours[m.ASPHALT, channel]), np.float32(colours[m.WHITE_LINE, channel])
        grass, terrain = np.float32(colours[m.VERGE, channel]), np.float32(colours[m.TERRAIN, channel])
        yellow = np.float32(colours[m.YELLOW_LINE, channel]) - white
        for k in range(n):
            i = np.uintp(k)
            surface = asphalt + rough * (s[FINE + i] + _04 * s[COARSE + i])
            surface += s[LINE + i] * (white + s[YELLOW + i] * yellow - surface)
            side = (grass if s[EDGE + i] > -verge else terrain) + grassy * (s[FINE + i] + s[COARSE + i])
            ground = side + s[ROAD + i] * (surface - side)
            ground += s[HAZE + i] * (haze - ground)
            above = haze + min(max(SKY_GRADIENT * s[DZ + i], _0), _1) * sky
            s[out + i] = ground if s[DEPTH + i] < NEVER else above


@kernel
def colour_sky(s, n, colours):
    """Colours of pixels that show nothing but sky."""
    for channel in range(3):
        out = np.uintp(APART * (BLUE_AT + channel))
        haze = np.float32(colours[m.HORIZON, channel])
        sky = np.float32(colours[m.ZENITH, channel]) - haze
        for k in range(n):
            i = np.uintp(k)
            s[out + i] = haze + min(max(SKY_GRADIENT * s[DZ + i], _0), _1) * sky


@kernel
def store(s, n, pixels):
    """Write the run's colours as BGRA bytes, alpha 255, on a little-endian machine."""
    for k in range(n):
        i = np.uintp(k)
        blue = np.int32(min(max(s[BLUE + i] + _HALF, _0), _255))
        green = np.int32(min(max(s[GREEN + i] + _HALF, _0), _255))
        red = np.int32(min(max(s[RED + i] + _HALF, _0), _255))
        pixels[k] = np.uint32(blue | (green << 8) | (red << 16)) | np.uint32(0xFF000000)
