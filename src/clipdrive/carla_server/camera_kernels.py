"""Kernels of the camera: where the rays of the pixels end.

Pixels are drawn in runs of at most `RUN`, in stages: rays, ground, paint, colours, walls. Between stages each quantity
of a run lies in its own stretch of one float32 array, `s[QUANTITY + i]` for pixel i; the stretches begin at constants,
so that the compiler sees that they do not overlap and computes several pixels at once.

A ray is camera + t * d with d = forward + u * right + v * up not normalised, so that t is the depth in metres and a
pixel there is t / focal wide. `place` is GroundMap.place.
"""

from __future__ import annotations

import math

import numpy as np

from clipdrive.carla_server.raster import bilinear, kernel

RUN = 256
APART = RUN + 16  # stretches begin a cache line further each, or many would fall into the same few places of the cache
(DX, DY, DZ, DEPTH, COLUMN, ROW, EDGE, EDGE_X, EDGE_Y, SLOPE_X, SLOPE_Y, BLUR, WIDE, FINE, COARSE, LINE, YELLOW,
 LINED, WALLED, WALL, FROM, UNTIL, ROAD, HAZE, BLUE, GREEN, RED) = (np.uintp(APART * k) for k in range(27))  # fmt: skip
BLUE_AT = 24
# Of the k-th pixel that may show an inner line: what drawing the line needs, and the line's distance in four cells.
(LINED_DX, LINED_DY, LINED_DZ, LINED_DEPTH, LINED_COLUMN, LINED_ROW, LINED_SLOPE_X, LINED_SLOPE_Y, LINED_WIDE,
 LINED_TOP, LINED_TOP_RIGHT, LINED_LOW, LINED_LOW_RIGHT) = (np.uintp(APART * k) for k in range(27, 40))  # fmt: skip
SCRATCH_SIZE = 40 * APART
# Before the stage that fills them these stretches hold the grid's four cells around a point, see `corners`, and how far
# a pixel may be from an inner line that it shows.
TOP, TOP_STEP, LOW, LOW_STEP, PART_COLUMN, PART_ROW = FINE, COARSE, LINE, YELLOW, ROAD, HAZE
REACH = ROAD
# In q, int32: the cell that something is looked up in; the grain and before it the number of its cell; the codes of
# four cells.
(CELL_ROW, CELL_COLUMN, FINE_GRAIN, COARSE_GRAIN, CODES) = (np.uintp(APART * k) for k in range(5))
WHOLE_SIZE = 5 * APART

FAR_M = 400.0  # nothing but haze beyond
NEVER = np.float32(1e9)  # depth of what is not met
MARCH_STEPS = 160
WALL_PIXELS = 2.5  # walls are drawn up to where so many of them, one on the other, would be a pixel high

_0, _04, _TINY = np.float32(0.0), np.float32(0.4), np.float32(1e-3)


@kernel
def cast_rays(s, n, us, vs, axes):
    """Directions of the rays."""
    ax, ay, az = np.float32(axes[0, 0]), np.float32(axes[1, 0]), np.float32(axes[2, 0])
    bx, by, bz = np.float32(axes[0, 1]), np.float32(axes[1, 1]), np.float32(axes[2, 1])
    cx, cy, cz = np.float32(axes[0, 2]), np.float32(axes[1, 2]), np.float32(axes[2, 2])
    for k in range(n):
        i = np.uintp(k)
        u, v = us[k], vs[k]
        s[DX + i] = ax + bx * u + cx * v
        s[DY + i] = ay + by * u + cy * v
        s[DZ + i] = az + bz * u + cz * v


@kernel
def meet_plane(s, n, fall):
    """Depths at which the rays meet flat ground, `fall` (negative) above the camera; how many do."""
    fall, far = np.float32(fall), np.float32(fall / FAR_M)
    some = 0
    for k in range(n):
        i = np.uintp(k)
        dz = s[DZ + i]
        met = dz < far
        s[DEPTH + i] = fall / dz if met else NEVER
        some += met
    return some


