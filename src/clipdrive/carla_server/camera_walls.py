"""Kernels of the camera: walls over flat ground, traced for many rays at once, a step of every ray in each round.

The rays that are in front of a wall anywhere are copied out of their runs, with what lies behind the wall, until there
are enough of them: ray a has its quantities in `c[QUANTITY + a]` (float32) and its pixel in `q[PIXEL + a]` (int32).
While they are traced, what changes lies in `w[QUANTITY + k]` (float64) for the k-th that is still under way. As in
`camera_kernels`, what is computed goes from one stretch into another, so that the compiler does several rays at once,
and what is looked up, which it cannot, has loops of its own; loops that sort have no branches to be guessed wrong.
"""

from __future__ import annotations

import math

import numpy as np

from clipdrive.carla_server import camera_kernels as rays
from clipdrive.carla_server.camera_kernels import RUN
from clipdrive.carla_server.ground import BEYOND_WALL_M, FAR_CELL_M
from clipdrive.carla_server.raster import kernel

TRACE_STEPS = 64
STRIDE = 3.0  # longest step towards a wall, in units of its distance; a step through it shows by the sign
AT_A_TIME = 32  # rays, by the compiler
FINE_UNTIL_M = 0.01 - BEYOND_WALL_M  # behind the wall by more than this, only the coarse grid knows the distance

ROOM = 2048  # rays at a time, those of an image of 84 x 84 pixels nearly always
FULL = ROOM - RUN  # with more than this there may be no room for another run
APART = ROOM + 16  # stretches begin a cache line further each, or all would fall into the same few places of the cache
# In c: of all rays, then of those under way. WALL is the depth of the wall, BLUE and so on the colour behind it.
(DX, DY, DZ, DEPTH, EDGE, FROM, UNTIL, BLUE, GREEN, RED, WALL,
 END, ALONG_X, ALONG_Y, TOP, TOP_STEP, LOW, LOW_STEP) = (np.uintp(APART * k) for k in range(18))  # fmt: skip
SINGLE_SIZE = 18 * APART
(AT, FREE, FREE_END, STEP, LEVEL, NEXT, AFTER, MET, POINT_X, POINT_Y, PART_X, PART_Y) = (
    np.uintp(APART * k) for k in range(12)
)  # in w
DOUBLE_SIZE = 12 * APART
(PIXEL, RAY, COLUMN, ROW, HIT, GOES_ON, IS_MET, KEPT) = (
    np.uintp(rays.WHOLE_SIZE + APART * k) for k in range(8)
)  # in q
WHOLE_SIZE = rays.WHOLE_SIZE + 8 * APART  # after what the runs keep there

_0 = np.float32(0.0)


@kernel
def take_rays(s, n, start, c, q, taken):
    """Add the run's rays that are in front of a wall anywhere to the `taken` ones; how many these are then."""
    some = np.int32(0)
    for k in range(n):  # counted first: most runs have none, and counting is quick
        i = np.uintp(k)
        some += np.int32(s[rays.FROM + i] < s[rays.UNTIL + i])
    if some == 0:
        return taken
    some = 0
    for k in range(n):
        i = np.uintp(k)
        q[RAY + np.uintp(some)] = k
        some += s[rays.FROM + i] < s[rays.UNTIL + i]
    for k in range(some):
        i, a = np.uintp(q[RAY + np.uintp(k)]), np.uintp(taken + k)
        copy_ray(s, i, start, c, q, a)
        c[FROM + a], c[UNTIL + a] = s[rays.FROM + i], s[rays.UNTIL + i]
        c[DEPTH + a], c[EDGE + a] = s[rays.DEPTH + i], s[rays.EDGE + i]
    return taken + some


@kernel
def take_met(s, walled, start, c, q, taken):
    """Add the `walled` rays of a run whose walls are known already, those in WALLED, to the `taken` ones."""
    for k in range(walled):
        i, a = np.uintp(s[rays.WALLED + np.uintp(k)]), np.uintp(taken + k)
        copy_ray(s, i, start, c, q, a)
        c[WALL + a] = s[rays.WALL + i]
        q[HIT + a] = taken + k
    return taken + walled


@kernel
def copy_ray(s, i, start, c, q, a):
    """Copy what colouring a wall needs of pixel i of the run."""
    q[PIXEL + a] = start + i
    c[DX + a], c[DY + a], c[DZ + a] = s[rays.DX + i], s[rays.DY + i], s[rays.DZ + i]
    c[BLUE + a], c[GREEN + a], c[RED + a] = s[rays.BLUE + i], s[rays.GREEN + i], s[rays.RED + i]


