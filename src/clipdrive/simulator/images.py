"""From the camera's raw bytes to the pixels of an observation."""

from __future__ import annotations

import numpy as np


def rgb_of_bgra(raw: bytes | memoryview, height_px: int, width_px: int) -> np.ndarray:
    """RGB image, uint8 (height, width, 3), of CARLA's BGRA bytes."""
    pixels = np.frombuffer(raw, dtype=np.uint8).reshape(height_px, width_px, 4)
    return np.ascontiguousarray(pixels[:, :, 2::-1])


def gray_of_bgra(raw: bytes | memoryview, height_px: int, width_px: int) -> np.ndarray:
    """Luma (ITU-R 601-2), uint8 (height, width), of CARLA's BGRA bytes.

    Whole numbers only, so that every machine gets the same bits: (19595 R + 38470 G + 7471 B + 32768) >> 16,
    the formula of Pillow's convert("L").
    """
    pixels = np.frombuffer(raw, dtype="<u4")
    luma = (pixels & 255) * np.uint32(7471)
    luma += ((pixels >> 8) & 255) * np.uint32(38470)
    luma += ((pixels >> 16) & 255) * np.uint32(19595)
    luma += np.uint32(32768)
    luma >>= 16
    return luma.astype(np.uint8).reshape(height_px, width_px)
