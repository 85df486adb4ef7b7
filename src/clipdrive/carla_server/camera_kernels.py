"""Kernels of the camera: where the rays of the pixels end, and the colour of what is there.

Pixels are drawn in runs of at most `RUN`, in stages: rays, ground, paint, walls, colours. Between stages each quantity
of a run lies in its own stretch of one float32 array, `s[QUANTITY + i]` for pixel i; the stretches begin at constants,
so that the compiler sees that they do not overlap and computes several pixels at once.

A ray is camera + t * d with d = forward + u * right + v * up not normalised, so that t is the depth in metres and a
pixel there is t / focal wide. `place` is GroundMap.place.
"""

from __future__ import annotations

import math

import numpy as np

from clipdrive.carla_server import materials as m
from clipdrive.carla_server.ground import BEYOND_WALL_M, FAR_CELL_M
from clipdrive.carla_server.raster import LINE_BROKEN, LINE_DOUBLE, LINE_IDS, LINE_YELLOW, bilinear, inlined, kernel

RUN = 512
(DX, DY, DZ, DEPTH, COLUMN, ROW, EDGE, EDGE_X, EDGE_Y, SLOPE_X, SLOPE_Y, BLUR, WIDE, FINE, COARSE, LINE, YELLOW,
 NEAR_LINE, WALL, ROAD, HAZE, BLUE, GREEN, RED) = (np.uintp(RUN * k) for k in range(24))  # fmt: skip
BLUE_AT, SCRATCH_SIZE = 21, 24 * RUN

EDGE_LINE_FROM_M, EDGE_LINE_TO_M = np.float32(0.12), np.float32(0.26)  # the white line inside the road's edge
LINE_HALF_M = 0.065  # half width of inner lines
DOUBLE_HALF_M = 0.12  # from the middle of a double line to each of the two
BROKEN_SHARE = 1.0 / 3.0  # painted share of a broken line, seen from afar
FAR_M = 400.0  # nothing but haze beyond
HAZE_M = np.float32(130.0)  # at this distance half of the light is haze
CAMERA_HEIGHT_MIN_M = 0.02  # a camera lower than this above the ground is drawn from this height
TRACE_STEPS, MARCH_STEPS = 64, 160
STRIDE = 3.0  # longest step towards a wall, in units of its distance; a step through it shows by the sign
WALL_PIXELS = 2.5  # walls are drawn up to where so many of them, one on the other, would be a pixel high
FINE_UNTIL_M = 0.01 - BEYOND_WALL_M  # behind the wall by more than this, only the coarse grid knows the distance
SKY_GRADIENT = np.float32(1.4)

_NEVER = np.float32(1e9)  # depth of what is not met
_0, _HALF, _1, _255 = (np.float32(number) for number in (0.0, 0.5, 1.0, 255.0))
_04, _07, _16, _36 = (np.float32(number) for number in (0.4, 0.7, 16.0, 36.0))
_TINY = np.float32(1e-3)
_5 = np.float32(5.0)
_MASK = np.uint32(m.GRAIN_CELLS - 1)
GRAIN_SCALE = np.float32(m.GRAIN_UNIT)
LINE_CERTAIN_M = np.float32(0.37)  # a cell further from a line has no paint but for the pixel's own reach



@kernel
def draw(pixels, us, vs, focal, axes, camera, edge, far, elevation, line, code, place, colours, contrasts, grain, s):
    """Fill `pixels` (n,) with BGRA as uint32, for rays at `us`, `vs` (n,); `s` is scratch."""
    flat, x0, y0, per_m, base_z, _, wall, _ = place
    x, y = camera[0], camera[1]
    floor = base_z if flat else bilinear(elevation, x0, y0, per_m, x, y)
    z = max(camera[2], floor + CAMERA_HEIGHT_MIN_M)
    s[SLOPE_X : SLOPE_Y + RUN] = 0.0
    for start in range(0, len(pixels), RUN):
        n = min(RUN, len(pixels) - start)
        cast_rays(s, n, us[start : start + n], vs[start : start + n], axes)
        if flat:
            some = meet_plane(s, n, base_z - z)
        else:
            some = meet_heights(s, n, x, y, z, focal, edge, elevation, place)
        if some > 0:
            to_cells(s, n, x, y, place, edge.shape[0], edge.shape[1])
            read_edge(s, n, edge)
            if not flat:
                read_slope(s, n, elevation, per_m)
            footprint(s, n, axes, focal, per_m)
            read_grain(s, n, grain)
            lined = find_lines(s, n, line, code)
            draw_lines(s, lined, line, code, axes, focal, per_m)
            shares(s, n)
            colour_ground(s, n, place[5], colours, contrasts)
        else:
            colour_sky(s, n, colours)
        if wall > 0.0:
            if flat:
                meet_walls(s, n, x, y, z - base_z, focal, edge, far, place)
            colour_walls(s, n, x, y, z, focal, edge, elevation, place, colours, contrasts, grain)
        store(s, n, pixels[start : start + n])


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
        s[DEPTH + i] = fall / dz if met else _NEVER
        some += met
    return some


