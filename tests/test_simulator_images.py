import numpy as np
from PIL import Image

from clipdrive.simulator.images import gray_of_bgra, rgb_of_bgra


def test_gray_is_pillows_and_rgb_is_in_order():
    bgra = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    rgb = rgb_of_bgra(bgra.tobytes(), 40, 60)
    assert (rgb[..., 0] == bgra[..., 2]).all() and (rgb[..., 1] == bgra[..., 1]).all() and rgb.shape == (40, 60, 3)
    gray = gray_of_bgra(bgra.tobytes(), 40, 60)
    assert (gray == np.asarray(Image.fromarray(rgb).convert("L"))).all() and gray.dtype == np.uint8


def test_extremes():
    for value in (0, 255):
        assert (gray_of_bgra(bytes([value]) * 16, 2, 2) == value).all()
