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
_HALF = np.float32(0.5)


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
def survey(s, n, depth, what, grounded):
    """Depth and tag of a run of pixels; `grounded` tells that any of them shows ground."""
    for k in range(n):
        i = np.uintp(k)
        t = s[DEPTH + i]
        depth[k] = t
        tag = SKY
        if grounded and t < NEVER:
            tag = TERRAIN
            if s[EDGE + i] > 0.0:
                tag = ROAD_LINE if s[LINE + i] >= _HALF else ROAD
        what[k] = tag


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
    reach = haze_m * haze_m
    for b in range(len(boxes)):
        row, frame = boxes[b], frames[b]
        x, y, z = camera[0] - row[MIDDLE], camera[1] - row[MIDDLE + 1], camera[2] - row[MIDDLE + 2]
        number = np.int64(row[ID])
        code = np.uint32((np.int64(row[TAG]) << 16) | ((number & 255) << 8) | ((number >> 8) & 255))
        for j in range(frame[2], frame[3]):
            for k in range(j * width + frame[0], j * width + frame[1]):
                dx = axes[0, 0] + us[k] * axes[0, 1] + vs[k] * axes[0, 2]
                dy = axes[1, 0] + us[k] * axes[1, 1] + vs[k] * axes[1, 2]
                dz = axes[2, 0] + us[k] * axes[2, 1] + vs[k] * axes[2, 2]
                t, side = meet_box(row, x, y, z, dx, dy, dz)
                if not NEAR_M < t < depth[k]:
                    continue
                depth[k], what[k] = t, code
                normal = AXES + 3 * side
                way = 1.0 if row[normal] * dx + row[normal + 1] * dy + row[normal + 2] * dz < 0.0 else -1.0
                bright = 0.2 * row[normal] + 0.15 * row[normal + 1] + 0.35 * row[normal + 2]
                bright = light * (0.65 + way * bright)
                beyond = max(t - haze_from_m, 0.0)
                far = beyond * beyond / (beyond * beyond + reach)
                colour = OPAQUE
                for channel in range(3):
                    value = min(row[COLOUR + channel] * bright, 255.0)
                    value += far * (horizon[channel] - value)
                    colour |= np.uint32(np.uint32(value + 0.5) << np.uint32(8 * channel))
                pixels[k] = colour


@kernel
def meet_box(row, x, y, z, dx, dy, dz):
    """Depth at which a ray from (x, y, z), seen from the box's middle, enters the box, and through which axis' side."""
    enters, leaves, side = -1e9, 1e9, 0
    for axis in range(3):
        n = AXES + 3 * axis
        at = row[n] * x + row[n + 1] * y + row[n + 2] * z
        to = row[n] * dx + row[n + 1] * dy + row[n + 2] * dz
        half = row[HALF + axis]
        if abs(to) < 1e-12:
            if abs(at) > half:
                return -1.0, 0
            continue
        first, second = (-half - at) / to, (half - at) / to
        if first > second:
            first, second = second, first
        if first > enters:
            enters, side = first, axis
        leaves = min(leaves, second)
    return (enters, side) if enters <= leaves else (-1.0, 0)


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
