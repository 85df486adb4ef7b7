"""Kernels of the camera: the colour of walls, drawn over what was coloured behind them.

The walls that rays have met are listed in HIT of `camera_walls`; the k-th of them has its quantities in stretches
that tracing has used before it.
"""

from __future__ import annotations

import numpy as np

from clipdrive.carla_server import camera_walls as walls
from clipdrive.carla_server import materials as m
from clipdrive.carla_server.camera_colours import GRAIN_SCALE
from clipdrive.carla_server.camera_walls import (
    ALONG_X,
    ALONG_Y,
    BLUE,
    COLUMN,
    GREEN,
    HIT,
    LOW,
    LOW_STEP,
    PIXEL,
    POINT_X,
    POINT_Y,
    RED,
    ROW,
    TOP,
    TOP_STEP,
    WALL,
    whole,
)
from clipdrive.carla_server.raster import bilinear, kernel

# Of the k-th wall met, in stretches that the rays under way no longer need.
DEPTH, ALONG_Z, PART_COLUMN, PART_ROW = walls.END, walls.FROM, walls.UNTIL, walls.EDGE  # in c
FAR, SPECKLE, BLUE_BEHIND, GREEN_BEHIND, RED_BEHIND = walls.DEPTH, TOP, TOP_STEP, LOW, LOW_STEP  # in c
FLOOR, COVER, LIGHT, CLOSE = walls.AT, walls.FREE, walls.FREE_END, walls.STEP  # in w
GRAIN, COLOUR = COLUMN, ROW  # in q

_0, _HALF, _255 = (np.float32(number) for number in (0.0, 0.5, 255.0))
_OPAQUE = np.uint32(0xFF000000)


@kernel
def colour_walls(c, w, q, some, pixels, x, y, z, focal, edge, elevation, place, colours, contrasts, grain, haze):
    """Draw the walls of the `some` rays in HIT into `pixels`."""
    for k in range(some):
        b = np.uintp(k)
        a = np.uintp(q[HIT + b])
        c[DEPTH + b], c[ALONG_Z + b] = c[WALL + a], c[walls.DZ + a]
        c[ALONG_X + b], c[ALONG_Y + b] = c[walls.DX + a], c[walls.DY + a]
    find_faces(c, w, q, some, x, y, edge, elevation, place)
    light_faces(c, w, q, some, z, focal, place, haze)
    for k in range(some):
        b = np.uintp(k)
        a = np.uintp(q[HIT + b])
        c[SPECKLE + b] = grain[np.uint32(q[GRAIN + b])] * GRAIN_SCALE
        c[BLUE_BEHIND + b], c[GREEN_BEHIND + b], c[RED_BEHIND + b] = c[BLUE + a], c[GREEN + a], c[RED + a]
    rough = contrasts[2]
    wall, horizon = colours[m.WALL], colours[m.HORIZON]
    for k in range(whole(some)):
        b = np.uintp(k)
        light, far, cover = w[LIGHT + b], c[FAR + b], w[COVER + b]
        speckle = c[SPECKLE + b] * rough * w[CLOSE + b]
        blue = face(c[BLUE_BEHIND + b], wall[0], horizon[0], light, speckle, far, cover)
        green = face(c[GREEN_BEHIND + b], wall[1], horizon[1], light, speckle, far, cover)
        red = face(c[RED_BEHIND + b], wall[2], horizon[2], light, speckle, far, cover)
        q[COLOUR + b] = blue | (green << np.int32(8)) | (red << np.int32(16))
    for k in range(some):
        b = np.uintp(k)
        a = np.uintp(q[HIT + b])
        pixels[np.uintp(q[PIXEL + a])] = np.uint32(q[COLOUR + b]) | _OPAQUE


@kernel
def find_faces(c, w, q, some, x, y, edge, elevation, place):
    """Where on the grid the walls stand, what the grid holds there, and how high the ground is."""
    flat, x0, y0, per_m, base_z, _, _, _ = place
    rows, columns = edge.shape[0] - 1.01, edge.shape[1] - 1.01
    for k in range(whole(some)):
        b = np.uintp(k)
        px, py = x + c[DEPTH + b] * c[ALONG_X + b], y + c[DEPTH + b] * c[ALONG_Y + b]
        row = np.float32(min(max((py - y0) * per_m, 0.0), rows))
        column = np.float32(min(max((px - x0) * per_m, 0.0), columns))
        j, i = np.int32(row), np.int32(column)
        w[POINT_X + b], w[POINT_Y + b] = px, py
        q[ROW + b], q[COLUMN + b] = j, i
        c[PART_ROW + b], c[PART_COLUMN + b] = row - np.float32(j), column - np.float32(i)
    for k in range(some):
        b = np.uintp(k)
        j, i = np.uint32(q[ROW + b]), np.uint32(q[COLUMN + b])
        below, right = j + np.uint32(1), i + np.uint32(1)
        top, low = edge[j, i], edge[below, i]
        c[TOP + b], c[TOP_STEP + b] = top, edge[j, right] - top
        c[LOW + b], c[LOW_STEP + b] = low, edge[below, right] - low
    for k in range(some):
        b = np.uintp(k)
        w[FLOOR + b] = base_z if flat else bilinear(elevation, x0, y0, per_m, w[POINT_X + b], w[POINT_Y + b])


@kernel
def light_faces(c, w, q, some, z, focal, place, haze):
    """How much of the pixel a wall covers, its light, its haze, and which grain it has."""
    _, _, _, per_m, _, _, wall, _ = place
    haze_m, haze_from_m, _ = haze
    for k in range(whole(some)):
        b = np.uintp(k)
        t, dx, dy = c[DEPTH + b], c[ALONG_X + b], c[ALONG_Y + b]
        top = c[TOP + b] + c[PART_COLUMN + b] * c[TOP_STEP + b]
        bottom = c[LOW + b] + c[PART_COLUMN + b] * c[LOW_STEP + b]
        normal_x = (c[TOP_STEP + b] + c[PART_ROW + b] * (c[LOW_STEP + b] - c[TOP_STEP + b])) * per_m
        normal_y = (bottom - top) * per_m
        turn = -1.0 if normal_x * dx + normal_y * dy > 0.0 else 1.0  # towards the camera
        normal_x, normal_y = normal_x * turn, normal_y * turn
        up, pixel = z + t * c[ALONG_Z + b] - w[FLOOR + b], t / focal
        w[COVER + b] = min(max((wall - up) / pixel + 0.5, 0.0), 1.0)
        light = 0.86 + 0.16 * (0.8 * normal_x + 0.6 * normal_y)  # the sun stands in the south-west
        light *= 0.82 + 0.18 * min(max(2.5 * up, 0.0), 1.0)
        w[LIGHT + b] = light * 1.1 if up > wall - 0.12 else light
        w[CLOSE + b] = max(1.0 - 2.0 * pixel, 0.0)
        along = w[POINT_X + b] * normal_y - w[POINT_Y + b] * normal_x
        high, along = np.int32(up * 5.0 + 64.0), np.int32(along * 2.5 + 65536.0)
        q[GRAIN + b] = (high & np.int32(255)) << np.int32(8) | (along & np.int32(255))
        seen_m = max(t - haze_from_m, _0)
        c[FAR + b] = seen_m * seen_m / (seen_m * seen_m + haze_m * haze_m)


@kernel
def face(behind, wall, horizon, light, speckle, far, cover):
    """A channel of a wall's pixel, 0..255."""
    colour = wall * light + speckle
    colour += far * (horizon - colour)
    shown = np.float32(behind + cover * (colour - behind))
    return np.int32(min(max(shown + _HALF, _0), _255))
