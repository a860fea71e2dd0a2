"""Location and spread of one group's values, each with its interval.

Values are a float64 array (n,), in any order. Only the median, the quantiles and the IQM accept infinite values.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paramshare.stats.descriptive.divergence import scale_of
from paramshare.stats.estimate import Estimate, Interval, Note

__all__ = [
    "geometric_mean", "iqm", "looks_normal", "mean", "median", "powers_of_ten", "quantile", "sd", "too_skewed",
]  # fmt: skip

_MIN_FOR_BOOTSTRAP: Final = 10
_RESAMPLES: Final = 4000
_BLOCK: Final = 2**18  # values
_ALPHA: Final = 0.05  # of the check of normality
_MAX_FOR_SHAPIRO: Final = 5000  # values; with more its p is not accurate

_Values = NDArray[np.float64]


def mean(values: _Values, level: float) -> Estimate:
    """Return the mean with Student's t-interval at the confidence level `level`."""
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


def geometric_mean(values: _Values, level: float) -> Estimate:
    """Return the geometric mean: 10 to the power of the mean of log10. The limits are computed likewise."""
    if np.any(values <= 0):
        return Estimate(None, len(values), notes=(Note.NOT_POSITIVE,))
    return powers_of_ten(mean(np.log10(values), level))


def powers_of_ten(logs: Estimate) -> Estimate:
    """Return the estimate of a geometric mean, or of a ratio of two, from the estimate of its log10."""
    if logs.value is None or logs.interval is None:
        return Estimate(None if logs.value is None else _power(logs.value), logs.n, notes=logs.notes)
    limits = logs.interval
    interval = Interval(_power(limits.low), _power(limits.high), limits.level, f"{limits.method} of log10", limits.note)
    return Estimate(_power(logs.value), logs.n, interval, logs.notes)


def median(values: _Values, level: float) -> Estimate:
    """Return the median, with an interval between two order statistics.

    The coverage is at least `level` for any distribution. Ties and infinite values only raise the coverage.
    Source: Conover, Practical Nonparametric Statistics, 3.2.
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


def iqm(values: _Values, level: float, rng: np.random.Generator) -> Estimate:
    """Return the interquartile mean: the mean of the values without the n // 4 smallest and the n // 4 largest ones.

    The interval is the expanded percentile bootstrap, which uses more distant quantiles if n is small, since the plain
    percentile bootstrap is too narrow then. Source: Hesterberg, The American Statistician 69 (2015), 3.3.

    Args:
        values: (n,), which may be infinite.
        level: the confidence level.
        rng: the generator of the resamples.
    """
    n = len(values)
    if n == 0:
        return Estimate(None, 0, notes=(Note.NO_VALUES,))
    scale = scale_of(values[np.isfinite(values)])
    values = values / scale
    value = float(_middle_mean(np.sort(values))) * scale
    if n < _MIN_FOR_BOOTSTRAP:
        return Estimate(value, n, notes=(Note.FEW_FOR_BOOTSTRAP,))
    if values.min() == values.max():
        return Estimate(value, n, notes=(Note.CONSTANT,))
    resampled = np.sort(_resampled_middle_means(np.sort(values), rng))
    tail = float(stats.norm.sf(math.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)))
    low, high = (quantile(resampled, share) for share in (tail, 1 - tail))
    return Estimate(value, n, Interval(low * scale, high * scale, level, f"bootstrap of {_RESAMPLES}, about"))


def sd(values: _Values, level: float) -> Estimate:
    """Return the standard deviation with its chi-square interval, which is valid only for normal values."""
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


def quantile(ordered: _Values, share: float) -> float:
    """Return a quantile of sorted values by linear interpolation; infinite if a neighbour that counts is infinite.

    Args:
        ordered: (n,), sorted.
        share: the probability of the quantile, 0 to 1.
    """
    place = share * (len(ordered) - 1)
    below, above = float(ordered[math.floor(place)]), float(ordered[math.ceil(place)])
    return below if below == above else float(below * (1 - place % 1) + above * (place % 1))


def _middle_mean(ordered: NDArray[np.float64]) -> Any:
    """Return the interquartile mean over the last axis, which is sorted."""
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def _resampled_middle_means(ordered: _Values, rng: np.random.Generator) -> _Values:
    """Return the interquartile mean of each resample of sorted values, in blocks that fit into a processor's cache.

    The result does not depend on the size of a block, since the generator draws the same numbers in the same order.
    """
    n = len(ordered)
    rows = max(1, _BLOCK // n)
    sizes = [min(rows, _RESAMPLES - begin) for begin in range(0, _RESAMPLES, rows)]
    return np.concatenate([_middle_mean(ordered[np.sort(rng.integers(n, size=(size, n)), axis=1)]) for size in sizes])


def _power(log10: float) -> float:
    return float(np.float64(10.0) ** np.float64(min(max(log10, -400.0), 308.0)))


def looks_normal(values: _Values) -> bool:
    """Return whether Shapiro and Wilk's test does not reject that the values are normal. It rarely rejects few values.

    D'Agostino and Pearson's test is used for more than 5000 values.
    """
    if len(values) < 3:
        return True
    scaled = values / scale_of(values)
    if scaled.std() < 1e-9 * np.abs(scaled).max():
        return True  # the values differ by rounding only
    scaled = (scaled - scaled.mean()) / scaled.std()
    check = stats.shapiro if len(values) <= _MAX_FOR_SHAPIRO else stats.normaltest
    return bool(check(scaled).pvalue >= _ALPHA)


def too_skewed(values: _Values) -> bool:
    """Return whether n is too small for the mean of skewed values to be normal: by Cochran's rule, n <= 25 G1².

    Values that look normal are never too skewed, since G1 of few values is not reliable.
    Source: Cochran, Sampling Techniques, 2.15.
    """
    return not looks_normal(values) and len(values) <= 25 * float(stats.skew(values / scale_of(values))) ** 2
