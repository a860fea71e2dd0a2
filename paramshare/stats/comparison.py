"""The result of comparing two groups, and the correction of p for several comparisons by Holm's method."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from paramshare.errors import UsageError
from paramshare.stats.estimate import Estimate, Note, checked
from paramshare.stats.rank_tests.power import Power

__all__ = ["Comparison", "adjusted", "alpha_of", "holm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison of a group, `one`, with another group, `other`.

    Args:
        difference: the difference of the means, one − other, of finite values.
        ratio: the ratio of the geometric means, one / other, of finite values.
        beats: the win rate: the probability that a run of one is better than a run of other; a tie counts half.
        ahead: whether the test statistic has one as the better group; None if it favours neither.
        effect: the difference in standard deviations, with Hedges' correction, of finite values.
        hl_difference: the Hodges-Lehmann estimate of the difference, with the interval of the test, over all runs.
        hl_ratio: the Hodges-Lehmann estimate of the ratio, likewise.
        p: the p-value of the test over all runs, without correction.
        test: the name of the test.
        alpha: the significance level.
        power: the power of the test.
        p_holm: p after Holm's correction for all comparisons. Defaults to None: not corrected.
    """

    difference: Estimate
    ratio: Estimate
    beats: Estimate
    ahead: bool | None
    effect: Estimate
    hl_difference: Estimate
    hl_ratio: Estimate
    p: float
    test: str
    alpha: float
    power: Power
    p_holm: float | None = None

    @property
    def significant(self) -> bool:
        """Return whether p, corrected if there is a corrected p, is below alpha."""
        return (self.p if self.p_holm is None else self.p_holm) < self.alpha

    def explained(self, estimate: Estimate, null: float) -> Estimate:
        """Return the estimate, with a note if its interval and the verdict disagree.

        Args:
            estimate: an estimate of this comparison.
            null: its value of no difference.
        """
        if estimate.interval is None or (null not in estimate.interval) == self.significant:
            return estimate
        significant_alone = self.p < self.alpha
        return estimate.noted(Note.OTHER_METHOD if significant_alone == self.significant else Note.ONE_OF_MANY)

    @property
    def underpowered(self) -> bool:
        """Return whether the difference is not significant and the power is too low for the difference of interest."""
        return not self.significant and not self.power.enough


_AnyComparison = TypeVar("_AnyComparison", bound=Comparison)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's adjusted p-values in the order of `p_values`.

    Rejecting the hypotheses whose adjusted p is below alpha keeps the family-wise error rate below alpha.
    Source: Holm, Scandinavian Journal of Statistics 6 (1979).

    Raises:
        UsageError: a p-value is not a probability.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise UsageError(f"p-values must be between 0 and 1; these are not: {[p for p in p_values if not 0 <= p <= 1]}")
    adjusted_ps, largest, remaining = [0.0] * len(p_values), 0.0, len(p_values)
    for place in sorted(range(len(p_values)), key=p_values.__getitem__):
        largest = max(largest, min(1.0, remaining * p_values[place]))
        adjusted_ps[place] = largest
        remaining -= 1
    return tuple(adjusted_ps)


def adjusted(comparisons: Sequence[_AnyComparison]) -> tuple[_AnyComparison, ...]:
    """Return the comparisons with their p-values corrected by Holm's method for all of them."""
    adjusted_ps = holm([comparison.p for comparison in comparisons])
    return tuple(replace(comparison, p_holm=p) for comparison, p in zip(comparisons, adjusted_ps, strict=True))


def alpha_of(level: float, family: int = 1) -> float:
    """Return alpha: 1 − level, divided by the number of comparisons, as in the first step of Holm's method.

    Args:
        level: the confidence level.
        family: the number of comparisons. Defaults to 1.

    Raises:
        UsageError: `level` or `family` is out of range.
    """
    if family < 1:
        raise UsageError(f"family={family} is out of range; use the number of comparisons, 1 or more")
    return round(1 - checked(level), 12) / family
