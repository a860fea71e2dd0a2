"""Numbers and intervals as a reader sees them: few digits, and no limit rounded to the value of no difference."""

import math
from typing import Final

from paramshare.stats.estimate import Estimate, Interval

__all__ = ["between", "number", "p_value", "percent", "with_interval"]

_MOST_DIGITS: Final = 17


def number(value: float | None, none: str = "–") -> str:
    """Four digits that mean something; a whole number as it is."""
    if value is None:
        return none
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if float(value).is_integer() and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def p_value(p: float) -> str:
    """Two digits, and no false zero."""
    return "< 1e-15" if p < 1e-15 else f"{p:.2g}"


def with_interval(estimate: Estimate, null: float | None = None) -> str:
    """`0.31 [0.26, 0.38]`; the number alone if it has no interval.

    Args:
        null: the value of no difference, to which no limit is rounded.
    """
    limits = "" if estimate.interval is None else f" {between(estimate.interval, null)}"
    return f"{number(estimate.value)}{limits}"


def between(interval: Interval, null: float | None = None, sign: int = 1) -> str:
    """`[0.26, 0.38]`; `(0, 0.38]` if the interval ends at 0 without 0.

    Args:
        null: the value of no difference, to which no limit is rounded.
        sign: -1 turns the interval around zero.
    """
    ends = [(interval.low, interval.low_open), (interval.high, interval.high_open)][::sign]
    (low, low_open), (high, high_open) = ((sign * limit, is_open) for limit, is_open in ends)
    return f"{'(' if low_open else '['}{_limit(low, null)}, {_limit(high, null)}{')' if high_open else ']'}"


def percent(share: Estimate) -> str:
    """`97 % [91 %, 99 %]`."""
    assert share.value is not None
    limits = share.interval
    within = "" if limits is None else f" [{_percent(limits.low)}, {_percent(limits.high)}]"
    return f"{100 * share.value:.0f} %{within}"


def _limit(value: float, null: float | None) -> str:
    shown = number(value)
    if null is None or value == null or not math.isfinite(value):
        return shown
    digits = 4
    while float(shown.replace(",", "")) == null and digits < _MOST_DIGITS:
        digits += 1
        shown = f"{value:.{digits}g}"
    return shown


def _percent(share: float) -> str:
    digits = 0
    while share != 0.5 and float(f"{100 * share:.{digits}f}") == 50 and digits < _MOST_DIGITS:
        digits += 1
    return f"{100 * share:.{digits}f} %"
