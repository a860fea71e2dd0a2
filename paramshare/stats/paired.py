"""Compare two groups with common seeds. The two runs of a seed start alike, so their difference is compared."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paramshare.stats.comparison import Comparison, alpha_of
from paramshare.stats.descriptive.divergence import Better, scale_of, with_worst
from paramshare.stats.descriptive.effect import standardized
from paramshare.stats.descriptive.location import looks_normal, mean, median, powers_of_ten
from paramshare.stats.estimate import Estimate, Interval, Note
from paramshare.stats.rank_tests.hodges_lehmann import ratio_of_pairs, shift_of_pairs
from paramshare.stats.rank_tests.power import rank_power_of_pairs
from paramshare.stats.rank_tests.ranks import signed_rank_p, signed_rank_sum

__all__ = ["Paired", "compare_paired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired(Comparison):
    """The comparison of two groups by seed. The effect is Cohen's d_z: the mean difference in its standard deviations.

    Args:
        n: the number of pairs.
        finite: the number of pairs of which neither run diverged.
        left_out: the number of seeds that only one group has.
        median_difference: the median of the differences, one − other, of all pairs except those whose runs both
            diverged.
    """

    n: int
    finite: int
    left_out: int
    median_difference: Estimate


def compare_paired(
    one: Mapping[int, float],
    other: Mapping[int, float],
    *,
    better: Better = "lower",
    level: float = 0.95,
    interest: float = 0.8,
    target: float = 0.8,
    family: int = 1,
) -> Paired:
    """Compare two groups whose runs have common seeds.

    The test is Wilcoxon's exact signed-rank test, which is valid for any n and counts diverged runs.

    Args:
        one, other: the value of each finished run by its seed; not finite if the run diverged.
        better: the better direction. Defaults to lower.
        level: the confidence level of the intervals; alpha is 1 − level. Defaults to 0.95.
        interest: the smallest standardized difference (d_z) of interest. Defaults to 0.8.
        target: the required power. Defaults to 0.8.
        family: the number of comparisons that are made at once. The power is that of Holm's first step, at
            alpha / family. Defaults to 1.

    Raises:
        UsageError: `better`, `level`, `interest`, `target` or `family` is out of range.
    """
    alpha = alpha_of(level)
    seeds = sorted(one.keys() & other.keys())
    left_out = len(one.keys() ^ other.keys())
    first, second = (with_worst((group[seed] for seed in seeds), better) for group in (one, other))
    finite = np.isfinite(first) & np.isfinite(second)
    on_seeds = (Note.SEEDS_OUT,) if left_out else ()
    notes = (*on_seeds, *((Note.DIVERGED_OUT,) if not finite.all() else ()))
    counted = (*on_seeds, *((Note.DIVERGED_WORST,) if not finite.all() else ()))
    differences = _differences(first[finite], second[finite])
    rank_sum = signed_rank_sum(first, second)
    p = signed_rank_p(first, second)
    return Paired(
        n=len(seeds),
        finite=int(finite.sum()),
        left_out=left_out,
        difference=mean(differences, level).noted(*notes),
        median_difference=_median(first, second, level).noted(*counted),
        ratio=_ratio(first[finite], second[finite], level).noted(*notes),
        beats=_beats(first, second, better, level).noted(*counted),
        ahead=(rank_sum < 0) == (better == "lower") if rank_sum else None,
        effect=_effect(differences, level).noted(*notes),
        p=p,
        test="signed-rank, exact",
        hl_difference=shift_of_pairs(first, second, p, level, alpha).noted(*counted),
        hl_ratio=ratio_of_pairs(first, second, p, level, alpha).noted(*counted),
        alpha=alpha,
        power=rank_power_of_pairs(len(seeds), interest, alpha_of(level, family), target),
    )


def _differences(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return first − second, (n,). Differences that vary only by rounding, as of decimal fractions, are made equal."""
    differences = first - second
    largest = np.abs([first, second]).max(initial=0.0)
    same = len(differences) > 0 and np.ptp(differences) <= 8 * np.finfo(np.float64).eps * largest
    return np.full_like(differences, np.median(differences)) if same else differences


def _median(first: NDArray[np.float64], second: NDArray[np.float64], level: float) -> Estimate:
    is_defined = np.isfinite(first) | np.isfinite(second)
    return median(first[is_defined] - second[is_defined], level)


def _ratio(first: NDArray[np.float64], second: NDArray[np.float64], level: float) -> Estimate:
    if np.any(first <= 0) or np.any(second <= 0):
        return Estimate(None, len(first), notes=(Note.NOT_POSITIVE,))
    return powers_of_ten(mean(_differences(np.log10(first), np.log10(second)), level))


def _beats(first: NDArray[np.float64], second: NDArray[np.float64], better: Better, level: float) -> Estimate:
    """Return the share of pairs that the first group wins, with Clopper and Pearson's interval.

    Its coverage is at least `level`. The coverage of Wilson's interval is lower for few pairs: after five wins in five
    pairs it excludes 50 %, which no exact test of five pairs can. Ties count half, which has a smaller variance than
    wins and losses, so ties only raise the coverage.
    """
    n = len(first)
    if n == 0:
        return Estimate(None, 0, notes=(Note.NO_VALUES,))
    wins = int((first < second).sum() if better == "lower" else (first > second).sum())
    ties = int((first == second).sum())
    won = wins + ties / 2
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, won, n - won + 1)) if won > 0 else 0.0
    high = float(stats.beta.isf(tail, won + 1, n - won)) if won < n else 1.0
    interval = Interval(low, high, level, "Clopper-Pearson, at least", Note.ONE_SIDED if won in (0, n) else None)
    return Estimate(won / n, n, interval, (Note.TIES,) if ties else ())


def _effect(differences: NDArray[np.float64], level: float) -> Estimate:
    n = len(differences)
    if n < 3:
        return Estimate(None, n, notes=(Note.FEW_FOR_EFFECT,))
    scaled = differences / scale_of(differences)
    if scaled.min() == scaled.max():
        return Estimate(None, n, notes=(Note.CONSTANT,))
    t = float(scaled.mean() / scaled.std(ddof=1)) * math.sqrt(n)
    note = None if looks_normal(differences) else Note.NOT_NORMAL
    value, interval = standardized(t, n - 1, n, level, note)
    return Estimate(value, n, interval)
