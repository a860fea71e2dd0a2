"""Two groups whose runs have nothing in common: seeds of their own, or starts that do not match."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paramshare.stats.comparison import Comparison, alpha_of
from paramshare.stats.divergence import Better, scale_of, with_worst
from paramshare.stats.effect import standardized
from paramshare.stats.estimate import Estimate, Interval, Note
from paramshare.stats.hodges_lehmann import ratio_of_groups, shift_of_groups
from paramshare.stats.location import looks_normal, powers_of_ten, too_skewed
from paramshare.stats.power import rank_power_of_groups
from paramshare.stats.ranks import Superiority, studentized_permutation_p

__all__ = ["Unpaired", "compare_unpaired"]

_ALPHA = 0.05  # of the check of equal spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaired(Comparison):
    """One group against another, run by run. The effect is Hedges' g: the difference over the pooled deviation.

    Args:
        n_one, n_other: how many runs each has.
        finite_one, finite_other: how many of them did not diverge.
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
    """Hold one group against another whose runs are not its runs' pairs.

    The test is Neubert and Brunner's studentized permutation test, which counts diverged runs.

    Args:
        one, other: each finished run's value; one that is not finite is a run that diverged.
        better: which values are.
        level: of the intervals; alpha is 1 less it.
        interest: the standardized difference (g) that one would want to find.
        target: the power that is asked for.
        family: how many comparisons are made at once: power is that of Holm's first step, at alpha / family.
        seed: of the permutations, where there are too many to go through.

    Raises:
        UsageError: `better`, `level`, `interest`, `target` or `family` is none.
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
    """Of the means, with Welch's t-interval."""
    n, m = len(one), len(other)
    if min(n, m) == 0:
        return Estimate(None, n + m, notes=(Note.NO_VALUES,))
    scale = scale_of(one, other)
    one, other = one / scale, other / scale
    value = float(one.mean() - other.mean())
    if min(n, m) == 1:
        return Estimate(value * scale, n + m, notes=(Note.ONE_VALUE,))
    same = [group.min() == group.max() for group in (one, other)]
    if all(same):
        return Estimate(value * scale, n + m, notes=(Note.CONSTANT,))
    parts = (0.0 if same[0] else one.var(ddof=1) / n, 0.0 if same[1] else other.var(ddof=1) / m)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(sum(parts))
    skewed = any(too_skewed(group) for group, constant in zip((one, other), same, strict=True) if not constant)
    note = Note.ONE_CONSTANT if any(same) else Note.NOT_NORMAL if skewed else None
    return Estimate(
        value * scale, n + m, Interval((value - half) * scale, (value + half) * scale, level, "Welch", note)
    )


def _ratio(one: NDArray[np.float64], other: NDArray[np.float64], level: float) -> Estimate:
    if np.any(one <= 0) or np.any(other <= 0):
        return Estimate(None, len(one) + len(other), notes=(Note.NOT_POSITIVE,))
    return powers_of_ten(_difference(np.log10(one), np.log10(other), level))


def _beats(one: NDArray[np.float64], other: NDArray[np.float64], better: Better, level: float) -> Estimate:
    """Mann and Whitney's U as a share, with a score interval: Wilson's for as many trials as the variance is worth.

    The variance is that of the placements (DeLong; Brunner and Munzel), its ratio to share (1 - share) is held fixed,
    and is at most 1 / the smaller group's size (Birnbaum and Klose 1957): that is what it is taken for where one group
    wins every time and its estimate is 0. The quantile is t's, at Satterthwaite's degrees of freedom.
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
    found = Superiority.of(one, other)
    if one.min() == one.max() == other.min() == other.max():
        return Estimate(0.5, n + m, notes=(*ties, Note.CONSTANT))
    most = 1 / min(n, m)
    if found.freedom is None:
        ratio, freedom = most, float(min(n, m) - 1)
    else:
        ratio, freedom = min(most, found.variance / (found.share * (1 - found.share))), found.freedom
    far = float(stats.t.ppf((1 + level) / 2, freedom)) ** 2 * ratio
    middle = (found.share + far / 2) / (1 + far)
    half = math.sqrt(far * found.share * (1 - found.share) + far**2 / 4) / (1 + far)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    note = Note.ONE_SIDED if found.share in (0, 1) else None
    return Estimate(found.share, n + m, Interval(low, high, level, "score of placements, about", note), ties)


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
    """What speaks against one normal distribution's spread in both groups."""
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = float(stats.levene(one, other, center="median").pvalue)
    if spread < _ALPHA:
        return Note.OTHER_SPREAD
    return None if looks_normal(one) and looks_normal(other) else Note.NOT_NORMAL
