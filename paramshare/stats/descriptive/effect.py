"""Standardized effects: a difference in standard deviations, with the interval of the noncentral t distribution.

Source: Hedges, Journal of Educational Statistics 6 (1981); Cumming and Finch, Educational and Psychological
Measurement 61 (2001). SciPy's noncentral t is not used, since its series does not converge for very large effects.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from paramshare.stats.estimate import Interval, Note

__all__ = ["noncentral_t_cdf", "standardized"]

_POINTS = 2000


def standardized(
    t: float, freedom: float, runs: float, level: float, note: Note | None = None
) -> tuple[float, Interval]:
    """Return the standardized effect of a t statistic.

    Args:
        t: the mean difference divided by its standard error.
        freedom: the degrees of freedom of the standard deviation, above 1, since Hedges' correction is 0 at 1.
        runs: the number of pairs; for two groups half the harmonic mean of their sizes. t is the effect times √runs.
        level: the confidence level of the interval.
        note: a reason against the interval. Defaults to None.

    Returns:
        The effect with Hedges' correction, without which few runs overestimate it, and the interval of the true effect.
    """
    tail, root = (1 - level) / 2, math.sqrt(runs)
    low, high = (_noncentrality(t, freedom, share) / root for share in (1 - tail, tail))
    correction = math.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return correction * t / root, Interval(low, high, level, "noncentral t", note)


def noncentral_t_cdf(t: float, freedom: float, noncentrality: float) -> float:
    """Return P(T <= t) for T = (Z + noncentrality) / U, Z standard normal, U² chi-square over its degrees of freedom.

    The result is the mean of P(Z <= t U − noncentrality) over U by the midpoint rule on the quantiles of U. Its error
    is below 3e-5 for any t.
    """
    return float(special.ndtr(t * _chi_quantiles(freedom) - noncentrality).mean())


def _noncentrality(t: float, freedom: float, share: float) -> float:
    """Return the noncentrality for which P(T <= t) is `share`."""
    far = 40 + 40 * abs(t)
    return float(optimize.brentq(lambda nc: noncentral_t_cdf(t, freedom, nc) - share, -far, far, xtol=1e-10))


@lru_cache(maxsize=64)
def _chi_quantiles(freedom: float) -> NDArray[np.float64]:
    shares = (np.arange(_POINTS) + 0.5) / _POINTS
    return np.sqrt(np.asarray(stats.chi2.ppf(shares, freedom)) / freedom)
