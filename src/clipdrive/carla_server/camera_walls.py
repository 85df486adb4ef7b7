"""Kernels of the camera: walls, traced for many rays at once, a step of every ray in each round.

Quantities of the rays that may meet a wall lie one after the other, ray a of them in `w[QUANTITY + a]` (float64) and
`q[QUANTITY + a]` (int32), in the manner of `camera_kernels`: what is computed goes from one stretch into another, so
that the compiler does several rays at once, and what is looked up, which it cannot, has loops of its own.
"""

from __future__ import annotations

import math

import numpy as np

from clipdrive.carla_server.camera_kernels import (
    DEPTH,
    DX,
    DY,
    EDGE,
    FROM,
    RUN,
    UNTIL,
    WALL,
    WALLED,
)
from clipdrive.carla_server.ground import BEYOND_WALL_M, FAR_CELL_M
from clipdrive.carla_server.raster import kernel

TRACE_STEPS = 64
STRIDE = 3.0  # longest step towards a wall, in units of its distance; a step through it shows by the sign
FINE_UNTIL_M = 0.01 - BEYOND_WALL_M  # behind the wall by more than this, only the coarse grid knows the distance

(AT, END, ALONG_X, ALONG_Y, LEVEL, FREE, FREE_END, STEP, NEXT, AFTER, MET, POINT_X, POINT_Y, PART_X, PART_Y,
 TOP_LEFT, TOP_RIGHT, LOW_LEFT, LOW_RIGHT) = (np.uintp(RUN * k) for k in range(19))  # in w  # fmt: skip
WIDE_SIZE = 19 * RUN
(RAY, COLUMN, ROW) = (np.uintp(RUN * k) for k in range(3))  # in q
WHOLE_SIZE = 3 * RUN


@kernel
def meet_walls(s, w, q, n, x, y, focal, edge, far, place):
    """Depths at which rays over flat ground meet a wall before the ground; how many do, their numbers in WALLED."""
    m = take_rays(s, w, q, n)
    if m == 0:
        return 0
    free_at_end(s, w, q, m, x, y, edge, far, place)
    for k in range(m):
        a = np.uintp(k)
        i = np.uintp(q[RAY + a])
        w[POINT_X + a] = x + s[FROM + i] * s[DX + i]  # products of float32
        w[POINT_Y + a] = y + s[FROM + i] * s[DY + i]
    clearances(w, q, m, edge, far, place)
    for k in range(m):
        a = np.uintp(k)
        w[FREE + a] = w[AFTER + a]
        w[STEP + a] = abs(w[AFTER + a]) / w[LEVEL + a]
        w[NEXT + a] = w[AT + a]
    some = 0
    for turn in range(TRACE_STEPS + 1):
        m, some = sort_rays(s, w, q, m, some, turn == 0)
        if m == 0 or turn == TRACE_STEPS:
            break
        step_on(w, m, x, y, focal)
        clearances(w, q, m, edge, far, place)
        judge(w, m)
    return some


@kernel
def take_rays(s, w, q, n):
    """The rays that are in front of a wall anywhere; how many."""
    m = np.int32(0)
    for k in range(n):  # counted first: most runs have none, and counting is quick
        i = np.uintp(k)
        m += np.int32(s[FROM + i] < s[UNTIL + i])
    if m == 0:
        return 0
    m = 0
    for k in range(n):
        i = np.uintp(k)
        q[RAY + np.uintp(m)] = k
        m += s[FROM + i] < s[UNTIL + i]
    for k in range(m):
        a = np.uintp(k)
        i = np.uintp(q[RAY + a])
        w[AT + a], w[END + a] = s[FROM + i], s[UNTIL + i]
        w[ALONG_X + a], w[ALONG_Y + a] = s[DX + i], s[DY + i]
        w[LEVEL + a] = math.sqrt(s[DX + i] * s[DX + i] + s[DY + i] * s[DY + i]) + 1e-9
    return m


@kernel
def free_at_end(s, w, q, m, x, y, edge, far, place):
    """The clearance at the rays' ends; on the ground it is known already."""
    for k in range(m):
        a = np.uintp(k)
        i = np.uintp(q[RAY + a])
        w[POINT_X + a] = x + s[UNTIL + i] * s[DX + i]
        w[POINT_Y + a] = y + s[UNTIL + i] * s[DY + i]
    clearances(w, q, m, edge, far, place)
    verge = place[5]
    for k in range(m):
        a = np.uintp(k)
        i = np.uintp(q[RAY + a])
        w[FREE_END + a] = w[AFTER + a] if w[END + a] < s[DEPTH + i] else s[EDGE + i] + verge


