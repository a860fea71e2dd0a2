"""Format numbers and intervals: few digits, and no limit rounded to the value of no difference."""

import math
from typing import Final

from paramshare.stats.estimate import Estimate, Interval

__all__ = ["between", "number", "p_value", "percent", "ratio_percent", "with_interval"]

_MAX_DIGITS: Final = 17


def number(value: float | None, none: str = "–") -> str:
    """Format a number with four significant digits; a whole number of 1000 or more in full.

    Args:
        value: the number.
        none: the text for None. Defaults to a dash.
    """
    if value is None:
        return none
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if float(value).is_integer() and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def p_value(p: float) -> str:
    """Format p with two significant digits; `< 1e-15` instead of a p that cannot be told from 0."""
    return "< 1e-15" if p < 1e-15 else f"{p:.2g}"


def with_interval(estimate: Estimate, null: float | None = None) -> str:
    """Format an estimate: `0.31 [0.26, 0.38]`; the number alone if it has no interval.

    Args:
        estimate: the number and its interval.
        null: the value of no difference, to which no limit is rounded. Defaults to None: limits are rounded freely.
    """
    limits = "" if estimate.interval is None else f" {between(estimate.interval, null)}"
    return f"{number(estimate.value)}{limits}"


def between(interval: Interval, null: float | None = None, sign: int = 1) -> str:
    """Format an interval: `[0.26, 0.38]`; `(0, 0.38]` if it ends at 0 and does not contain 0.

    Args:
        interval: the limits.
        null: the value of no difference, to which no limit is rounded. Defaults to None: limits are rounded freely.
        sign: -1 to mirror the interval at zero. Defaults to 1.
    """
    ends = [(interval.low, interval.low_open), (interval.high, interval.high_open)][::sign]
    (low, low_open), (high, high_open) = ((sign * limit, is_open) for limit, is_open in ends)
    return _brackets(_limit(low, null), _limit(high, null), low_open, high_open)


def percent(share: Estimate) -> str:
    """Format a probability: `97 % [91 %, 99 %]`. No limit is rounded to 50 %."""
    assert share.value is not None
    limits = share.interval
    interval = "" if limits is None else f" [{_percent(limits.low, 0.5)}, {_percent(limits.high, 0.5)}]"
    return f"{100 * share.value:.0f} %{interval}"


def ratio_percent(ratio: Estimate) -> str:
    """Format a ratio: `29 % [24 %, 36 %]`, with two significant digits below 10 %. No limit is rounded to 100 %."""
    assert ratio.value is not None
    limits = ratio.interval
    if limits is None:
        return _ratio_percent(ratio.value)
    low, high = _ratio_percent(limits.low), _ratio_percent(limits.high)
    return f"{_ratio_percent(ratio.value)} {_brackets(low, high, limits.low_open, limits.high_open)}"


def _brackets(low: str, high: str, low_open: bool, high_open: bool) -> str:
    return f"{'(' if low_open else '['}{low}, {high}{')' if high_open else ']'}"


def _limit(value: float, null: float | None) -> str:
    shown = number(value)
    if null is None or value == null or not math.isfinite(value):
        return shown
    digits = 4
    while float(shown.replace(",", "")) == null and digits < _MAX_DIGITS:
        digits += 1
        shown = f"{value:.{digits}g}"
    return shown


def _ratio_percent(ratio: float) -> str:
    if math.isinf(ratio):
        return "∞"
    digits = 0 if ratio == 0 or ratio >= 0.1 else 1 - math.floor(math.log10(100 * ratio))
    return _percent(ratio, 1, digits)


def _percent(share: float, null: float, digits: int = 0) -> str:
    """Format a share with the fewest digits, from `digits` on, that do not round it to `null`."""
    while share != null and float(f"{100 * share:.{digits}f}") == 100 * null and digits < _MAX_DIGITS:
        digits += 1
    return f"{100 * share:,.{digits}f} %"
