"""Many curves summarised step by step: medians and quartiles, with diverged values as the largest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Band", "quartiles"]


@dataclass(frozen=True, slots=True)
class Band:
    """Curves of many seeds, summarised step by step.

    Args:
        n: how many curves.
        median, lower, upper: (steps,), the median and the quartiles at every step.
    """

    n: int
    median: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @classmethod
    def of(cls, curves: Sequence[ArrayLike]) -> "Band":
        """The band of curves; a loss that is not finite counts as larger than any that is.

        A curve that ends before another, since its training had come to its end, goes on at its last value.
        """
        longest = max(map(len, curves))  # type: ignore[arg-type]
        lower, median, upper = quartiles([np.pad(one, (0, longest - len(one)), "edge") for one in curves])  # type: ignore[arg-type]
        return cls(len(curves), median, lower, upper)


def quartiles(losses: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """The quartiles over the first axis, (3, ...): lower, median, upper.

    Args:
        losses: those that are not finite diverged, and count as larger than any that is: so the quartiles stay numbers
            while few have diverged, and are infinite where they fall among those that have.
    """
    values, which = np.asarray(losses, dtype=np.float64), (0.25, 0.5, 0.75)
    values = np.where(np.isfinite(values), values, np.inf)
    with np.errstate(invalid="ignore"):
        between = np.quantile(values, which, axis=0)
    # Between a number and infinity, and between two infinities, NumPy finds NaN.
    found = np.where(np.isnan(between), np.quantile(values, which, axis=0, method="higher"), between)
    return np.asarray(found, dtype=np.float64)