@kernel
def meet_heights(s, n, x, y, z, focal, edge, elevation, place):
    """Depths at which the rays meet uneven ground and, before it, walls; how many meet the ground."""
    _, x0, y0, per_m, _, verge, wall, steepest = place
    some = 0
    for k in range(n):
        i = np.uintp(k)
        dx, dy, dz = float(s[DX + i]), float(s[DY + i]), float(s[DZ + i])
        level = math.sqrt(dx * dx + dy * dy) + 1e-9
        closing = max(steepest * level - dz, 1e-9)  # largest rate at which ray and ground approach
        s[DEPTH + i] = s[WALL + i] = _NEVER
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
                    walled = True
                stride = min(stride, abs(free) / level)
            elif wall > 0.0 and not walled:
                stride = min(stride, max((above - wall - 0.5 * t / focal) / (closing + 0.5 / focal), 0.0))
            t_before, above_before, free_before, low_before = t, above, free, low
            t += max(stride, 0.02 + 0.1 * t / focal + 0.002 * t)
            if t > FAR_M:
                break
    return some


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
def read_edge(s, n, edge):
    """Distance to the road's edge and its derivatives per cell."""
    for k in range(n):
        i = np.uintp(k)
        s[EDGE + i], s[EDGE_X + i], s[EDGE_Y + i] = between(edge, s[ROW + i], s[COLUMN + i])


@kernel
def read_slope(s, n, elevation, per_m):
    """Slopes of uneven ground."""
    scale = np.float32(per_m)
    for k in range(n):
        i = np.uintp(k)
        _, slope_x, slope_y = between(elevation, s[ROW + i], s[COLUMN + i])
        s[SLOPE_X + i], s[SLOPE_Y + i] = slope_x * scale, slope_y * scale


@inlined
def between(grid, v, u):
    """The value at row v and column u (float32), and its two derivatives per cell."""
    j, i = np.uint32(np.int32(v)), np.uint32(np.int32(u))
    a, b = u - np.float32(i), v - np.float32(j)
    below, right = j + np.uint32(1), i + np.uint32(1)
    c00, c01, c10, c11 = grid[j, i], grid[j, right], grid[below, i], grid[below, right]
    top, bottom = c00 + a * (c01 - c00), c10 + a * (c11 - c10)
    return top + b * (bottom - top), (c01 - c00) + b * ((c11 - c10) - (c01 - c00)), bottom - top


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
def read_grain(s, n, grain):
    """The grain of the ground: of 5 cm, fading before it is smaller than a pixel, and of 60 cm."""
    for k in range(n):
        i = np.uintp(k)
        column, row, wide = s[COLUMN + i], s[ROW + i], s[WIDE + i]
        v, u = np.uint32(np.int32(row * _5)) & _MASK, np.uint32(np.int32(column * _5)) & _MASK
        s[FINE + i] = np.float32(grain[v, u]) * max(_1 - _16 * wide, _0) * GRAIN_SCALE
        v, u = np.uint32(np.int32(row * _04)) & _MASK, np.uint32(np.int32(column * _04)) & _MASK
        s[COARSE + i] = np.float32(grain[u, v]) * max(_1 - wide / _36, _0) * GRAIN_SCALE