@kernel
def meet_heights(s, n, x, y, z, focal, edge, elevation, place):
    """Depths at which the rays meet uneven ground and, before it, walls; how many do, those with walls in WALLED."""
    _, x0, y0, per_m, _, verge, wall, steepest = place
    some = some_walls = 0
    for k in range(n):
        i = np.uintp(k)
        dx, dy, dz = float(s[DX + i]), float(s[DY + i]), float(s[DZ + i])
        level = math.sqrt(dx * dx + dy * dy) + 1e-9
        closing = max(steepest * level - dz, 1e-9)  # largest rate at which ray and ground approach
        s[DEPTH + i] = NEVER
        t = t_before = above_before = free_before = 0.0
        low_before = walled = False
        for step in range(MARCH_STEPS):
            px, py = x + t * dx, y + t * dy
            above = z + t * dz - bilinear(elevation, x0, y0, per_m, px, py)
            if above <= 0.0:
                if step > 0:
                    t = t_before + (t - t_before) * above_before / (above_before - above)
                s[DEPTH + i] = t
                some += 1
                break
            low = wall > 0.0 and not walled and above < wall + 0.5 * t / focal
            stride, free = above / closing, 0.0
            if low:
                free = bilinear(edge, x0, y0, per_m, px, py) + verge
                if low_before and free * free_before <= 0.0:
                    s[WALL + i] = t_before + (t - t_before) * free_before / (free_before - free)
                    s[WALLED + np.uintp(some_walls)] = k
                    some_walls += 1
                    walled = True
                stride = min(stride, abs(free) / level)
            elif wall > 0.0 and not walled:
                stride = min(stride, max((above - wall - 0.5 * t / focal) / (closing + 0.5 / focal), 0.0))
            t_before, above_before, free_before, low_before = t, above, free, low
            t += max(stride, 0.02 + 0.1 * t / focal + 0.002 * t)
            if t > FAR_M:
                break
    return some, some_walls


@kernel
def to_cells(s, n, x, y, place, rows, columns):
    """Where on the grid the rays meet the ground, in cells; outside it the nearest of its border."""
    _, x0, y0, per_m, _, _, _, _ = place
    column, row, scale = np.float32((x - x0) * per_m), np.float32((y - y0) * per_m), np.float32(per_m)
    column_end, row_end = np.float32(columns - 1.01), np.float32(rows - 1.01)
    for k in range(n):
        i = np.uintp(k)
        t = s[DEPTH + i] * scale
        s[COLUMN + i] = min(max(column + t * s[DX + i], _0), column_end)
        s[ROW + i] = min(max(row + t * s[DY + i], _0), row_end)


@kernel
def read_edge(s, q, n, edge):
    """Distance to the road's edge and its derivatives per cell."""
    corners(s, q, n, edge)
    for k in range(n):
        i = np.uintp(k)
        top = s[TOP + i] + s[PART_COLUMN + i] * s[TOP_STEP + i]
        bottom = s[LOW + i] + s[PART_COLUMN + i] * s[LOW_STEP + i]
        s[EDGE + i] = top + s[PART_ROW + i] * (bottom - top)
        s[EDGE_X + i] = s[TOP_STEP + i] + s[PART_ROW + i] * (s[LOW_STEP + i] - s[TOP_STEP + i])
        s[EDGE_Y + i] = bottom - top


@kernel
def read_slope(s, q, n, elevation, per_m):
    """Slopes of uneven ground."""
    scale = np.float32(per_m)
    corners(s, q, n, elevation)
    for k in range(n):
        i = np.uintp(k)
        top = s[TOP + i] + s[PART_COLUMN + i] * s[TOP_STEP + i]
        bottom = s[LOW + i] + s[PART_COLUMN + i] * s[LOW_STEP + i]
        s[SLOPE_X + i] = (s[TOP_STEP + i] + s[PART_ROW + i] * (s[LOW_STEP + i] - s[TOP_STEP + i])) * scale
        s[SLOPE_Y + i] = (bottom - top) * scale


