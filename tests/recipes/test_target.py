"""A run describes its recipe: readers need no code."""

import pytest

from paramshare.errors import SpecError
from paramshare.recipes.target import Target, described_target


def test_a_description_has_everything_but_the_code(toy: Target) -> None:
    read = described_target(toy.description())
    for name in ("name", "title", "version", "digest", "variants", "loss", "curves", "final_metrics", "dataset"):
        assert getattr(read, name) == getattr(toy, name)
    assert read.metrics_of({}) == toy.metrics_of({})


def test_a_described_target_makes_no_spec(toy: Target) -> None:
    with pytest.raises(SpecError, match="the code of the recipe toy is not known here; pass it with --recipe"):
        described_target(toy.description()).new(seed=0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "toy"}'])
def test_a_faulty_description_is_one_line(text: str) -> None:
    with pytest.raises(SpecError, match="a run's description of its recipe is not valid"):
        described_target(text)
