"""Estimates: a number with n, its interval, and the notes that a reader needs for both."""

from dataclasses import dataclass, replace
from enum import StrEnum

from paramshare.errors import UsageError

__all__ = ["Estimate", "Interval", "Note", "checked"]


class Note(StrEnum):
    """Every note; a table prints each note that it needs once, as a footnote."""

    NO_VALUES = "there are no values"
    ONE_VALUE = "no interval: at least 2 values are needed"
    CONSTANT = "no interval: all values are equal, so their spread is unknown"
    FEW_FOR_ORDER = "no interval: too few values for an interval of order statistics at this confidence level"
    FEW_FOR_BOOTSTRAP = "no interval: the coverage of a bootstrap of fewer than 10 values is below its confidence level"
    DIVERGED_OUT = "of finite values only: runs that diverged are omitted"
    DIVERGED_WORST = "runs that diverged count as worse than any number"
    NOT_POSITIVE = "no geometric mean: not all values are positive"
    NOT_NORMAL = "the interval assumes normal values, and these are not: its coverage may be below its level"
    OTHER_SPREAD = "the interval assumes equal variances, and these differ: its coverage may be below its level"
    ONE_CONSTANT = "all values of one group are equal: the interval uses only the variance of the other group"
    FEW_FOR_TEST = "no interval: with so few runs the test rejects no value at this confidence level"
    NO_FINITE = "there are no finite values"
    NO_RATIO = "no ratio: not all values are positive"
    OTHER_METHOD = (
        "this interval is of another method than the test and disagrees with it; the test decides the verdict"
    )
    ONE_OF_MANY = (
        "this interval is of one comparison; after Holm's correction for all of them the difference is not sure"
    )
    NO_WIDTH = "the interval has no width: all compared runs differ by the same amount"
    FEW_FOR_EFFECT = "no effect size: at least 3 pairs, or 2 runs per group, are needed"
    ONE_SIDED = "one group wins every time: the limit on the other side depends on n only"
    TIES = "a tie counts half"
    SEEDS_OUT = "seeds that only one of the two groups has are omitted"


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Args:
        low, high: the limits; infinite if a diverged run is the limit, or if no value is rejected on that side.
        level: the confidence level. `method` tells whether the coverage is at least or about this level.
        method: the method, in a few words.
        note: a reason to doubt the assumptions of the method. Defaults to None.
        low_open, high_open: whether the limit itself is outside of the interval, which ties and zeros can cause.
            Default to False.
    """

    low: float
    high: float
    level: float
    method: str
    note: Note | None = None
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low < value if self.low_open else self.low <= value
        return above and (value < self.high if self.high_open else value <= self.high)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number estimated from runs.

    Args:
        value: the number; None if it is not defined.
        n: the number of values or pairs.
        interval: the confidence interval; None if there is none, for the reason in `notes`.
        notes: the values that were omitted, how diverged runs and ties count, and why there is no interval.
    """

    value: float | None
    n: int
    interval: Interval | None = None
    notes: tuple[Note, ...] = ()

    def noted(self, *notes: Note) -> "Estimate":
        """Return the estimate with these notes before its own."""
        return replace(self, notes=(*notes, *self.notes))

    @property
    def footnotes(self) -> tuple[Note, ...]:
        """The notes on the number and on its interval, each once."""
        about = () if self.interval is None or self.interval.note is None else (self.interval.note,)
        return tuple(dict.fromkeys((*self.notes, *about)))


def checked(level: float) -> float:
    """Return a confidence level unchanged.

    Raises:
        UsageError: the level is out of range.
    """
    if not 0 < level < 1:
        raise UsageError(f"level={level} is out of range; use a confidence level between 0 and 1, such as 0.95")
    return level
