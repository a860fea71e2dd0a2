"""A number with n, an interval, and the footnotes without which neither is honest."""

from dataclasses import dataclass, replace
from enum import StrEnum

from paramshare.errors import UsageError

__all__ = ["Estimate", "Interval", "Note", "checked"]


class Note(StrEnum):
    """Every footnote there is; a table prints each that it needs once."""

    NO_VALUES = "there are no values"
    ONE_VALUE = "no interval: it takes at least 2 values"
    CONSTANT = "no interval: all values are the same, which says nothing about how far others would be"
    FEW_FOR_ORDER = "no interval: too few values for an interval of order statistics at this level"
    FEW_FOR_BOOTSTRAP = "no interval: a bootstrap of fewer than 10 values covers less than it says"
    DIVERGED_OUT = "over finite values only: runs that diverged are left out"
    DIVERGED_WORST = "runs that diverged count as worse than any number"
    NOT_POSITIVE = "no geometric mean: not all values are positive"
    NOT_NORMAL = "the values do not look normal, which the interval assumes: it may cover less than it says"
    OTHER_SPREAD = "the two groups spread differently, which the interval assumes they do not: it may cover less"
    ONE_CONSTANT = "one group's values are all the same: the interval knows the other's spread only"
    FEW_FOR_TEST = "no interval: with so few runs the test rejects no value at this level"
    NO_FINITE = "there are no finite values"
    NO_RATIO = "no ratio: not all values are positive"
    OTHER_METHOD = "this interval is not that of the test: it and the test disagree here, and the verdict is the test's"
    ONE_OF_MANY = "this interval is for one comparison; the verdict is among all of them, where p (Holm) is too large"
    NO_WIDTH = "the interval has no width: all runs that are compared differ by the same, which others need not"
    FEW_FOR_EFFECT = "no effect size: it takes at least 3 pairs"
    ONE_SIDED = "one group wins every time: the far limit is what so few runs allow"
    TIES = "ties count half"
    SEEDS_OUT = "seeds that only one of the two groups has are left out"


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a quantity lies.

    Args:
        low, high: its limits; infinite where a diverged run is the limit, or where no value is too far.
        level: how often such an interval holds the quantity, at least or about: see `method`.
        method: how it was found, in a few words.
        note: what speaks against its assumptions; None where nothing was found.
        low_open, high_open: whether the limit itself lies outside, as ties and zeros can have it.
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
        value: the number; None where it is not defined.
        n: of how many values or pairs it is.
        interval: None where its assumptions fail: `notes` say which.
        notes: what was left out of the number, how diverged runs and ties count, why there is no interval.
    """

    value: float | None
    n: int
    interval: Interval | None = None
    notes: tuple[Note, ...] = ()

    def noted(self, *notes: Note) -> "Estimate":
        """The same with these notes before its own."""
        return replace(self, notes=(*notes, *self.notes))

    @property
    def footnotes(self) -> tuple[Note, ...]:
        """The notes on the number and on its interval, each once."""
        about = () if self.interval is None or self.interval.note is None else (self.interval.note,)
        return tuple(dict.fromkeys((*self.notes, *about)))


def checked(level: float) -> float:
    """An interval's level as it is.

    Raises:
        UsageError: it is none.
    """
    if not 0 < level < 1:
        raise UsageError(f"level={level}: an interval's level lies between 0 and 1, as 0.95")
    return level