@kernel
def meet_walls(c, w, q, taken, x, y, focal, edge, far, place):
    """Depths at which the rays meet a wall before the ground, in WALL; how many do, their numbers in HIT."""
    free_at_end(c, w, q, taken, x, y, edge, far, place)
    m = begin(c, w, q, taken, x, y, edge, far, place)
    some, going = 0, m
    for _ in range(TRACE_STEPS):
        if going == 0:
            break
        if going < m >> 1 and m > AT_A_TIME:  # to sort is dear, to step on with rays that have ended is not
            m, some = sort_rays(c, w, q, m, some)
        step_on(c, w, m, x, y, focal)
        clearances(c, w, q, m, edge, far, place)
        going = judge(c, w, q, m)
    _, some = sort_rays(c, w, q, m, some)
    return some


@kernel
def free_at_end(c, w, q, taken, x, y, edge, far, place):
    """The clearance at the rays' ends; on the ground it is known already."""
    verge, m = place[5], 0
    for k in range(whole(taken)):
        a = np.uintp(k)
        w[FREE_END + a] = c[EDGE + a] + verge
    for k in range(taken):
        a = np.uintp(k)
        q[RAY + np.uintp(m)] = k
        m += c[UNTIL + a] < c[DEPTH + a]
    if m == 0:
        return
    for k in range(m):
        b = np.uintp(k)
        a = np.uintp(q[RAY + b])
        w[POINT_X + b] = x + c[UNTIL + a] * c[DX + a]  # products of float32
        w[POINT_Y + b] = y + c[UNTIL + a] * c[DY + a]
    clearances(c, w, q, m, edge, far, place)
    for k in range(m):
        b = np.uintp(k)
        w[FREE_END + np.uintp(q[RAY + b])] = w[AFTER + b]


@kernel
def begin(c, w, q, taken, x, y, edge, far, place):
    """Put the rays where they may meet a wall first; how many are not free all the way from there."""
    for k in range(whole(taken)):
        a = np.uintp(k)
        w[POINT_X + a] = x + c[FROM + a] * c[DX + a]  # products of float32
        w[POINT_Y + a] = y + c[FROM + a] * c[DY + a]
    clearances(c, w, q, taken, edge, far, place)
    for k in range(whole(taken)):
        a = np.uintp(k)
        after, free_end = w[AFTER + a], w[FREE_END + a]
        level = math.sqrt(c[DX + a] * c[DX + a] + c[DY + a] * c[DY + a]) + 1e-9
        q[GOES_ON + a] = not_free(after, free_end, (np.float64(c[UNTIL + a]) - c[FROM + a]) * level)
        w[STEP + a], w[LEVEL + a] = abs(after) / level, level
    m = 0
    for k in range(taken):
        q[RAY + np.uintp(m)] = k
        m += q[GOES_ON + np.uintp(k)]
    for k in range(m):
        b = np.uintp(k)
        a = np.uintp(q[RAY + b])
        w[AT + b], c[END + b] = c[FROM + a], c[UNTIL + a]
        w[FREE + b], w[FREE_END + b], w[STEP + b] = w[AFTER + a], w[FREE_END + a], w[STEP + a]
        w[LEVEL + b] = w[LEVEL + a]
        c[ALONG_X + b], c[ALONG_Y + b] = c[DX + a], c[DY + a]
    go_on(q, m)
    return m


@kernel
def go_on(q, m):
    """Set that the `m` rays go on and have met nothing, and that there are no others."""
    for k in range(whole(m)):
        a = np.uintp(k)
        q[GOES_ON + a], q[IS_MET + a] = np.int32(k < m), np.int32(0)


@kernel
def whole(m):
    """`m` rounded up to what the compiler does at a time; what is computed of the rays beyond is not used."""
    return (m + (AT_A_TIME - 1)) & -AT_A_TIME


@kernel
def not_free(free, free_end, way):
    """Whether there may be a wall between two points, `way` from each other, of those clearances."""
    return np.int32(not (free * free_end > 0.0 and way <= abs(free) + abs(free_end)))


