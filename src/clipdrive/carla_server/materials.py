"""What the ground, the walls and the sky look like: colours and grain drawn from a texture seed.

In gray the road is always darker than the verge, and its lines are always the brightest thing on the ground, so
that a seed changes the look of a track and never what can be seen on it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

GRAIN_CELLS = 256  # the grain repeats after so many cells
GRAIN_UNIT = 1.0 / 42.0  # of the grain as whole numbers, whose standard deviation is then 1
LUMA_BGR = np.array([0.114, 0.587, 0.299])  # ITU-R BT.601, the gray of OpenCV and Pillow
(ASPHALT, VERGE, WHITE_LINE, YELLOW_LINE, WALL, TERRAIN, HORIZON, ZENITH) = range(8)
_GREENS = ((0.42, 1.18, 0.88), (0.55, 1.06, 1.06), (0.72, 1.0, 1.12), (0.92, 1.02, 1.0))  # grass to gravel


@lru_cache(maxsize=32)
def materials(texture_seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(colours (8, 3) BGR 0..255, contrasts (3,) of the grain on asphalt, verge and wall, grain (65536,))."""
    rng = np.random.default_rng([texture_seed & 0xFFFFFFFF, 84])
    asphalt = rng.uniform(72.0, 104.0)
    verge = asphalt + rng.uniform(38.0, 62.0)
    wall = rng.uniform(105.0, 185.0)
    horizon = rng.uniform(190.0, 225.0)
    colours = np.empty((8, 3))
    colours[ASPHALT] = _tinted(asphalt, (1.0 + rng.uniform(-0.03, 0.06), 1.0, 1.0))
    colours[VERGE] = _tinted(verge, _GREENS[int(rng.integers(len(_GREENS)))])
    colours[WHITE_LINE] = _tinted(rng.uniform(205.0, 235.0), (0.99, 1.0, 1.0))
    colours[YELLOW_LINE] = _tinted(rng.uniform(180.0, 200.0), (0.25, 1.03, 1.2))
    colours[WALL] = _tinted(wall, (0.96, 1.0, 1.03))
    colours[TERRAIN] = colours[VERGE] * rng.uniform(0.86, 0.94)
    colours[HORIZON] = _tinted(horizon, (1.06, 1.0, 0.97))
    colours[ZENITH] = _tinted(horizon - rng.uniform(40.0, 70.0), (1.35, 1.0, 0.82))
    contrasts = np.array([rng.uniform(3.0, 7.0), rng.uniform(6.0, 12.0), rng.uniform(4.0, 10.0)])
    return np.minimum(colours, 250.0), contrasts, _grain(rng)


def _tinted(gray: float, tint_bgr: tuple[float, float, float]) -> np.ndarray:
    """A colour of that gray with the channels in the proportions of the tint."""
    tint = np.array(tint_bgr)
    return gray * tint / float(LUMA_BGR @ tint)


def _grain(rng: np.random.Generator) -> np.ndarray:
    """Smooth noise that tiles, 256 rows of 256 int8 in `GRAIN_UNIT`, mean 0, standard deviation 1, within -3..3."""
    total = np.zeros((GRAIN_CELLS, GRAIN_CELLS))
    for size, weight in ((1, 0.5), (2, 0.7), (5, 1.0)):
        noise = rng.standard_normal(total.shape)
        for axis in (0, 1):
            noise = sum(np.roll(noise, shift, axis) for shift in range(size)) / size**0.5
        total += weight * noise
    return np.round(np.clip((total - total.mean()) / total.std(), -3.0, 3.0) / GRAIN_UNIT).astype(np.int8).ravel()
