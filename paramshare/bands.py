"""Summarise many curves step by step: medians and quartiles. Diverged values count as the largest ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Band", "quartiles"]


@dataclass(frozen=True, slots=True)
class Band:
    """Curves of many seeds, summarised step by step.

    Args:
        n: the number of curves.
        median, lower, upper: (steps,), the median and the quartiles of every step.
    """

    n: int
    median: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @classmethod
    def of(cls, curves: Sequence[ArrayLike]) -> "Band":
        """Summarise curves. A loss that is not finite counts as larger than any finite loss.

        A curve of a training that converged early is extended with its last value.

        Args:
            curves: at least one curve, each (steps,), of any lengths.
        """
        longest = max(map(len, curves))  # type: ignore[arg-type]
        padded = [np.pad(curve, (0, longest - len(curve)), "edge") for curve in curves]  # type: ignore[arg-type]
        lower, median, upper = quartiles(padded)
        return cls(len(curves), median, lower, upper)


def quartiles(losses: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return the quartiles over the first axis, (3, ...): lower, median, upper.

    Args:
        losses: (n, ...). A loss that is not finite diverged, and counts as larger than any finite loss. So the
            quartiles are finite if few losses diverged. A quartile among diverged losses is infinite.
    """
    values, shares = np.asarray(losses, dtype=np.float64), (0.25, 0.5, 0.75)
    values = np.where(np.isfinite(values), values, np.inf)
    with np.errstate(invalid="ignore"):
        interpolated = np.quantile(values, shares, axis=0)
    # NumPy interpolates between a number and infinity, and between two infinities, to NaN.
    above = np.quantile(values, shares, axis=0, method="higher")
    return np.asarray(np.where(np.isnan(interpolated), above, interpolated), dtype=np.float64)
