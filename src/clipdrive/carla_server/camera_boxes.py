"""Kernels of the camera: boxes (vehicles, walkers, props) before the ground, and images of depth and of tags.

A box is a row of `boxes`: middle (world), forward, right and up axis, half extents, colour (BGR 0..255), tag, id.
`depth` (n,) float32 is the depth of every pixel in metres, `NEVER` in the sky; `what` (n,) uint32 its pixel in an image
of instances: tag in red, the low byte of the id in green, the next one in blue.
"""

from __future__ import annotations

import math

import numpy as np

from clipdrive.carla_server import camera_walls as walls
from clipdrive.carla_server.camera_kernels import DEPTH, EDGE, FAR_M, LINE, NEVER
from clipdrive.carla_server.raster import bilinear, kernel

MIDDLE, AXES, HALF, COLOUR, TAG, ID, ROW_SIZE = 0, 3, 12, 15, 18, 19, 20
NEAR_M = 0.05  # nothing nearer is drawn
RGB, DEPTHS, TAGS, INSTANCES = range(4)  # kinds of image
DEPTH_RANGE_M = 1000.0
OPAQUE = np.uint32(0xFF000000)
ROAD, WALL_TAG, TERRAIN, SKY, ROAD_LINE = (np.uint32(tag << 16) for tag in (1, 4, 10, 11, 24))  # tags in red
_0, _HALF = np.float32(0.0), np.float32(0.5)


@kernel
def frame_boxes(frames, boxes, mounts, camera, axes, focal, width, height):
    """Of every box the pixels it may cover, `frames` (m, 4): columns and rows, from and until; how many boxes may.

    Boxes whose id is among `mounts` are not seen.
    """
    seen = 0
    for b in range(len(boxes)):
        row = boxes[b]
        frames[b] = 0
        hidden = False
        for mount in mounts:
            hidden |= row[ID] == mount
        if hidden:
            continue
        left, top, right, low = 1e9, 1e9, -1e9, -1e9
        ahead = behind = 0
        for corner in range(8):
            c0 = row[HALF] if corner & 1 else -row[HALF]
            c1 = row[HALF + 1] if corner & 2 else -row[HALF + 1]
            c2 = row[HALF + 2] if corner & 4 else -row[HALF + 2]
            x = row[MIDDLE] + c0 * row[AXES] + c1 * row[AXES + 3] + c2 * row[AXES + 6] - camera[0]
            y = row[MIDDLE + 1] + c0 * row[AXES + 1] + c1 * row[AXES + 4] + c2 * row[AXES + 7] - camera[1]
            z = row[MIDDLE + 2] + c0 * row[AXES + 2] + c1 * row[AXES + 5] + c2 * row[AXES + 8] - camera[2]
            t = x * axes[0, 0] + y * axes[1, 0] + z * axes[2, 0]
            if t < NEAR_M:
                behind += 1
                continue
            ahead += t < FAR_M
            u = (x * axes[0, 1] + y * axes[1, 1] + z * axes[2, 1]) / t * focal + 0.5 * width
            v = 0.5 * height - (x * axes[0, 2] + y * axes[1, 2] + z * axes[2, 2]) / t * focal
            left, right, top, low = min(left, u), max(right, u), min(top, v), max(low, v)
        if ahead == 0:
            continue
        if behind > 0:
            left, right, top, low = 0.0, width, 0.0, height
        frames[b, 0] = int(max(math.floor(left - 0.5), 0.0))
        frames[b, 1] = int(min(math.ceil(right + 0.5), width))
        frames[b, 2] = int(max(math.floor(top - 0.5), 0.0))
        frames[b, 3] = int(min(math.ceil(low + 0.5), height))
        seen += frames[b, 0] < frames[b, 1] and frames[b, 2] < frames[b, 3]
    return seen


@kernel
def framed_rows(frames, height):
    """First row that any of `frames` (m, 4) touches, and the row after the last."""
    top, low = height, 0
    for frame in frames:
        if frame[0] < frame[1] and frame[2] < frame[3]:
            top, low = min(top, frame[2]), max(low, frame[3])
    return top, low


@kernel
def survey(s, n, depth, what):
    """Depth and tag of a run of pixels."""
    for k in range(n):
        i = np.uintp(k)
        t = s[DEPTH + i]
        on_road = ROAD_LINE if s[LINE + i] >= _HALF else ROAD
        tag = on_road if s[EDGE + i] > _0 else TERRAIN
        depth[i] = t
        what[i] = tag if t < NEVER else SKY


