"""The 256 colours of a run's picture, and pictures in these colours."""

import io
import zlib
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["DEPTH_COLORS", "encode", "palette_indices"]

DEPTH_COLORS = ("#999999", "#56B4E9", "#0072B2", "#D55E00")
"""The colour of each depth: readable in grey too."""


def encode(indices: NDArray[np.uint8]) -> bytes:
    """Return the bytes of a PNG of colours of the palette."""
    drawn, image = io.BytesIO(), Image.fromarray(indices)
    image.putpalette(_palette()[0].tobytes())
    image.save(drawn, "png", compress_level=1, compress_type=zlib.Z_RLE)  # rows of equal pixels
    return drawn.getvalue()


def palette_indices(pixels: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the index of the nearest colour to each pixel, which is one number: red in its lowest byte."""
    cells = (pixels & 0xF8) << 7 | (pixels >> 6) & 0x3E0 | (pixels >> 19) & 0x1F
    return np.asarray(_palette()[1][cells])


@cache
def _palette() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return 256 colours, (256, 3), and the index of the nearest one to each colour of 5 bits a channel, (32768,).

    The palette holds the colours of a sheet and the blends of every two of them, which antialiasing makes.
    """
    names = ["#ffffff", "#000000", "#eeeeee", "#cccccc", *DEPTH_COLORS]
    bases = np.array([list(bytes.fromhex(name[1:])) for name in names], dtype=np.float32)
    blends = np.linspace(0, 1, 10, dtype=np.float32)[1:-1, None]
    ramps = [first + (second - first) * blends for first, second in combinations(bases, 2)]
    greys = np.repeat(np.linspace(5, 250, 256 - len(bases) - 8 * len(ramps), dtype=np.float32)[:, None], 3, axis=1)
    colors = np.round(np.concatenate([bases, *ramps, greys])).astype(np.uint8)
    levels = np.arange(32, dtype=np.float32) * 8 + 4
    cells = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    distances = (colors.astype(np.float32) ** 2).sum(axis=1) - 2 * cells @ colors.astype(np.float32).T
    nearest = distances.argmin(axis=1).astype(np.uint8)
    for index, (red, green, blue) in enumerate(colors[: len(bases)].tolist()):
        nearest[red >> 3 << 10 | green >> 3 << 5 | blue >> 3] = index  # exactly as matplotlib draws them
    return colors, nearest
