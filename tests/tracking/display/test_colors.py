"""The seeds of a sweep, and its variants, have distinguishable colours on MLflow's pages."""

import colorsys
from itertools import combinations, pairwise

import pytest

from paramshare.recipes.target import TARGETS
from paramshare.tracking.display.colors import seed_color

PLACES = range(max(len(target.variants) for target in TARGETS.values()))


def hls(color: str) -> tuple[float, float, float]:
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return colorsys.rgb_to_hls(red, green, blue)


@pytest.mark.parametrize("place", PLACES)
def test_a_thousand_seeds_have_different_colours(place: int) -> None:
    assert len({seed_color(place, seed) for seed in range(1000)}) == 1000


@pytest.mark.parametrize("target", TARGETS)
def test_the_hues_of_two_variants_of_a_target_do_not_overlap(target: str) -> None:
    hues = [
        {hls(seed_color(place, seed))[0] for seed in range(500)} for place, _ in enumerate(TARGETS[target].variants)
    ]
    for first, second in combinations(hues, 2):
        assert max(first) < min(second) or max(second) < min(first)


def test_consecutive_seeds_differ_in_hue_or_lightness_by_a_tenth() -> None:
    colors = [hls(seed_color(0, seed)) for seed in range(200)]
    for first, second in pairwise(colors):
        assert max(abs(first[0] - second[0]) / (85 / 360), abs(first[1] - second[1]) / 0.33) > 0.1


def test_the_largest_seed_has_a_colour() -> None:
    assert len(seed_color(1, 2**63 - 1)) == 7