@kernel
def survey_walls(c, q, some, x, y, z, elevation, place, depth, what):
    """Depth and tag of the walls that the `some` rays in HIT of `camera_walls` have met."""
    flat, x0, y0, per_m, base_z, _, wall, _ = place
    for k in range(some):
        a = np.uintp(q[walls.HIT + np.uintp(k)])
        t = c[walls.WALL + a]
        floor = base_z if flat else bilinear(elevation, x0, y0, per_m, x + t * c[walls.DX + a], y + t * c[walls.DY + a])
        if z + t * c[walls.DZ + a] - floor <= wall:
            i = np.uintp(q[walls.PIXEL + a])
            depth[i], what[i] = t, WALL_TAG


@kernel
def draw_boxes(pixels, depth, what, boxes, frames, us, vs, width, camera, axes, haze, horizon):
    """Draw the boxes of `frames` (m, 4) over what is farther away: depth, tag and colour."""
    haze_m, haze_from_m, light = haze
    reach = np.float64(haze_m) * haze_m
    for b in range(len(boxes)):
        row, frame = boxes[b], frames[b]
        if frame[0] >= frame[1] or frame[2] >= frame[3]:
            continue
        number = np.int64(row[ID])
        code = np.uint32((np.int64(row[TAG]) << 16) | ((number & 255) << 8) | ((number >> 8) & 255))
        at0, ahead0, right0, up0, shade0, half0 = across(row, 0, camera, axes)
        at1, ahead1, right1, up1, shade1, half1 = across(row, 1, camera, axes)
        at2, ahead2, right2, up2, shade2, half2 = across(row, 2, camera, axes)
        for j in range(frame[2], frame[3]):
            v = vs[j * width]
            level0, level1, level2 = ahead0 + v * up0, ahead1 + v * up1, ahead2 + v * up2
            for k in range(j * width + frame[0], j * width + frame[1]):
                i = np.uintp(k)
                u = us[i]
                to0, in0, out0 = pass_through(at0, level0 + u * right0, half0)
                to1, in1, out1 = pass_through(at1, level1 + u * right1, half1)
                to2, in2, out2 = pass_through(at2, level2 + u * right2, half2)
                t, leaves = max(in0, in1, in2), min(out0, out1, out2)
                if not (t <= leaves and NEAR_M < t < depth[i]):
                    continue
                to, shade = (to0, shade0) if t == in0 else (to1, shade1) if t == in1 else (to2, shade2)
                depth[i], what[i] = t, code
                bright = light * (0.65 + (shade if to < 0.0 else -shade))
                beyond = max(t - haze_from_m, 0.0)
                far = beyond * beyond / (beyond * beyond + reach)
                colour = OPAQUE
                for channel in range(3):
                    value = min(row[COLOUR + channel] * bright, 255.0)
                    value += far * (horizon[channel] - value)
                    colour |= np.uint32(np.uint32(value + 0.5) << np.uint32(8 * channel))
                pixels[i] = colour


@kernel
def across(row, axis, camera, axes):
    """Along one axis of a box: where the camera is, seen from the middle, how far a ray gets in a metre of depth,
    (ahead, and by how much more to the right and up), what the light does to that side, and half the extent."""
    n = AXES + 3 * axis
    nx, ny, nz = row[n], row[n + 1], row[n + 2]
    at = nx * (camera[0] - row[MIDDLE]) + ny * (camera[1] - row[MIDDLE + 1]) + nz * (camera[2] - row[MIDDLE + 2])
    ahead = nx * axes[0, 0] + ny * axes[1, 0] + nz * axes[2, 0]
    right = nx * axes[0, 1] + ny * axes[1, 1] + nz * axes[2, 1]
    up = nx * axes[0, 2] + ny * axes[1, 2] + nz * axes[2, 2]
    return at, ahead, right, up, 0.2 * nx + 0.15 * ny + 0.35 * nz, row[HALF + axis]


@kernel
def pass_through(at, to, half):
    """Depths at which a ray that begins `at` and gets `to` further in each metre enters and leaves -half .. half."""
    to = to if abs(to) > 1e-12 else 1e-12
    inverse = 1.0 / to
    middle, reach = -at * inverse, abs(half * inverse)
    return to, middle - reach, middle + reach


@kernel
def encode(pixels, depth, what, kind):
    """Fill `pixels` (n,) with an image of depths, tags or instances."""
    if kind == DEPTHS:
        for k in range(len(pixels)):
            share = min(max(np.float64(depth[k]) / DEPTH_RANGE_M, 0.0), 1.0)
            value = np.uint32(share * 16777215.0 + 0.5)
            low, middle, high = value & np.uint32(255), (value >> np.uint32(8)) & np.uint32(255), value >> np.uint32(16)
            pixels[k] = OPAQUE | high | (middle << np.uint32(8)) | (low << np.uint32(16))
    else:
        kept = np.uint32(0x00FF0000) if kind == TAGS else np.uint32(0x00FFFFFF)
        for k in range(len(pixels)):
            pixels[k] = OPAQUE | (what[k] & kept)
