"""Lists of seeds as text."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramshare.errors import SpecError
from paramshare.sweep.lists import parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0:3", (0, 1, 2)),
        ("7", (7,)),
        ("3,7,9", (3, 7, 9)),
        ("0:2, 5 ,1:4", (0, 1, 5, 2, 3)),
        ("9,0:2", (9, 0, 1)),
    ],
)
def test_a_seed_list_gives_its_seeds_in_order_each_once(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_a_seed_list_gives_exactly_its_seeds(seeds: list[int]) -> None:
    assert parse_seeds(",".join(map(str, seeds))) == tuple(dict.fromkeys(seeds))


@pytest.mark.parametrize(
    "text", ["", ",", "a", "1,", "-1", "3:1", "3:3", "1:2:3", "1.5", "0:", ":3", "1;2", "0x1", "²"]
)
def test_an_invalid_seed_list_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SpecError, match=r"expected "):
        parse_seeds(text)


def test_too_many_or_too_large_seeds_are_refused_without_a_delay() -> None:
    with pytest.raises(SpecError, match="more than 1,000,000 seeds"):
        parse_seeds("0:1000000000000000000")
    with pytest.raises(SpecError, match=r"2\*\*63"):
        parse_seeds(str(2**63))


@given(st.text(max_size=12))
def test_any_text_is_a_seed_list_or_a_spec_error(text: str) -> None:
    with suppress(SpecError):
        assert parse_seeds(text)
