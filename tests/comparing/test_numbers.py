"""Numbers are shown in few digits and no limit is rounded to the value of no difference."""

import math

import pytest

from paramshare.comparing.numbers import between, number, p_value, percent
from paramshare.stats.estimate import Estimate, Interval


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (math.inf, "∞"), (111210.0, "111,210"), (0.123456, "0.1235"), (1234.5678, "1235"), (12.0, "12")],
)
def test_numbers_are_shown_with_four_significant_digits(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_a_tiny_p_value_is_shown_as_an_upper_bound_and_not_as_zero() -> None:
    assert p_value(0.0) == "< 1e-15"
    assert p_value(0.0123) == "0.012"


@pytest.mark.parametrize(
    ("low", "high", "null", "shown"),
    [
        (0.8, 0.99998, 1, "[0.8, 0.99998]"),
        (0.8, 0.99998, None, "[0.8, 1]"),
        (0.8, 1.0, 1, "[0.8, 1]"),
        (1.0000004, math.inf, 1, "[1.0000004, ∞]"),
        (-math.inf, -1e-9, 0, "[-∞, -1e-09]"),
    ],
)
def test_a_limit_is_never_rounded_to_the_value_of_no_difference(
    low: float, high: float, null: float | None, shown: str
) -> None:
    assert between(Interval(low, high, 0.95, "t"), null) == shown


def test_an_open_limit_has_a_round_bracket_also_in_a_negated_interval() -> None:
    interval = Interval(0.0, 3.0, 0.95, "t", low_open=True)
    assert between(interval, 0) == "(0, 3]"
    assert between(interval, 0, -1).replace("-0", "0") == "[-3, 0)"
    assert (0.0 in interval, 3.0 in interval) == (False, True)


def test_a_limit_near_one_half_is_not_rounded_to_fifty_percent() -> None:
    assert percent(Estimate(0.7, 9, Interval(0.5004, 0.9, 0.95, "t"))) == "70 % [50.04 %, 90 %]"
