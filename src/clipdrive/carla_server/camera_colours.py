"""Kernels of the camera: the colour of what the rays meet; stages and quantities as in `camera_kernels`."""

from __future__ import annotations

import numpy as np

from clipdrive.carla_server import materials as m
from clipdrive.carla_server.camera_kernels import (
    APART,
    BLUE,
    BLUE_AT,
    BLUR,
    COARSE,
    COARSE_AT,
    COLUMN,
    DEPTH,
    DX,
    DY,
    DZ,
    EDGE,
    FINE,
    FINE_AT,
    GREEN,
    HAZE,
    LINE,
    LINED,
    NEVER,
    RED,
    ROAD,
    ROW,
    SLOPE_X,
    SLOPE_Y,
    WIDE,
    YELLOW,
    between,
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


@kernel
def read_grain(s, q, n, grain):
    """The grain of the ground: of 5 cm, fading before it is smaller than a pixel, and of 60 cm."""
    near = np.int32(0)
    for k in range(n):
        i = np.uintp(k)
        column, row = s[COLUMN + i], s[ROW + i]
        q[FINE_AT + i] = (np.int32(row * _5) & _MASK) << _SHIFT | (np.int32(column * _5) & _MASK)
        q[COARSE_AT + i] = (np.int32(column * _04) & _MASK) << _SHIFT | (np.int32(row * _04) & _MASK)
        near += np.int32(_16 * s[WIDE + i] < _1)
    for k in range(n):
        i = np.uintp(k)
        number = np.uint32(q[COARSE_AT + i])
        s[COARSE + i] = np.float32(grain[number >> np.uint32(8), number & np.uint32(255)])
    for k in range(n):
        i = np.uintp(k)
        s[COARSE + i] = s[COARSE + i] * max(_1 - s[WIDE + i] / _36, _0) * GRAIN_SCALE
        s[FINE + i] = _0
    if near == 0:
        return
    for k in range(n):
        i = np.uintp(k)
        number = np.uint32(q[FINE_AT + i])
        s[FINE + i] = np.float32(grain[number >> np.uint32(8), number & np.uint32(255)])
    for k in range(n):
        i = np.uintp(k)
        s[FINE + i] = s[FINE + i] * max(_1 - _16 * s[WIDE + i], _0) * GRAIN_SCALE


@kernel
def find_lines(s, n, line, code):
    """Which pixels may show an inner line: their numbers in LINED, and how many."""
    some = 0
    for k in range(n):
        i = np.uintp(k)
        s[LINE + i] = s[YELLOW + i] = _0
        v, u = np.uint32(np.int32(s[ROW + i] + _HALF)), np.uint32(np.int32(s[COLUMN + i] + _HALF))
        beyond = abs(line[v, u]) - LINE_CERTAIN_M
        near = beyond * abs(beyond) < _04 * s[WIDE + i] and s[EDGE + i] > EDGE_LINE_TO_M
        if near and code[v, u] != 0 and s[DEPTH + i] < NEVER:
            s[LINED + np.uintp(some)] = k
            some += 1
    return some


@kernel
def draw_lines(s, some, line, code, axes, focal, per_m):
    """The share that inner lines have in the `some` pixels of LINED, and which are yellow."""
    for k in range(some):
        i = np.uintp(s[LINED + np.uintp(k)])
        s[LINE + i] = inner_line(s, i, line, code, axes, focal, per_m)
        bits = code[int(s[ROW + i]), int(s[COLUMN + i])]
        s[YELLOW + i] = _1 if bits & LINE_YELLOW else _0


@kernel
def inner_line(s, k, line, code, axes, focal, per_m):
    """Share of pixel k that the nearest inner line covers; nothing where its four cells are not of one line."""
    u, v = s[COLUMN + k], s[ROW + k]
    i, j = int(u), int(v)
    c00, c01, c10, c11 = code[j, i], code[j, i + 1], code[j + 1, i], code[j + 1, i + 1]
    number = c00 & LINE_IDS
    if c01 & LINE_IDS != number or c10 & LINE_IDS != number or c11 & LINE_IDS != number:
        return 0.0
    beside, to_x, to_y = between(line, v, u)
    to_x, to_y = to_x * per_m, to_y * per_m
    if to_x * to_x + to_y * to_y > 2.0:  # two lines of one number, or a line's end
        return 0.0
    # How far a pixel reaches across the line, as in `footprint`.
    dx, dy, size = s[DX + k], s[DY + k], s[DEPTH + k] / focal
    slope_x, slope_y = s[SLOPE_X + k], s[SLOPE_Y + k]
    down = size / (s[DZ + k] - slope_x * dx - slope_y * dy)
    turn = down * (axes[2, 1] - slope_x * axes[0, 1] - slope_y * axes[1, 1])
    tilt = down * (axes[2, 2] - slope_x * axes[0, 2] - slope_y * axes[1, 2])
    column = abs(to_x * (size * axes[0, 1] - dx * turn) + to_y * (size * axes[1, 1] - dy * turn))
    row = abs(to_x * (size * axes[0, 2] - dx * tilt) + to_y * (size * axes[1, 2] - dy * tilt))
    blur = max(column, row) + 0.4 * min(column, row) + 1e-3
    if c00 & LINE_DOUBLE:
        beside = abs(beside) - DOUBLE_HALF_M
    if abs(beside) >= LINE_HALF_M + 0.5 * blur:
        return 0.0
    painted = min((beside + LINE_HALF_M) / blur + 0.5, 1.0) - max((beside - LINE_HALF_M) / blur + 0.5, 0.0)
    if c00 & LINE_BROKEN:
        a, b = u - i, v - j
        top = (c00 >> 7) + a * (float(c01 >> 7) - float(c00 >> 7))
        bottom = (c10 >> 7) + a * (float(c11 >> 7) - float(c10 >> 7))
        on = top + b * (bottom - top)
        far = min(max(0.25 * (s[WIDE + k] - 1.0), 0.0), 1.0)  # dashes run together where pixels span them
        painted *= on + far * (BROKEN_SHARE - on)
    return painted


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
