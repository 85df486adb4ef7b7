"""Memory that cameras share: many of one size then draw one after the other without leaving the processor's cache."""

from __future__ import annotations

import math
import threading
import weakref

import numpy as np

from clipdrive.carla_server import camera_kernels as rays
from clipdrive.carla_server import camera_walls as walls

KEPT_PIXELS = 2**18  # of larger images a thread keeps no depths and tags when it has drawn them
NO_DEPTHS, NO_TAGS = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.uint32)


class PixelRays:
    """Where the rays through the pixels' middles meet the plane one unit ahead.

    focal_px: pixels a unit; us, vs (height * width,) float32: to the right and up, row by row. Nobody changes them.
    """

    def __init__(self, width: int, height: int, fov_deg: float) -> None:
        self.focal_px = 0.5 * width / math.tan(math.radians(fov_deg) / 2.0)
        u = (np.arange(width) + 0.5 - 0.5 * width) / self.focal_px
        v = (0.5 * height - np.arange(height) - 0.5) / self.focal_px
        self.us = np.tile(u, height).astype(np.float32)
        self.vs = np.repeat(v, width).astype(np.float32)


_in_use: weakref.WeakValueDictionary[tuple[int, int, float], PixelRays] = weakref.WeakValueDictionary()


def pixel_rays(width: int, height: int, fov_deg: float) -> PixelRays:
    """The rays of a camera of that size and horizontal field of view, shared by all such cameras that there are."""
    key = (width, height, fov_deg)
    found = _in_use.get(key)
    if found is None:
        found = _in_use[key] = PixelRays(*key)
    return found


class Desk(threading.local):
    """What a thread needs while it draws, whichever camera it is; nothing of it counts in the next image."""

    def __init__(self) -> None:
        self.scratch = (  # as the kernels take it
            np.zeros((3, 3)),
            np.zeros(3),
            np.zeros(rays.SCRATCH_SIZE, dtype=np.float32),
            np.zeros(walls.SINGLE_SIZE, dtype=np.float32),
            np.zeros(walls.DOUBLE_SIZE),
            np.zeros(walls.WHOLE_SIZE, dtype=np.int32),
        )
        self._depths, self._tags = NO_DEPTHS, NO_TAGS

    def survey(self, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """Room for every pixel's depth and tag: (pixels,) float32 and uint32."""
        if pixels > KEPT_PIXELS:
            return np.empty(pixels, dtype=np.float32), np.empty(pixels, dtype=np.uint32)
        if len(self._depths) < pixels:
            self._depths, self._tags = np.empty(pixels, dtype=np.float32), np.empty(pixels, dtype=np.uint32)
        return self._depths[:pixels], self._tags[:pixels]
