"""Compare two groups whose runs are not pairs: they have different seeds, or the runs of a seed do not start alike."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paramshare.stats.comparison import Comparison, alpha_of
from paramshare.stats.descriptive.divergence import Better, scale_of, with_worst
from paramshare.stats.descriptive.effect import standardized
from paramshare.stats.descriptive.location import looks_normal, powers_of_ten, too_skewed
from paramshare.stats.estimate import Estimate, Interval, Note
from paramshare.stats.rank_tests.hodges_lehmann import ratio_of_groups, shift_of_groups
from paramshare.stats.rank_tests.power import rank_power_of_groups
from paramshare.stats.rank_tests.ranks import Superiority, studentized_permutation_p

__all__ = ["Unpaired", "compare_unpaired"]

_ALPHA: Final = 0.05  # of the check of equal variances


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaired(Comparison):
    """The comparison of two groups without pairs. The effect is Hedges' g: the difference in pooled deviations.

    Args:
        n_one, n_other: the number of runs of each group.
        finite_one, finite_other: the number of runs of each group that did not diverge.
    """

    n_one: int
    n_other: int
    finite_one: int
    finite_other: int


def compare_unpaired(
    one: Iterable[float],
    other: Iterable[float],
    *,
    better: Better = "lower",
    level: float = 0.95,
    interest: float = 0.8,
    target: float = 0.8,
    family: int = 1,
    seed: int = 0,
) -> Unpaired:
    """Compare two groups whose runs are not pairs.

    The test is Neubert and Brunner's studentized permutation test, which counts diverged runs.

    Args:
        one, other: the value of each finished run; not finite if the run diverged.
        better: the better direction. Defaults to lower.
        level: the confidence level of the intervals; alpha is 1 − level. Defaults to 0.95.
        interest: the smallest standardized difference (g) of interest. Defaults to 0.8.
        target: the required power. Defaults to 0.8.
        family: the number of comparisons that are made at once. The power is that of Holm's first step, at
            alpha / family. Defaults to 1.
        seed: the seed of the permutations, which are drawn if there are too many for all of them. Defaults to 0.

    Raises:
        UsageError: `better`, `level`, `interest`, `target` or `family` is out of range.
    """
    alpha = alpha_of(level)
    first, second = with_worst(one, better), with_worst(other, better)
    numbers, others = first[np.isfinite(first)], second[np.isfinite(second)]
    n, m = len(first), len(second)
    diverged = len(numbers) + len(others) < n + m
    notes = (Note.DIVERGED_OUT,) if diverged else ()
    counted = (Note.DIVERGED_WORST,) if diverged else ()
    beats = _beats(first, second, better, level).noted(*counted)
    p = studentized_permutation_p(first, second, np.random.default_rng(seed)) if min(n, m) >= 2 else 1.0
    return Unpaired(
        n_one=n,
        n_other=m,
        finite_one=len(numbers),
        finite_other=len(others),
        difference=_difference(numbers, others, level).noted(*notes),
        ratio=_ratio(numbers, others, level).noted(*notes),
        beats=beats,
        ahead=None if beats.value in (None, 0.5) else beats.value > 0.5,
        effect=_effect(numbers, others, level).noted(*notes),
        p=p,
        test="studentized permutation",
        hl_difference=shift_of_groups(first, second, p, level, alpha).noted(*counted),
        hl_ratio=ratio_of_groups(first, second, p, level, alpha).noted(*counted),
        alpha=alpha,
        power=rank_power_of_groups(n, m, interest, alpha_of(level, family), target),
    )


def _difference(one: NDArray[np.float64], other: NDArray[np.float64], level: float) -> Estimate:
    """Return the difference of the means with Welch's t-interval."""
    n, m = len(one), len(other)
    if min(n, m) == 0:
        return Estimate(None, n + m, notes=(Note.NO_VALUES,))
    scale = scale_of(one, other)
    one, other = one / scale, other / scale
    value = float(one.mean() - other.mean())
    if min(n, m) == 1:
        return Estimate(value * scale, n + m, notes=(Note.ONE_VALUE,))
    constant = [group.min() == group.max() for group in (one, other)]
    if all(constant):
        return Estimate(value * scale, n + m, notes=(Note.CONSTANT,))
    parts = (0.0 if constant[0] else one.var(ddof=1) / n, 0.0 if constant[1] else other.var(ddof=1) / m)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(sum(parts))
    skewed = any(too_skewed(group) for group, same in zip((one, other), constant, strict=True) if not same)
    note = Note.ONE_CONSTANT if any(constant) else Note.NOT_NORMAL if skewed else None
    return Estimate(
        value * scale, n + m, Interval((value - half) * scale, (value + half) * scale, level, "Welch", note)
    )


