"""Kernels that draw road borders, painted lines and heights onto a grid, and read them back between cells.

Grids are indexed [row, column] = [y, x]; the value of a cell belongs to the point (x0 + column * cell,
y0 + row * cell). Everything in metres, CARLA's frame (x forward, y right).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numba import njit

_SOURCES = (
    "raster", "ground", "materials", "camera", "camera_kernels", "camera_colours", "camera_walls", "camera_faces",
    "camera_boxes", "vehicle", "dynamics",
)  # fmt: skip


def _forget_stale_kernels() -> None:
    """Delete compiled kernels that are older than any of the sources that they may have taken something in from.

    numba looks at the file of a kernel alone, and would go on using what it took in from another one.
    """
    folder = Path(__file__).parent
    newest = max((folder / f"{name}.py").stat().st_mtime for name in _SOURCES)
    for index in (folder / "__pycache__").glob("*.nbi"):
        try:
            if index.stat().st_mtime < newest:
                index.unlink(missing_ok=True)
        except OSError:  # another process is at it, or the folder is read-only
            continue


_forget_stale_kernels()

# Compiled without reference counts, which cost more than the drawing where arrays are passed on: a kernel must not
# allocate arrays.
kernel = njit(cache=True, error_model="numpy", _nrt=False, nogil=True)
inlined = njit(cache=True, error_model="numpy", _nrt=False, inline="always")

NOT_COVERED = -1e9
LINE_ON, LINE_YELLOW, LINE_DOUBLE, LINE_BROKEN, LINE_IDS = 128, 64, 32, 16, 15  # bits of a code; 0 = no line


@kernel
def bilinear(grid, x0, y0, per_m, x, y):
    """The value of `grid` at (x, y), linear between cells, that of the nearest border cell outside."""
    u = min(max((x - x0) * per_m, 0.0), grid.shape[1] - 1.001)
    v = min(max((y - y0) * per_m, 0.0), grid.shape[0] - 1.001)
    i, j = np.uint32(np.int32(u)), np.uint32(np.int32(v))  # unsigned: never counted from the end
    a, b = u - i, v - j
    right, below = i + np.uint32(1), j + np.uint32(1)
    top = grid[j, i] + a * (grid[j, right] - grid[j, i])
    bottom = grid[below, i] + a * (grid[below, right] - grid[below, i])
    return top + b * (bottom - top)


@njit(cache=True, error_model="numpy")
def bilinear_many(grid, x0, y0, per_m, x, y):
    """`bilinear` at every point of `x`, `y` (n,)."""
    out = np.empty(len(x))
    for k in range(len(x)):
        out[k] = bilinear(grid, x0, y0, per_m, x[k], y[k])
    return out


@kernel
def draw_ribbons(cover, height, x0, y0, cell, left, right, forward, z, joined, side_m, along_m, with_height):
    """Draw ribbons of road: `cover` = largest of all ribbons' distance to their nearer side, inside positive.

    A ribbon is a run of cross-sections k, from `left[k]` to `right[k]` (n, 2), with the road's direction
    `forward[k]` (n, 2) and height `z[k]`; `joined[k]` says that k goes on from k - 1. Cells up to `side_m`
    beside and `along_m` beyond a ribbon's ends are drawn too. With `with_height`, the height of the ribbon that
    covers a cell best goes to `height`.
    """
    rows, columns = cover.shape
    reach = side_m + along_m
    for k in range(1, len(z)):
        if not joined[k]:
            continue
        lx, ly, rx, ry = side_directions(left, right, forward, k)
        x_low = min(left[k - 1, 0], left[k, 0], right[k - 1, 0], right[k, 0]) - reach
        x_high = max(left[k - 1, 0], left[k, 0], right[k - 1, 0], right[k, 0]) + reach
        y_low = min(left[k - 1, 1], left[k, 1], right[k - 1, 1], right[k, 1]) - reach
        y_high = max(left[k - 1, 1], left[k, 1], right[k - 1, 1], right[k, 1]) + reach
        for j in range(max(0, int((y_low - y0) / cell)), min(rows, int((y_high - y0) / cell) + 2)):
            y = y0 + j * cell
            for i in range(max(0, int((x_low - x0) / cell)), min(columns, int((x_high - x0) / cell) + 2)):
                x = x0 + i * cell
                inside, share = within(x, y, left, right, forward, k, lx, ly, rx, ry, along_m)
                if inside < -side_m or inside <= cover[j, i]:
                    continue
                cover[j, i] = inside
                if with_height:
                    height[j, i] = z[k - 1] + share * (z[k] - z[k - 1])


@kernel
def covers_at(out, x, y, left, right, forward, joined, along_m, near_m):
    """What `draw_ribbons` would give at the points `x`, `y` (m,) exactly; ribbons narrower than 2 `near_m`."""
    for k in range(1, len(joined)):
        if not joined[k]:
            continue
        lx, ly, rx, ry = side_directions(left, right, forward, k)
        middle_x, middle_y = 0.5 * (left[k, 0] + right[k, 0]), 0.5 * (left[k, 1] + right[k, 1])
        for m in range(len(x)):
            if abs(x[m] - middle_x) > near_m or abs(y[m] - middle_y) > near_m:
                continue
            inside, _ = within(x[m], y[m], left, right, forward, k, lx, ly, rx, ry, along_m)
            out[m] = max(out[m], inside)


@inlined
def within(x, y, left, right, forward, k, lx, ly, rx, ry, along_m):
    """Distance of a point to the nearer side of the piece of ribbon that ends at k, and its share of the way."""
    xa, ya = 0.5 * (left[k - 1, 0] + right[k - 1, 0]), 0.5 * (left[k - 1, 1] + right[k - 1, 1])
    xb, yb = 0.5 * (left[k, 0] + right[k, 0]), 0.5 * (left[k, 1] + right[k, 1])
    after = (x - xa) * forward[k - 1, 0] + (y - ya) * forward[k - 1, 1]
    before = -(x - xb) * forward[k, 0] - (y - yb) * forward[k, 1]
    from_left = (y - left[k, 1]) * lx - (x - left[k, 0]) * ly
    from_right = (x - right[k, 0]) * ry - (y - right[k, 1]) * rx
    inside = NOT_COVERED if after < -along_m or before < -along_m else min(from_left, from_right)
    return inside, min(max(after / max(after + before, 1e-6), -0.5), 1.5)


@kernel
def side_directions(left, right, forward, k):
    """Directions of a ribbon's left and right side between k - 1 and k; the road's own where a side turns back."""
    fx, fy = forward[k - 1, 0] + forward[k, 0], forward[k - 1, 1] + forward[k, 1]
    norm = max(math.hypot(fx, fy), 1e-9)
    fx, fy = fx / norm, fy / norm
    lx, ly = left[k, 0] - left[k - 1, 0], left[k, 1] - left[k - 1, 1]
    rx, ry = right[k, 0] - right[k - 1, 0], right[k, 1] - right[k - 1, 1]
    length = math.hypot(lx, ly)
    if length < 1e-6 or lx * fx + ly * fy <= 0.0:
        lx, ly, length = fx, fy, 1.0
    lx, ly = lx / length, ly / length
    length = math.hypot(rx, ry)
    if length < 1e-6 or rx * fx + ry * fy <= 0.0:
        rx, ry, length = fx, fy, 1.0
    return lx, ly, rx / length, ry / length


@kernel
def draw_distance(distance, x0, y0, cell, ax, ay, bx, by, reach_m):
    """Lower `distance` (rows, columns) to the distance to the nearest of the line pieces a -> b (n,)."""
    rows, columns = distance.shape
    for k in range(len(ax)):
        dx, dy = bx[k] - ax[k], by[k] - ay[k]
        inverse = 1.0 / max(dx * dx + dy * dy, 1e-12)
        x_low, x_high = min(ax[k], bx[k]) - reach_m, max(ax[k], bx[k]) + reach_m
        y_low, y_high = min(ay[k], by[k]) - reach_m, max(ay[k], by[k]) + reach_m
        for j in range(max(0, int((y_low - y0) / cell)), min(rows, int((y_high - y0) / cell) + 2)):
            py = y0 + j * cell - ay[k]
            for i in range(max(0, int((x_low - x0) / cell)), min(columns, int((x_high - x0) / cell) + 2)):
                px = x0 + i * cell - ax[k]
                along = min(max((px * dx + py * dy) * inverse, 0.0), 1.0)
                ex, ey = px - along * dx, py - along * dy
                square = ex * ex + ey * ey
                if square < distance[j, i] * distance[j, i]:
                    distance[j, i] = math.sqrt(square)


@kernel
def draw_lines(offset, code, x0, y0, cell, ax, ay, bx, by, s, codes, dash_m, gap_m, reach_m):
    """Draw painted lines: `offset` = signed distance beside the nearest line, `code` = which and whether paint.

    Pieces a -> b (n,) begin at arc length `s`; `codes` (n,) hold the bits; broken where `gap_m[k]` > 0.
    """
    rows, columns = offset.shape
    for k in range(len(ax)):
        dx, dy = bx[k] - ax[k], by[k] - ay[k]
        length = math.hypot(dx, dy)
        if length < 1e-6:
            continue
        dx, dy = dx / length, dy / length
        x_low, x_high = min(ax[k], bx[k]) - reach_m, max(ax[k], bx[k]) + reach_m
        y_low, y_high = min(ay[k], by[k]) - reach_m, max(ay[k], by[k]) + reach_m
        for j in range(max(0, int((y_low - y0) / cell)), min(rows, int((y_high - y0) / cell) + 2)):
            py = y0 + j * cell - ay[k]
            for i in range(max(0, int((x_low - x0) / cell)), min(columns, int((x_high - x0) / cell) + 2)):
                px = x0 + i * cell - ax[k]
                along = px * dx + py * dy
                beside = py * dx - px * dy
                if along < -0.02 or along > length + 0.02 or abs(beside) > reach_m:
                    continue
                if code[j, i] != 0 and abs(offset[j, i]) <= abs(beside):
                    continue
                offset[j, i] = beside
                painted = gap_m[k] <= 0.0 or (s[k] + along) % (dash_m[k] + gap_m[k]) < dash_m[k]
                code[j, i] = codes[k] | LINE_ON if painted else codes[k]


@njit(cache=True, error_model="numpy")
def fill_from_nearest(height, known):
    """Give every cell that is not `known` the height of a near known one: two sweeps over the grid."""
    rows, columns = height.shape
    far = 1e9
    away = np.where(known, 0.0, far)
    for turn in range(2):
        step = 1 if turn == 0 else -1
        for row in range(rows):
            j = row if turn == 0 else rows - 1 - row
            for column in range(columns):
                i = column if turn == 0 else columns - 1 - column
                for m in range(4):
                    jj = j - step if m < 3 else j
                    ii = i + (m - 1) if m < 3 else i - step
                    if 0 <= jj < rows and 0 <= ii < columns:
                        way = away[jj, ii] + (1.414 if m == 0 or m == 2 else 1.0)
                        if way < away[j, i]:
                            away[j, i] = way
                            height[j, i] = height[jj, ii]
