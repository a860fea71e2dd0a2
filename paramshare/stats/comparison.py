"""What a comparison of two groups says, and what stays of its p among many comparisons (Holm 1979)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from paramshare.errors import UsageError
from paramshare.stats.estimate import Estimate, Note, checked
from paramshare.stats.power import Power

__all__ = ["Comparison", "adjusted", "alpha_of", "holm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One group held against another.

    Args:
        difference: of the means, one less other, over finite values.
        ratio: of the geometric means, one over other, over finite values.
        beats: the probability that a run of one is better than one of the other, ties half, over all runs.
        ahead: whether the test's statistic has one as the better of the two; None where it leans to neither.
        effect: the difference in standard deviations, with Hedges' correction, over finite values.
        hl_difference: Hodges and Lehmann's estimate of the difference in the test's own interval, over all runs.
        hl_ratio: the same of the ratio.
        p: of the test, over all runs, by itself.
        p_holm: the same among all comparisons made at once; None before `adjusted`.
        test: its name.
        alpha: below which p must fall.
        power: what the test can show.
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
        """Whether p, among all comparisons where that is known, is below alpha."""
        return (self.p if self.p_holm is None else self.p_holm) < self.alpha

    def explained(self, estimate: Estimate, null: float) -> Estimate:
        """The estimate, with a note if its interval and the verdict disagree on `null`, the value of no difference."""
        if estimate.interval is None or (null not in estimate.interval) == self.significant:
            return estimate
        by_itself = self.p < self.alpha
        return estimate.noted(Note.OTHER_METHOD if by_itself == self.significant else Note.ONE_OF_MANY)

    @property
    def underpowered(self) -> bool:
        """Whether nothing was found where the difference of interest would not have been found either."""
        return not self.significant and not self.power.enough


AnyComparison = TypeVar("AnyComparison", bound=Comparison)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p, in the order given: each below alpha where the family's error stays below alpha.

    Source: Scandinavian Journal of Statistics 6 (1979).

    Raises:
        UsageError: one is no probability.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise UsageError(f"p-values lie between 0 and 1, but these do not: {[p for p in p_values if not 0 <= p <= 1]}")
    adjusted_ps, largest, left = [0.0] * len(p_values), 0.0, len(p_values)
    for place in sorted(range(len(p_values)), key=p_values.__getitem__):
        largest = max(largest, min(1.0, left * p_values[place]))
        adjusted_ps[place] = largest
        left -= 1
    return tuple(adjusted_ps)


def adjusted(comparisons: Sequence[AnyComparison]) -> tuple[AnyComparison, ...]:
    """All comparisons that are made at once, each with its Holm-adjusted p."""
    found = holm([one.p for one in comparisons])
    return tuple(replace(one, p_holm=p) for one, p in zip(comparisons, found, strict=True))


def alpha_of(level: float, family: int = 1) -> float:
    """What p must fall below where intervals have this level, in Holm's first step among `family` comparisons.

    Raises:
        UsageError: `level` is none, or no comparison is made.
    """
    if family < 1:
        raise UsageError(f"family={family}: give how many comparisons are made at once, 1 or more")
    return round(1 - checked(level), 12) / family