@kernel
def find_lines(s, n, line, code):
    """Which pixels may show an inner line: their numbers in NEAR_LINE, and how many."""
    some = 0
    for k in range(n):
        i = np.uintp(k)
        s[LINE + i] = s[YELLOW + i] = _0
        v, u = np.uint32(np.int32(s[ROW + i] + _HALF)), np.uint32(np.int32(s[COLUMN + i] + _HALF))
        beyond = abs(line[v, u]) - LINE_CERTAIN_M
        near = beyond * abs(beyond) < _04 * s[WIDE + i] and s[EDGE + i] > EDGE_LINE_TO_M
        if near and code[v, u] != 0 and s[DEPTH + i] < _NEVER:
            s[NEAR_LINE + np.uintp(some)] = k
            some += 1
    return some


@kernel
def draw_lines(s, some, line, code, axes, focal, per_m):
    """The share that inner lines have in the `some` pixels of NEAR_LINE, and which are yellow."""
    for k in range(some):
        i = np.uintp(s[NEAR_LINE + np.uintp(k)])
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


@inlined
def clearance(edge, far, place, x, y):
    """Distance to the nearest wall, or less than it, negative behind the wall."""
    _, x0, y0, per_m, _, verge, _, _ = place
    from_edge = bilinear(edge, x0, y0, per_m, x, y)
    free = from_edge + verge
    if free < FINE_UNTIL_M:
        u = min(max((x - x0) / FAR_CELL_M + 0.5, 0.0), far.shape[1] - 1.0)
        v = min(max((y - y0) / FAR_CELL_M + 0.5, 0.0), far.shape[0] - 1.0)
        free = min(free, verge + FAR_CELL_M - far[int(v), int(u)])
    return free


@kernel
def meet_walls(s, n, x, y, height, focal, edge, far, place):
    """Depths at which rays over flat ground meet a wall before the ground."""
    _, _, _, _, _, verge, wall, _ = place
    range_m = min(FAR_M, WALL_PIXELS * wall * focal)
    for k in range(n):
        i = np.uintp(k)
        s[WALL + i] = _NEVER
        dz = float(s[DZ + i])
        # The ray is in front of the wall, or of the half pixel above its top, from t to t_end.
        sinks = 0.5 / focal - dz
        t, t_end = 0.0, min(float(s[DEPTH + i]), range_m)
        if height >= wall:
            if sinks * t_end <= height - wall:
                continue
            t = (height - wall) / sinks
        elif sinks < 0.0:
            t_end = min(t_end, (wall - height) / -sinks)
        dx, dy = float(s[DX + i]), float(s[DY + i])
        level2 = dx * dx + dy * dy
        if t_end == s[DEPTH + i]:
            free_end = s[EDGE + i] + verge
            if (t_end - t) * (t_end - t) * level2 <= free_end * free_end:  # free all around the end
                continue
        else:
            free_end = clearance(edge, far, place, x + t_end * dx, y + t_end * dy)
        s[WALL + i] = trace(x, y, dx, dy, t, t_end, free_end, math.sqrt(level2) + 1e-9, focal, edge, far, place)


@inlined
def trace(x, y, dx, dy, t, t_end, free_end, level, focal, edge, far, place):
    """Depth between t and t_end, where `free_end` is left, at which the ray passes through a wall."""
    free = clearance(edge, far, place, x + t * dx, y + t * dy)
    step = abs(free) / level
    for _ in range(TRACE_STEPS):
        # Free all around this point and the end: nothing left in between.
        if free * free_end > 0.0 and (t_end - t) * level <= abs(free) + abs(free_end):
            break
        t_next, after = t + max(step, 0.02 + 0.1 * t / focal), free_end
        if t_next < t_end:
            after = clearance(edge, far, place, x + t_next * dx, y + t_next * dy)
        else:
            t_next = t_end
        if after * free <= 0.0:
            return t + (t_next - t) * free / (free - after)
        if t_next >= t_end:
            break
        # Walls are nearly straight, so the distance falls evenly: go to where it would be 0, within reason.
        step = abs(after) / level
        closer = abs(free) - abs(after)
        if closer > 0.0:
            step = min(max(1.02 * abs(after) * (t_next - t) / closer, step), STRIDE * step)
        t, free = t_next, after
    return _NEVER


