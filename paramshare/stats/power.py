"""What so many runs can show: the chance to find a difference, the runs that it takes, the smallest that is found.

Of the two-sided t-test at normal values, by the noncentral t (Cohen 1988). A test by ranks is worth a t-test of
3 / pi = 0.955 as many runs there (Pitman's asymptotic relative efficiency), and needs runs enough for its p to get
below alpha at all; with both the formula meets the power of the tests in `ranks` that is simulated.

Effects are standardized: a difference in units of x is divided by the standard deviation of the pairs' differences, or
for two groups by that of their values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scipy import optimize, stats

from paramshare.errors import UsageError
from paramshare.stats.effect import noncentral_t_cdf
from paramshare.stats.ranks import smallest_p_of_groups, smallest_p_of_pairs

__all__ = [
    "BY_RANKS", "Power", "group_size_needed", "pairs_needed", "power_of_groups", "power_of_pairs",
    "rank_power_of_groups", "rank_power_of_pairs",
]  # fmt: skip

BY_RANKS: Final = 3 / math.pi
"""The efficiency of a test by ranks."""

_LARGEST = 1000.0  # standard deviations: no difference is larger


@dataclass(frozen=True, slots=True)
class Power:
    """What the comparison's test can show with the runs that there are.

    Args:
        interest: the standardized difference that one would want to find.
        chance: the probability to find it.
        needed: pairs, or runs in each of two groups as large as each other, that find it with probability `target`.
        detectable: the smallest difference that is found with probability `target`; None where none is, however large.
        smallest_p: the smallest p that so many runs can give.
        alpha: below which p must fall, Holm's first step among many comparisons.
        target: the probability to find a difference that is asked for.
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
        """Whether the difference of interest is found with the probability asked for."""
        return self.chance >= self.target


def power_of_pairs(effect: float, pairs: float, alpha: float = 0.05) -> float:
    """The chance that the t-test of `pairs` differences finds a mean difference of `effect` of their deviations."""
    return _power(effect * math.sqrt(pairs), pairs - 1, alpha)


def power_of_groups(effect: float, n: float, m: float, alpha: float = 0.05) -> float:
    """The chance that the t-test of groups of `n` and `m` finds means that are `effect` deviations apart."""
    return _power(effect * math.sqrt(n * m / (n + m)), n + m - 2, alpha) if min(n, m) > 0 else 0.0


def pairs_needed(effect: float, alpha: float = 0.05, target: float = 0.8, *, by_ranks: bool = False) -> int:
    """The fewest pairs that find `effect` with probability `target`: by the t-test, or by the signed-rank test."""
    power = _rank_pairs if by_ranks else power_of_pairs
    return _fewest(lambda n: power(effect, n, alpha) >= target, effect, alpha, target)


def group_size_needed(effect: float, alpha: float = 0.05, target: float = 0.8, *, by_ranks: bool = False) -> int:
    """The fewest runs in each of two groups that find `effect` with probability `target`: t-test, or by ranks."""
    power = _rank_groups if by_ranks else power_of_groups
    return _fewest(lambda n: power(effect, n, n, alpha) >= target, effect, alpha, target)


def rank_power_of_pairs(pairs: int, interest: float, alpha: float, target: float) -> Power:
    """What the signed-rank test of so many pairs can show."""
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
    """What the studentized permutation test of groups of n and m runs can show."""
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
    return power_of_pairs(effect, pairs * BY_RANKS, alpha) if smallest_p_of_pairs(pairs) <= alpha else 0.0


def _rank_groups(effect: float, n: int, m: int, alpha: float) -> float:
    possible = smallest_p_of_groups(n, m) <= alpha
    return power_of_groups(effect, n * BY_RANKS, m * BY_RANKS, alpha) if possible else 0.0


def _fewest(enough: Callable[[int], bool], effect: float, alpha: float, target: float) -> int:
    """The smallest n from 2 on that is enough; all larger ones are."""
    if not effect > 0:
        raise UsageError(f"a difference of {effect}: no number of runs shows it; give a standardized one above 0")
    if not 0 < alpha < target < 1:
        raise UsageError(f"alpha={alpha}, power={target}: both lie between 0 and 1, alpha below the power")
    high = 2
    while not enough(high):
        high *= 2
    low = high // 2  # not enough, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _smallest(surplus: Callable[[float], float]) -> float | None:
    """The effect whose power is the target."""
    return None if surplus(_LARGEST) < 0 else float(optimize.brentq(surplus, 0.0, _LARGEST))
