"""The middle and the spread of one group's values, each with its interval.

Values are a float64 array (n,), in any order. Only the median, the quantiles and the IQM take infinite ones.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paramshare.stats.divergence import scale_of
from paramshare.stats.estimate import Estimate, Interval, Note

__all__ = [
    "geometric_mean", "iqm", "looks_normal", "mean", "median", "powers_of_ten", "quantile", "sd", "too_skewed",
]  # fmt: skip

LEAST_FOR_BOOTSTRAP: Final = 10
RESAMPLES: Final = 4000
_BLOCK: Final = 2**18  # values
_ALPHA = 0.05  # of the check of normality
_MOST_FOR_SHAPIRO = 5000  # values: beyond, its p is not accurate

Values = NDArray[np.float64]


def mean(values: Values, level: float) -> Estimate:
    """The mean with Student's t-interval."""
    n = len(values)
    if n == 0:
        return Estimate(None, 0, notes=(Note.NO_VALUES,))
    if n == 1 or values.min() == values.max():
        return Estimate(float(values[0]), n, notes=(Note.ONE_VALUE if n == 1 else Note.CONSTANT,))
    scale = scale_of(values)
    value = float(np.mean(values / scale))
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(values / scale, ddof=1)) / math.sqrt(n)
    note = Note.NOT_NORMAL if too_skewed(values) else None
    return Estimate(value * scale, n, Interval((value - half) * scale, (value + half) * scale, level, "t", note))


def geometric_mean(values: Values, level: float) -> Estimate:
    """The geometric mean: ten to the mean of log10, limits likewise."""
    if np.any(values <= 0):
        return Estimate(None, len(values), notes=(Note.NOT_POSITIVE,))
    return powers_of_ten(mean(np.log10(values), level))


def powers_of_ten(logs: Estimate) -> Estimate:
    """The estimate of a geometric mean, or of a ratio of two, from that of its log10."""
    if logs.value is None or logs.interval is None:
        return Estimate(None if logs.value is None else _power(logs.value), logs.n, notes=logs.notes)
    of = logs.interval
    interval = Interval(_power(of.low), _power(of.high), of.level, f"{of.method} of log10", of.note)
    return Estimate(_power(logs.value), logs.n, interval, logs.notes)


def median(values: Values, level: float) -> Estimate:
    """The median, between the two order statistics that hold it at least at `level`, whatever the distribution.

    Source: Conover, Practical Nonparametric Statistics, 3.2. Ties and infinite values only raise the coverage.
    """
    n = len(values)
    if n == 0:
        return Estimate(None, 0, notes=(Note.NO_VALUES,))
    ordered = np.sort(values)
    value = quantile(ordered, 0.5)
    below = int(stats.binom.ppf((1 - level) / 2, n, 0.5))  # P(at most below - 1 of n are smaller) < (1 - level) / 2
    if below == 0:
        return Estimate(value, n, notes=(Note.FEW_FOR_ORDER,))
    low, high = float(ordered[below - 1]), float(ordered[n - below])
    return Estimate(value, n, Interval(low, high, level, "order statistics, at least"))


def iqm(values: Values, level: float, rng: np.random.Generator) -> Estimate:
    """The interquartile mean: of what is left when a quarter of n, rounded down, is cut off at either end.

    The interval is the expanded percentile bootstrap (Hesterberg 2015, The American Statistician 69, 3.3), which takes
    further quantiles at small n since the plain percentile bootstrap is too narrow there.

    Args:
        rng: draws the resamples.
    """
    n = len(values)
    if n == 0:
        return Estimate(None, 0, notes=(Note.NO_VALUES,))
    scale = scale_of(values[np.isfinite(values)])
    values = values / scale
    value = float(_middle_mean(np.sort(values))) * scale
    if n < LEAST_FOR_BOOTSTRAP:
        return Estimate(value, n, notes=(Note.FEW_FOR_BOOTSTRAP,))
    if values.min() == values.max():
        return Estimate(value, n, notes=(Note.CONSTANT,))
    resampled = np.sort(_resampled_middle_means(np.sort(values), rng))
    tail = float(stats.norm.sf(math.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)))
    low, high = (quantile(resampled, share) for share in (tail, 1 - tail))
    return Estimate(value, n, Interval(low * scale, high * scale, level, f"bootstrap of {RESAMPLES}, about"))


def sd(values: Values, level: float) -> Estimate:
    """The standard deviation with its chi-square interval, which holds for normal values only, at any n."""
    n = len(values)
    if n < 2:
        return Estimate(None, n, notes=(Note.ONE_VALUE if n else Note.NO_VALUES,))
    if values.min() == values.max():
        return Estimate(0.0, n, notes=(Note.CONSTANT,))
    scale = scale_of(values)
    value = float(np.std(values / scale, ddof=1)) * scale
    high, low = (
        value * math.sqrt((n - 1) / stats.chi2.ppf(tail, n - 1)) for tail in ((1 - level) / 2, (1 + level) / 2)
    )
    note = None if looks_normal(values) else Note.NOT_NORMAL
    return Estimate(value, n, Interval(low, high, level, "chi-square", note))


def quantile(ordered: Values, share: float) -> float:
    """That of sorted values, between two neighbours by linear interpolation; infinite if either counts and is."""
    at = share * (len(ordered) - 1)
    below, above = float(ordered[math.floor(at)]), float(ordered[math.ceil(at)])
    return below if below == above else float(below * (1 - at % 1) + above * (at % 1))


def _middle_mean(ordered: NDArray[np.float64]) -> Any:
    """Over the last axis, sorted."""
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def _resampled_middle_means(ordered: Values, rng: np.random.Generator) -> Values:
    """Return the interquartile mean of each resample of sorted values, in blocks that fit into a processor's cache.

    The numbers do not depend on the size of a block: the generator draws the same ones in the same order.
    """
    n = len(ordered)
    rows = max(1, _BLOCK // n)
    sizes = [min(rows, RESAMPLES - begin) for begin in range(0, RESAMPLES, rows)]
    return np.concatenate([_middle_mean(ordered[np.sort(rng.integers(n, size=(size, n)), axis=1)]) for size in sizes])


def _power(log10: float) -> float:
    return float(np.float64(10.0) ** np.float64(min(max(log10, -400.0), 308.0)))


def looks_normal(values: Values) -> bool:
    """Whether Shapiro and Wilk's test finds nothing; with few values it finds little."""
    if len(values) < 3:
        return True
    scaled = values / scale_of(values)
    if scaled.std() < 1e-9 * np.abs(scaled).max():
        return True  # what is left is rounding
    scaled = (scaled - scaled.mean()) / scaled.std()
    check = stats.shapiro if len(values) <= _MOST_FOR_SHAPIRO else stats.normaltest
    return bool(check(scaled).pvalue >= _ALPHA)


def too_skewed(values: Values) -> bool:
    """Whether n is too small for the mean of such values to be normal: Cochran's rule, n > 25 G1^2.

    Source: Cochran, Sampling Techniques, 2.15. Values that look normal are none such: with few, G1 says little.
    """
    return not looks_normal(values) and len(values) <= 25 * float(stats.skew(values / scale_of(values))) ** 2
