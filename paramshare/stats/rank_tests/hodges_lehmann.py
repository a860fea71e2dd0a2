"""Hodges-Lehmann estimates of a shift and of a ratio, each with the interval of the comparison's own test.

Pairs: by the signed-rank test, whose statistic can change only at the Walsh averages. Groups: by the studentized
permutation test; the estimate is the median over all pairs of a run of one group and a run of the other.

Diverged runs are infinite, and the estimates count them as the tests do.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from paramshare.stats.descriptive.divergence import scale_of
from paramshare.stats.estimate import Estimate, Note
from paramshare.stats.rank_tests.inversion import MAX_VALUES, TestedValues, points_of, some_of
from paramshare.stats.rank_tests.ranks import SamePermutations, signed_rank_p, signed_rank_sum

__all__ = ["ratio_of_groups", "ratio_of_pairs", "shift_of_groups", "shift_of_pairs"]

_FAR: Final = 4.0  # more than the distance of two values, which are scaled to less than 2

_Values = NDArray[np.float64]


def shift_of_pairs(one: _Values, other: _Values, p: float, level: float, alpha: float) -> Estimate:
    """Return the shift one − other: the median of the Walsh averages of the differences.

    Args:
        one, other: (n,), the two values of each pair, without NaN.
        p: the p-value of the signed-rank test.
        level: the confidence level of the interval.
        alpha: the significance level of the test.
    """
    scale, first, second = _scaled(one, other)
    finite = np.isfinite(first) & np.isfinite(second)
    differences = some_of(np.sort(first[finite] - second[finite]))
    rows, columns = np.triu_indices(len(differences))
    tested = TestedValues(
        p=lambda shift: _signed_rank_p(first - shift, second),
        lean=lambda shift: signed_rank_sum(first - shift, second),
        points=points_of(differences[rows] / 2 + differences[columns] / 2, thinned=int(finite.sum()) > MAX_VALUES),
        null=0,
        null_p=p,
        beyond=_FAR,
    )
    return _times(tested.estimate(len(first), alpha, level, "signed-rank"), scale)


def ratio_of_pairs(one: _Values, other: _Values, p: float, level: float, alpha: float) -> Estimate:
    """Return the ratio one / other: the median of (one_i + one_j) / (other_i + other_j) over all i <= j.

    The test is the signed-rank test of one against a multiple of other. See `shift_of_pairs` for the arguments.
    """
    if _not_positive(one, other):
        return Estimate(None, len(one), notes=(Note.NO_RATIO,))
    _, first, second = _scaled(one, other)
    finite = np.isfinite(first) & np.isfinite(second)
    pairs = np.stack([first[finite], second[finite]], axis=1)
    pairs = some_of(pairs[np.argsort(pairs[:, 0] / pairs[:, 1])])
    rows, columns = np.triu_indices(len(pairs))
    sums = pairs[rows] + pairs[columns]
    tested = TestedValues(
        p=lambda ratio: _signed_rank_p(first, second * ratio),
        lean=lambda ratio: signed_rank_sum(first, second * ratio),
        points=points_of(sums[:, 0] / sums[:, 1], thinned=int(finite.sum()) > MAX_VALUES),
        null=1,
        null_p=p,
        beyond=_FAR,
    )
    return tested.estimate(len(first), alpha, level, "signed-rank")


def shift_of_groups(one: _Values, other: _Values, p: float, level: float, alpha: float) -> Estimate:
    """Return the shift one − other: the median of the differences of all pairs of their runs.

    Args:
        one, other: (n,) and (m,), the values of each group, without NaN.
        p: the p-value of the studentized permutation test.
        level: the confidence level of the interval.
        alpha: the significance level of the test.
    """
    scale, first, second = _scaled(one, other)
    some, others = (some_of(np.sort(group[np.isfinite(group)])) for group in (first, second))
    tested = TestedValues(
        p=_permutation_p(first, second, lambda shift: first - shift),
        lean=lambda shift: _lead(first - shift, second),
        points=points_of(np.subtract.outer(some, others).ravel(), thinned=max(len(one), len(other)) > MAX_VALUES),
        null=0,
        null_p=p,
        beyond=_FAR,
    )
    return _times(tested.estimate(len(one) + len(other), alpha, level, "studentized permutation"), scale)


def ratio_of_groups(one: _Values, other: _Values, p: float, level: float, alpha: float) -> Estimate:
    """Return the ratio one / other: the median of the ratios of all pairs of their runs.

    See `shift_of_groups` for the arguments.
    """
    if _not_positive(one, other):
        return Estimate(None, len(one) + len(other), notes=(Note.NO_RATIO,))
    _, first, second = _scaled(one, other)
    some, others = (some_of(np.sort(group[np.isfinite(group)])) for group in (first, second))
    tested = TestedValues(
        p=_permutation_p(first, second, lambda ratio: first / ratio),
        lean=lambda ratio: _lead(first / ratio, second),
        points=points_of(np.divide.outer(some, others).ravel(), thinned=max(len(one), len(other)) > MAX_VALUES),
        null=1,
        null_p=p,
        beyond=_FAR,
    )
    return tested.estimate(len(one) + len(other), alpha, level, "studentized permutation")


def _scaled(one: _Values, other: _Values) -> tuple[float, _Values, _Values]:
    scale = scale_of(*(group[np.isfinite(group)] for group in (one, other)))
    return scale, one / scale, other / scale


def _not_positive(one: _Values, other: _Values) -> bool:
    return bool(np.any(one <= 0) or np.any(other <= 0))


def _times(estimate: Estimate, scale: float) -> Estimate:
    interval = estimate.interval
    if interval is not None:
        interval = replace(interval, low=interval.low * scale, high=interval.high * scale)
    return Estimate(None if estimate.value is None else estimate.value * scale, estimate.n, interval, estimate.notes)


def _signed_rank_p(one: _Values, other: _Values) -> float:
    """Return p with the pairs in the order of their ranks, so that the distribution of the sum is computed once."""
    with np.errstate(invalid="ignore"):
        order = np.argsort(np.abs(np.where(one == other, 0.0, one - other)))
    return signed_rank_p(one[order], other[order])


def _permutation_p(one: _Values, other: _Values, moved: Callable[[float], _Values]) -> Callable[[float], float]:
    if min(len(one), len(other)) < 2:
        return lambda _: 1.0  # there is no test
    permutations = SamePermutations(len(one), len(other), seed=0)
    return lambda value: permutations.p(moved(value), other)


def _lead(one: _Values, other: _Values) -> float:
    """Return the number of pairs of runs whose larger value is in one, minus the number of those with it in other."""
    ordered = np.sort(other)
    return float((np.searchsorted(ordered, one, "left") + np.searchsorted(ordered, one, "right") - len(other)).sum())