@kernel
def corners(s, q, n, grid):
    """The grid's values around the points, apart from what is computed with them: looking up is done one by one."""
    for k in range(n):
        i = np.uintp(k)
        row, column = np.int32(s[ROW + i]), np.int32(s[COLUMN + i])
        q[CELL_ROW + i], q[CELL_COLUMN + i] = row, column
        s[PART_ROW + i], s[PART_COLUMN + i] = s[ROW + i] - np.float32(row), s[COLUMN + i] - np.float32(column)
    for k in range(n):
        i = np.uintp(k)
        row, column = np.uint32(q[CELL_ROW + i]), np.uint32(q[CELL_COLUMN + i])
        below, right = row + np.uint32(1), column + np.uint32(1)
        top, low = grid[row, column], grid[below, column]
        s[TOP + i], s[TOP_STEP + i] = top, grid[row, right] - top
        s[LOW + i], s[LOW_STEP + i] = low, grid[below, right] - low


@kernel
def footprint(s, n, axes, focal, per_m):
    """How far a pixel reaches on the ground: its square (WIDE, m2), and across the road's edge (BLUR, m)."""
    bx, by, bz = np.float32(axes[0, 1]), np.float32(axes[1, 1]), np.float32(axes[2, 1])
    cx, cy, cz = np.float32(axes[0, 2]), np.float32(axes[1, 2]), np.float32(axes[2, 2])
    pixel, scale = np.float32(1.0 / focal), np.float32(per_m)
    for k in range(n):
        i = np.uintp(k)
        dx, dy, size = s[DX + i], s[DY + i], s[DEPTH + i] * pixel
        down = size / (s[DZ + i] - s[SLOPE_X + i] * dx - s[SLOPE_Y + i] * dy)
        turn = down * (bz - s[SLOPE_X + i] * bx - s[SLOPE_Y + i] * by)
        tilt = down * (cz - s[SLOPE_X + i] * cx - s[SLOPE_Y + i] * cy)
        column_x, column_y = size * bx - dx * turn, size * by - dy * turn
        row_x, row_y = size * cx - dx * tilt, size * cy - dy * tilt
        s[WIDE + i] = max(column_x * column_x + column_y * column_y, row_x * row_x + row_y * row_y)
        across = abs(s[EDGE_X + i] * column_x + s[EDGE_Y + i] * column_y)
        along = abs(s[EDGE_X + i] * row_x + s[EDGE_Y + i] * row_y)
        s[BLUR + i] = (max(across, along) + _04 * min(across, along)) * scale + _TINY  # about sqrt(a^2 + b^2)


@kernel
def stretches(s, n, height, focal, place):
    """Where the rays are in front of a wall, or of the half pixel above its top: depths FROM .. UNTIL, empty where
    the ground at its end is too far from any wall."""
    _, _, _, _, _, verge, wall, _ = place
    half, verge = np.float32(0.5 / focal), np.float32(verge)
    above, range_m = np.float32(height - wall), np.float32(min(FAR_M, WALL_PIXELS * wall * focal))
    for k in range(n):
        i = np.uintp(k)
        dx, dy, sinks, ground = s[DX + i], s[DY + i], half - s[DZ + i], s[DEPTH + i]
        crossed = above / sinks  # where the ray passes the height of the top: from above if it sinks
        begin = (crossed if sinks > _0 else NEVER) if above >= _0 else _0
        end = min(ground, range_m)
        end = min(end, crossed) if above < _0 and sinks < _0 else end
        free = s[EDGE + i] + verge
        way = max(end - begin, _0)
        near = ground > end or way * way * (dx * dx + dy * dy) > free * free
        s[FROM + i] = begin
        s[UNTIL + i] = end if near else begin
