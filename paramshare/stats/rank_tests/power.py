"""Power: the probability to detect a difference, the number of runs needed, and the smallest detectable effect.

The formulas are those of the two-sided t-test of normal values, by the noncentral t distribution (Cohen, Statistical
Power Analysis, 1988). For normal values a rank test has the power of a t-test of 3 / π = 0.955 times as many runs
(Pitman's asymptotic relative efficiency), and it needs enough runs for its p to be below alpha at all. With both rules
the formulas agree with the simulated power of the tests in `ranks`.

Effects are standardized: the difference is divided by the standard deviation of the pairs' differences, or for two
groups by the standard deviation of their values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scipy import optimize, stats

from paramshare.errors import UsageError
from paramshare.stats.descriptive.effect import noncentral_t_cdf
from paramshare.stats.rank_tests.ranks import smallest_p_of_groups, smallest_p_of_pairs

__all__ = [
    "Power", "group_size_needed", "pairs_needed", "power_of_groups", "power_of_pairs",
    "rank_power_of_groups", "rank_power_of_pairs",
]  # fmt: skip

_RANK_EFFICIENCY: Final = 3 / math.pi
"""The asymptotic relative efficiency of a rank test."""

_MAX_EFFECT: Final = 1000.0  # standard deviations


@dataclass(frozen=True, slots=True)
class Power:
    """The power of a comparison's test with the given number of runs.

    Args:
        interest: the smallest standardized difference of interest.
        chance: the power at this difference: the probability to detect it.
        needed: the number of pairs, or of runs in each of two equally large groups, that detects it with the power
            `target`.
        detectable: the smallest difference that is detected with the power `target`; None if no difference is.
        smallest_p: the smallest p that so many runs can have.
        alpha: the significance level; for several comparisons that of Holm's first step.
        target: the required power.
    """

    interest: float
    chance: float
    needed: int
    detectable: float | None
    smallest_p: float
    alpha: float
    target: float

    @property
    def enough(self) -> bool:
        """Return whether the power at the difference of interest is at least the required power."""
        return self.chance >= self.target


def power_of_pairs(effect: float, pairs: float, alpha: float = 0.05) -> float:
    """Return the power of the t-test of `pairs` differences at a mean difference of `effect` standard deviations."""
    return _power(effect * math.sqrt(pairs), pairs - 1, alpha)


def power_of_groups(effect: float, n: float, m: float, alpha: float = 0.05) -> float:
    """Return the power of the t-test of groups of `n` and `m` runs at a difference of `effect` standard deviations."""
    return _power(effect * math.sqrt(n * m / (n + m)), n + m - 2, alpha) if min(n, m) > 0 else 0.0


def pairs_needed(effect: float, alpha: float = 0.05, target: float = 0.8, *, by_ranks: bool = False) -> int:
    """Return the smallest number of pairs that detects a difference with the required power.

    Args:
        effect: the standardized difference, above 0.
        alpha: the significance level. Defaults to 0.05.
        target: the required power. Defaults to 0.8.
        by_ranks: if true, the test is the signed-rank test; otherwise the t-test. Defaults to False.

    Raises:
        UsageError: a value is out of range.
    """
    power = _rank_pairs if by_ranks else power_of_pairs
    return _fewest(lambda n: power(effect, n, alpha) >= target, effect, alpha, target)


def group_size_needed(effect: float, alpha: float = 0.05, target: float = 0.8, *, by_ranks: bool = False) -> int:
    """Return the smallest number of runs per group that detects a difference with the required power.

    See `pairs_needed` for the arguments; by ranks, the test is the studentized permutation test.
    """
    power = _rank_groups if by_ranks else power_of_groups
    return _fewest(lambda n: power(effect, n, n, alpha) >= target, effect, alpha, target)


def rank_power_of_pairs(pairs: int, interest: float, alpha: float, target: float) -> Power:
    """Return the power of the signed-rank test.

    Args:
        pairs: the number of pairs.
        interest: the smallest standardized difference of interest.
        alpha: the significance level.
        target: the required power.
    """
    return Power(
        interest=interest,
        chance=_rank_pairs(interest, pairs, alpha),
        needed=pairs_needed(interest, alpha, target, by_ranks=True),
        detectable=_smallest(lambda effect: _rank_pairs(effect, pairs, alpha) - target),
        smallest_p=smallest_p_of_pairs(pairs),
        alpha=alpha,
        target=target,
    )


def rank_power_of_groups(n: int, m: int, interest: float, alpha: float, target: float) -> Power:
    """Return the power of the studentized permutation test of groups of n and m runs.

    See `rank_power_of_pairs` for the other arguments.
    """
    return Power(
        interest=interest,
        chance=_rank_groups(interest, n, m, alpha),
        needed=group_size_needed(interest, alpha, target, by_ranks=True),
        detectable=_smallest(lambda effect: _rank_groups(effect, n, m, alpha) - target),
        smallest_p=smallest_p_of_groups(n, m),
        alpha=alpha,
        target=target,
    )


def _power(noncentrality: float, freedom: float, alpha: float) -> float:
    if freedom <= 0:
        return 0.0
    critical = float(stats.t.isf(alpha / 2, freedom))
    below = noncentral_t_cdf(critical, freedom, noncentrality)
    return 1 - below + noncentral_t_cdf(-critical, freedom, noncentrality)


def _rank_pairs(effect: float, pairs: int, alpha: float) -> float:
    return power_of_pairs(effect, pairs * _RANK_EFFICIENCY, alpha) if smallest_p_of_pairs(pairs) <= alpha else 0.0


def _rank_groups(effect: float, n: int, m: int, alpha: float) -> float:
    possible = smallest_p_of_groups(n, m) <= alpha
    return power_of_groups(effect, n * _RANK_EFFICIENCY, m * _RANK_EFFICIENCY, alpha) if possible else 0.0


def _fewest(enough: Callable[[int], bool], effect: float, alpha: float, target: float) -> int:
    """Return the smallest n >= 2 for which `enough` is true, as it is for all larger n."""
    if not effect > 0:
        raise UsageError(f"no number of runs detects a difference of {effect}; use a standardized difference above 0")
    if not 0 < alpha < target < 1:
        raise UsageError(f"alpha={alpha}, power={target} is out of range; use 0 < alpha < power < 1")
    high = 2
    while not enough(high):
        high *= 2
    low = high // 2  # not enough, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _smallest(surplus: Callable[[float], float]) -> float | None:
    """Return the effect at which the power is the target: the root of `surplus`, the power minus the target."""
    return None if surplus(_MAX_EFFECT) < 0 else float(optimize.brentq(surplus, 0.0, _MAX_EFFECT))
