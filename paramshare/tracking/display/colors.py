"""Colours of runs on MLflow's pages: one for each seed, within a range of hues for each variant."""

import colorsys
from typing import Final

__all__ = ["seed_color"]

_HUES: Final = ((185, 270), (0, 50), (85, 165), (285, 340), (55, 80))
"""The hues of a recipe's variants in degrees, in their order. The ranges do not overlap."""

_LIGHTNESS: Final = (0.27, 0.60)  # visible on white and on black
_SATURATION: Final = 0.85
_STEPS: Final = (0.7548776662466927, 0.5698402909980532)
"""Multiples of these numbers, modulo 1, fill a square evenly: Roberts' R2 sequence (2018)."""


def seed_color(place: int, seed: int) -> str:
    """Return the colour of a seed's run, such as `#10b7c6`. Consecutive seeds have clearly different colours.

    Args:
        place: the place of the variant among those of its recipe, from 0.
    """
    across, up = (seed * step % 1 for step in _STEPS)
    (first, last), (dark, light) = _HUES[place % len(_HUES)], _LIGHTNESS
    hue, lightness = (first + (last - first) * across) / 360, dark + (light - dark) * up
    channels = colorsys.hls_to_rgb(hue, lightness, _SATURATION)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
