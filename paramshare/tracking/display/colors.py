"""Colours of runs on MLflow's pages: one for each seed, within a range of hues for each variant."""

import colorsys
from typing import Final

__all__ = ["seed_color"]

_HUES: Final = {"shared": (185, 270), "untied": (0, 50), "conv": (185, 270), "local": (0, 50), "dense": (85, 165)}
"""The hues of each variant in degrees: the ranges of a net's variants do not overlap."""

_OTHERS: Final = ((185, 270), (0, 50), (85, 165), (285, 340), (55, 80))
"""The hues of a recipe's variants, in their order."""

_LIGHTNESS: Final = (0.27, 0.60)  # visible on white and on black
_SATURATION: Final = 0.85
_STEPS: Final = (0.7548776662466927, 0.5698402909980532)
"""Multiples of these numbers, modulo 1, fill a square evenly: Roberts' R2 sequence (2018)."""


def seed_color(variant: str, seed: int, place: int | None = None) -> str:
    """Return the colour of a seed's run, such as `#10b7c6`. Consecutive seeds have clearly different colours.

    Args:
        place: the place of the variant among those of a recipe. Defaults to None, for a built-in target.
    """
    across, up = (seed * step % 1 for step in _STEPS)
    hues = _HUES[variant] if place is None else _OTHERS[place % len(_OTHERS)]
    (first, last), (dark, light) = hues, _LIGHTNESS
    hue, lightness = (first + (last - first) * across) / 360, dark + (light - dark) * up
    channels = colorsys.hls_to_rgb(hue, lightness, _SATURATION)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