@kernel
def clearances(w, q, m, edge, far, place):
    """AFTER = distance of the points to the nearest wall, or less than it, negative behind the wall."""
    _, x0, y0, per_m, _, verge, _, _ = place
    columns, rows = edge.shape[1] - 1.001, edge.shape[0] - 1.001
    for k in range(m):
        a = np.uintp(k)
        u = min(max((w[POINT_X + a] - x0) * per_m, 0.0), columns)
        v = min(max((w[POINT_Y + a] - y0) * per_m, 0.0), rows)
        i, j = np.int32(u), np.int32(v)
        q[COLUMN + a], q[ROW + a] = i, j
        w[PART_X + a], w[PART_Y + a] = u - i, v - j
    for k in range(m):
        a = np.uintp(k)
        i, j = np.uint32(q[COLUMN + a]), np.uint32(q[ROW + a])
        right, below = i + np.uint32(1), j + np.uint32(1)
        top, low = edge[j, i], edge[below, i]
        w[TOP_LEFT + a], w[TOP_RIGHT + a] = top, edge[j, right] - top
        w[LOW_LEFT + a], w[LOW_RIGHT + a] = low, edge[below, right] - low
    lowest = 0.0
    for k in range(m):
        a = np.uintp(k)
        top = w[TOP_LEFT + a] + w[PART_X + a] * w[TOP_RIGHT + a]
        bottom = w[LOW_LEFT + a] + w[PART_X + a] * w[LOW_RIGHT + a]
        free = top + w[PART_Y + a] * (bottom - top) + verge
        w[AFTER + a] = free
        lowest = min(lowest, free)
    if lowest >= FINE_UNTIL_M:
        return
    for k in range(m):
        a = np.uintp(k)
        if w[AFTER + a] < FINE_UNTIL_M:
            u = min(max((w[POINT_X + a] - x0) / FAR_CELL_M + 0.5, 0.0), far.shape[1] - 1.0)
            v = min(max((w[POINT_Y + a] - y0) / FAR_CELL_M + 0.5, 0.0), far.shape[0] - 1.0)
            w[AFTER + a] = min(w[AFTER + a], verge + FAR_CELL_M - far[int(v), int(u)])


@kernel
def step_on(w, m, x, y, focal):
    """The rays' next points, at most at their ends."""
    for k in range(m):
        a = np.uintp(k)
        t = w[AT + a]
        t_next = t + max(w[STEP + a], 0.02 + 0.1 * t / focal)
        w[NEXT + a] = t_next
        w[POINT_X + a] = x + t_next * w[ALONG_X + a]
        w[POINT_Y + a] = y + t_next * w[ALONG_Y + a]


@kernel
def judge(w, m):
    """What the rays have found at their next points: the depth of a wall in between, and how far to go from there.

    Walls are nearly straight, so the distance falls evenly: go to where it would be 0, within reason.
    """
    for k in range(m):
        a = np.uintp(k)
        t, t_end, t_next, free = w[AT + a], w[END + a], w[NEXT + a], w[FREE + a]
        inside = t_next < t_end
        after, free_end = w[AFTER + a], w[FREE_END + a]
        after = after if inside else free_end
        t_next = t_next if inside else t_end
        w[MET + a] = t + (t_next - t) * free / (free - after)
        step, closer = abs(after) / w[LEVEL + a], abs(free) - abs(after)
        longer = min(max(1.02 * abs(after) * (t_next - t) / closer, step), STRIDE * step)
        w[STEP + a] = longer if closer > 0.0 else step
        w[NEXT + a], w[AFTER + a] = t_next, after


@kernel
def sort_rays(s, w, q, m, some, first):
    """Set down the rays that have met a wall, forget those that cannot any more, close ranks; how many go on."""
    kept = 0
    for k in range(m):
        a, b = np.uintp(k), np.uintp(kept)
        t_next, t_end, after, free_end = w[NEXT + a], w[END + a], w[AFTER + a], w[FREE_END + a]
        if not first:
            if after * w[FREE + a] <= 0.0:
                ray = q[RAY + a]
                s[WALL + np.uintp(ray)] = w[MET + a]
                s[WALLED + np.uintp(some)] = ray
                some += 1
                continue
            if t_next >= t_end:
                continue
        # Free all around this point and the end: nothing left in between.
        if after * free_end > 0.0 and (t_end - t_next) * w[LEVEL + a] <= abs(after) + abs(free_end):
            continue
        q[RAY + b] = q[RAY + a]
        w[AT + b], w[END + b], w[FREE + b], w[FREE_END + b] = t_next, t_end, after, free_end
        w[ALONG_X + b], w[ALONG_Y + b] = w[ALONG_X + a], w[ALONG_Y + a]
        w[LEVEL + b], w[STEP + b] = w[LEVEL + a], w[STEP + a]
        kept += 1
    return kept, some