def _ratio(one: NDArray[np.float64], other: NDArray[np.float64], level: float) -> Estimate:
    if np.any(one <= 0) or np.any(other <= 0):
        return Estimate(None, len(one) + len(other), notes=(Note.NOT_POSITIVE,))
    return powers_of_ten(_difference(np.log10(one), np.log10(other), level))


def _beats(one: NDArray[np.float64], other: NDArray[np.float64], better: Better, level: float) -> Estimate:
    """Return the win rate, Mann and Whitney's U as a share, with a score interval.

    The interval is Wilson's for the number of trials that has the estimate's variance. The variance is that of the
    placements (DeLong; Brunner and Munzel). Its ratio to share (1 − share) is fixed and at most 1 / the size of the
    smaller group (Birnbaum and Klose 1957). If one group wins every time, the estimated variance is 0, and the maximum
    ratio is used. The quantile is that of the t distribution with Satterthwaite's degrees of freedom.
    Source of the idea: Schüürhuis, Konietschke and Brunner, Biometrical Journal 67 (2025).
    """
    n, m = len(one), len(other)
    if min(n, m) == 0:
        return Estimate(None, n + m, notes=(Note.NO_VALUES,))
    if better == "lower":
        one, other = -one, -other
    ties = (Note.TIES,) if np.isin(one, other).any() else ()
    if min(n, m) == 1:
        wins = float(np.mean((one[:, None] > other) + (one[:, None] == other) / 2))
        return Estimate(wins, n + m, notes=(*ties, Note.ONE_VALUE))
    superiority = Superiority.of(one, other)
    share = superiority.share
    if one.min() == one.max() == other.min() == other.max():
        return Estimate(0.5, n + m, notes=(*ties, Note.CONSTANT))
    max_ratio = 1 / min(n, m)
    if superiority.freedom is None:
        ratio, freedom = max_ratio, float(min(n, m) - 1)
    else:
        ratio, freedom = min(max_ratio, superiority.variance / (share * (1 - share))), superiority.freedom
    spread = float(stats.t.ppf((1 + level) / 2, freedom)) ** 2 * ratio
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    note = Note.ONE_SIDED if share in (0, 1) else None
    return Estimate(share, n + m, Interval(low, high, level, "score of placements, about", note), ties)


def _effect(one: NDArray[np.float64], other: NDArray[np.float64], level: float) -> Estimate:
    n, m = len(one), len(other)
    if min(n, m) < 2:
        return Estimate(None, n + m, notes=(Note.FEW_FOR_EFFECT,))
    scale = scale_of(one, other)
    one, other = one / scale, other / scale
    if one.min() == one.max() and other.min() == other.max():
        return Estimate(None, n + m, notes=(Note.CONSTANT,))
    runs, freedom = n * m / (n + m), n + m - 2
    pooled = math.sqrt(((n - 1) * one.var(ddof=1) + (m - 1) * other.var(ddof=1)) / freedom)
    t = float(one.mean() - other.mean()) / pooled * math.sqrt(runs)
    value, interval = standardized(t, freedom, runs, level, _doubt(one, other))
    return Estimate(value, n + m, interval)


def _doubt(one: NDArray[np.float64], other: NDArray[np.float64]) -> Note | None:
    """Return a note if the variances differ (Levene's test with medians) or a group is not normal; None otherwise."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p = float(stats.levene(one, other, center="median").pvalue)
    if p < _ALPHA:
        return Note.OTHER_SPREAD
    return None if looks_normal(one) and looks_normal(other) else Note.NOT_NORMAL