@kernel
def shares(s, n):
    """Of every pixel: the share of road in it, of lines on that road, and of haze before it."""
    for k in range(n):
        i = np.uintp(k)
        from_edge, per, t = s[EDGE + i], _1 / s[BLUR + i], s[DEPTH + i]
        s[ROAD + i] = min(max(from_edge * per + _HALF, _0), _1)
        band = min(max((from_edge - EDGE_LINE_FROM_M) * per + _HALF, _0), _1)
        band -= min(max((from_edge - EDGE_LINE_TO_M) * per + _HALF, _0), _1)
        s[LINE + i] = max(band, s[LINE + i])
        s[HAZE + i] = t * t / (t * t + HAZE_M * HAZE_M)


@kernel
def colour_ground(s, n, verge, colours, contrasts):
    """Colours of what is ground, and of the sky elsewhere."""
    verge, rough, grassy = np.float32(verge), np.float32(contrasts[0]), _07 * np.float32(contrasts[1])
    for channel in range(3):
        out = np.uintp(RUN * (BLUE_AT + channel))
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
            s[out + i] = ground if s[DEPTH + i] < _NEVER else above


@kernel
def colour_sky(s, n, colours):
    """Colours of pixels that show nothing but sky."""
    for channel in range(3):
        out = np.uintp(RUN * (BLUE_AT + channel))
        haze = np.float32(colours[m.HORIZON, channel])
        sky = np.float32(colours[m.ZENITH, channel]) - haze
        for k in range(n):
            i = np.uintp(k)
            s[out + i] = haze + min(max(SKY_GRADIENT * s[DZ + i], _0), _1) * sky


@kernel
def colour_walls(s, n, x, y, z, focal, edge, elevation, place, colours, contrasts, grain):
    """Draw walls over what was coloured."""
    flat, x0, y0, per_m, base_z, _, wall, _ = place
    for k in range(n):
        i = np.uintp(k)
        t = s[WALL + i]
        if t == _NEVER:
            continue
        dx, dy = s[DX + i], s[DY + i]
        px, py = x + t * dx, y + t * dy
        row = np.float32(min(max((py - y0) * per_m, 0.0), edge.shape[0] - 1.01))
        column = np.float32(min(max((px - x0) * per_m, 0.0), edge.shape[1] - 1.01))
        _, normal_x, normal_y = between(edge, row, column)
        normal_x, normal_y = normal_x * per_m, normal_y * per_m
        if normal_x * dx + normal_y * dy > 0.0:
            normal_x, normal_y = -normal_x, -normal_y
        floor = base_z if flat else bilinear(elevation, x0, y0, per_m, px, py)
        up, pixel = z + t * s[DZ + i] - floor, t / focal
        cover = min(max((wall - up) / pixel + 0.5, 0.0), 1.0)
        light = 0.86 + 0.16 * (0.8 * normal_x + 0.6 * normal_y)  # the sun stands in the south-west
        light *= 0.82 + 0.18 * min(max(2.5 * up, 0.0), 1.0)
        if up > wall - 0.12:
            light *= 1.1
        speckle = 0.0
        if pixel < 0.5:
            along = px * normal_y - py * normal_x
            high, along = np.uint32(np.int32(up * 5.0 + 64.0)), np.uint32(np.int32(along * 2.5 + 65536.0))
            speckle = grain[high & _MASK, along & _MASK] * GRAIN_SCALE * contrasts[2] * (1.0 - 2.0 * pixel)
        haze = t * t / (t * t + HAZE_M * HAZE_M)
        for channel in range(3):
            face = colours[m.WALL, channel] * light + speckle
            face += haze * (colours[m.HORIZON, channel] - face)
            out = np.uintp(RUN * (BLUE_AT + channel)) + i
            s[out] += cover * (face - s[out])


@kernel
def store(s, n, pixels):
    """Write the run's colours as BGRA bytes, alpha 255, on a little-endian machine."""
    for k in range(n):
        i = np.uintp(k)
        blue = np.int32(min(max(s[BLUE + i] + _HALF, _0), _255))
        green = np.int32(min(max(s[GREEN + i] + _HALF, _0), _255))
        red = np.int32(min(max(s[RED + i] + _HALF, _0), _255))
        pixels[k] = np.uint32(blue | (green << 8) | (red << 16)) | np.uint32(0xFF000000)
