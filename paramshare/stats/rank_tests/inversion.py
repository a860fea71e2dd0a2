"""Invert a test: an interval of all values of a parameter that the test does not reject, and the estimate within it.

So an interval excludes "no difference" exactly if its test finds a difference.

Sources: Hodges and Lehmann, Annals of Mathematical Statistics 34 (1963), the estimate; Hollander, Wolfe and Chicken,
Nonparametric Statistical Methods, 3.3 (Tukey's interval for pairs) and 4.3 (Moses's for two groups); Bennett,
Biometrics 21 (1965), the ratio of pairs.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paramshare.stats.estimate import Estimate, Interval, Note

__all__ = ["MAX_VALUES", "TestedValues", "points_of", "some_of"]

MAX_VALUES: Final = 1000
"""Maximum number of values of a group whose pairs all become points; of a larger group as many values are used."""

_STEPS: Final = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedValues:
    """A test of every value of a shift or of a ratio.

    Args:
        p: returns the p-value of the hypothesis that the parameter has this value.
        lean: returns a positive number if the data are above this value, and a negative one if they are below. It does
            not increase with the value.
        points: sorted and finite; p and lean are constant between two neighbours.
        null: the value of no difference: 0 for a shift and 1 for a ratio.
        null_p: the p-value of the null value.
        beyond: the distance to a value outside of all points: added to a shift, multiplied to a ratio.
    """

    p: Callable[[float], float]
    lean: Callable[[float], float]
    points: Sequence[float]
    null: float
    null_p: float
    beyond: float

    def estimate(self, n: int, alpha: float, level: float, method: str) -> Estimate:
        """Return the Hodges-Lehmann estimate, for which the lean is nearest to 0, and the interval.

        Args:
            n: the number of pairs or runs.
            alpha: the significance level: a value is rejected if its p is below.
            level: the confidence level of the interval, 1 − alpha.
            method: the name of the test.
        """
        if not len(self.points):
            return Estimate(None, n, notes=(Note.NO_FINITE,))
        gaps = range(len(self.points) + 1)
        even = bisect_left(gaps, True, key=lambda gap: self.lean(self._within(gap)) <= 0)
        below = bisect_left(gaps, True, key=lambda gap: self.lean(self._within(gap)) < 0)
        value = self._between(self._edge(even - 1), self._edge(below - 1))
        low, low_open = self._low(even - 1, alpha)
        high, high_open = self._high(below, alpha)
        if low == self._least and high == math.inf:
            return Estimate(value, n, notes=(Note.FEW_FOR_TEST,))
        note = Note.NO_WIDTH if math.isclose(low, high, rel_tol=1e-12) and math.isfinite(low) else None
        interval = Interval(low, high, level, f"inverted {method}", note, low_open=low_open, high_open=high_open)
        return Estimate(value, n, interval)

    def _low(self, gap: int, alpha: float) -> tuple[float, bool]:
        """Search the lower limit from `gap` downwards; return it and whether the test rejects the limit itself."""
        rejected = self.null_p < alpha
        bounded = rejected and self.lean(self.null) > 0
        if not rejected:
            gap = min(gap, bisect_left(self.points, self.null))
        downwards = range(gap, bisect_right(self.points, self.null) - 1 if bounded else -1, -1)
        place = bisect_left(downwards, True, key=lambda k: self.p(self._within(k)) < alpha)
        if place == len(downwards):
            return (self.null, True) if bounded else (self._least, False)
        low = self._edge(downwards[place])
        return (low if rejected else min(low, self.null)), False

    def _high(self, gap: int, alpha: float) -> tuple[float, bool]:
        """Search the upper limit from `gap` upwards; return it and whether the test rejects the limit itself."""
        rejected = self.null_p < alpha
        bounded = rejected and self.lean(self.null) < 0
        if not rejected:
            gap = max(gap, bisect_right(self.points, self.null))
        upwards = range(gap, (bisect_left(self.points, self.null) if bounded else len(self.points)) + 1)
        place = bisect_left(upwards, True, key=lambda k: self.p(self._within(k)) < alpha)
        if place == len(upwards):
            return (self.null, True) if bounded else (math.inf, False)
        high = self._edge(upwards[place] - 1)
        return (high if rejected else max(high, self.null)), False

    @property
    def _least(self) -> float:
        return 0.0 if self.null else -math.inf

    def _edge(self, point: int) -> float:
        """Return a point; the smallest value before the first point, infinity after the last one."""
        if point < 0:
            return self._least
        return float(self.points[point]) if point < len(self.points) else math.inf

    def _between(self, low: float, high: float) -> float | None:
        """Return the middle of two values; None if they are the ends of all values."""
        if low == high:
            return low
        if low == self._least or high == math.inf:
            return None if (low, high) == (self._least, math.inf) else low if low == self._least else high
        return math.sqrt(low) * math.sqrt(high) if self.null else low / 2 + high / 2

    def _within(self, gap: int) -> float:
        """Return a value between the points `gap - 1` and `gap`."""
        if 0 < gap < len(self.points):
            middle = self._between(float(self.points[gap - 1]), float(self.points[gap]))
            assert middle is not None
            return middle
        end = float(self.points[0 if gap == 0 else -1])
        if self.null:
            return end / self.beyond if gap == 0 else end * self.beyond
        return end - self.beyond if gap == 0 else end + self.beyond


class _Between(Sequence[float]):
    """A sorted sequence of knots and 2^30 steps between every two neighbours, which resolve any limit."""

    def __init__(self, knots: NDArray[np.float64]) -> None:
        self._knots = knots

    def __len__(self) -> int:
        return (len(self._knots) - 1) * _STEPS + 1

    def __getitem__(self, place: Any) -> Any:
        knot, step = divmod(place % len(self), _STEPS)
        low = float(self._knots[knot])
        return low if step == 0 else low + (float(self._knots[knot + 1]) - low) * (step / _STEPS)


def points_of(values: NDArray[np.float64], *, thinned: bool) -> Sequence[float]:
    """Return the values at which the lean of a test can change, in order.

    Args:
        values: the value of each pair of runs or of pairs. Values that are not finite are omitted.
        thinned: whether the values are of some runs only, so that there are other points between them.
    """
    points = np.unique(values[np.isfinite(values)])
    return _Between(points) if thinned and len(points) else points  # type: ignore[return-value]


def some_of(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at most `MAX_VALUES` of sorted values or rows, including the first and the last."""
    if len(ordered) <= MAX_VALUES:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, MAX_VALUES).astype(np.int64)]