@kernel
def clearances(c, w, q, m, edge, far, place):
    """AFTER = distance of the points to the nearest wall, or less than it, negative behind the wall."""
    _, x0, y0, per_m, _, verge, _, _ = place
    columns, rows = edge.shape[1] - 1.001, edge.shape[0] - 1.001
    for k in range(whole(m)):
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
        c[TOP + a], c[TOP_STEP + a] = top, edge[j, right] - top
        c[LOW + a], c[LOW_STEP + a] = low, edge[below, right] - low
    behind = np.int32(0)
    for k in range(whole(m)):
        a = np.uintp(k)
        top = c[TOP + a] + w[PART_X + a] * c[TOP_STEP + a]
        bottom = c[LOW + a] + w[PART_X + a] * c[LOW_STEP + a]
        free = top + w[PART_Y + a] * (bottom - top) + verge
        w[AFTER + a] = free
        behind += np.int32(free < FINE_UNTIL_M)
    if behind == 0:
        return
    far_columns, far_rows = far.shape[1] - 1.0, far.shape[0] - 1.0
    for k in range(whole(m)):
        a = np.uintp(k)
        q[COLUMN + a] = np.int32(min(max((w[POINT_X + a] - x0) / FAR_CELL_M + 0.5, 0.0), far_columns))
        q[ROW + a] = np.int32(min(max((w[POINT_Y + a] - y0) / FAR_CELL_M + 0.5, 0.0), far_rows))
    some = 0
    for k in range(m):
        q[KEPT + np.uintp(some)] = k
        some += w[AFTER + np.uintp(k)] < FINE_UNTIL_M
    for k in range(some):
        a = np.uintp(q[KEPT + np.uintp(k)])
        w[AFTER + a] = min(w[AFTER + a], verge + FAR_CELL_M - far[np.uint32(q[ROW + a]), np.uint32(q[COLUMN + a])])


@kernel
def step_on(c, w, m, x, y, focal):
    """The rays' next points."""
    for k in range(whole(m)):
        a = np.uintp(k)
        t = w[AT + a]
        t_next = t + max(w[STEP + a], 0.02 + 0.1 * t / focal)
        w[NEXT + a] = t_next
        w[POINT_X + a] = x + t_next * c[ALONG_X + a]
        w[POINT_Y + a] = y + t_next * c[ALONG_Y + a]


@kernel
def judge(c, w, q, m):
    """What the rays have found at their next points, at most at their ends: whether there is a wall in between, at
    which depth, whether there may be one beyond, and how far to go from there; how many go on.

    Walls are nearly straight, so the distance falls evenly: go to where it would be 0, within reason.
    """
    going = np.int32(0)
    for k in range(whole(m)):
        a = np.uintp(k)
        t, t_end, t_next, free = w[AT + a], np.float64(c[END + a]), w[NEXT + a], w[FREE + a]
        inside = t_next < t_end
        after, free_end = w[AFTER + a], w[FREE_END + a]
        after = after if inside else free_end
        t_next = t_next if inside else t_end
        under_way = q[GOES_ON + a]
        met = under_way & np.int32(after * free <= 0.0)
        depth = t + (t_next - t) * free / (free - after)
        w[MET + a] = depth if met else w[MET + a]
        level = w[LEVEL + a]
        step, closer = abs(after) / level, abs(free) - abs(after)
        longer = min(max(1.02 * abs(after) * (t_next - t) / closer, step), STRIDE * step)
        w[STEP + a] = longer if closer > 0.0 else step
        w[AT + a], w[FREE + a] = t_next, after
        goes_on = under_way & (np.int32(1) - met) & np.int32(inside)
        goes_on &= not_free(after, free_end, (t_end - t_next) * level)
        q[IS_MET + a] |= met
        c[END + a] = t_end if goes_on else t_next  # what has ended stays where it is
        q[GOES_ON + a] = goes_on
        going += goes_on
    return going


@kernel
def sort_rays(c, w, q, m, some):
    """Set down the rays that have met a wall, close the ranks of those that go on; how many of both."""
    kept = 0
    for k in range(m):
        a = np.uintp(k)
        ray = q[RAY + a]
        c[WALL + np.uintp(ray)] = w[MET + a]
        q[HIT + np.uintp(some)] = ray
        some += q[IS_MET + a]
        q[KEPT + np.uintp(kept)] = k
        kept += q[GOES_ON + a]
    for k in range(kept):
        b = np.uintp(k)
        a = np.uintp(q[KEPT + b])
        q[RAY + b] = q[RAY + a]
        w[AT + b], w[FREE + b], w[FREE_END + b] = w[AT + a], w[FREE + a], w[FREE_END + a]
        w[STEP + b], w[LEVEL + b], c[END + b] = w[STEP + a], w[LEVEL + a], c[END + a]
        c[ALONG_X + b], c[ALONG_Y + b] = c[ALONG_X + a], c[ALONG_Y + a]
    go_on(q, kept)
    return kept, some
