"""Diverged runs: replace their values by the worst one, and scale finite values against overflow."""

import math
from collections.abc import Iterable
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from paramshare.errors import UsageError

__all__ = ["Better", "scale_of", "with_worst"]

Better = Literal["lower", "higher"]
_DIRECTIONS: Final[tuple[Better, ...]] = get_args(Better)
"""The better direction: lower, as for losses, or higher, as for accuracies."""


def with_worst(values: Iterable[float], better: Better) -> NDArray[np.float64]:
    """Return the values, (n,), with the worse infinity in the place of each value that is not finite.

    Args:
        values: a value for each run.
        better: the better direction.

    Raises:
        UsageError: `better` is unknown.
    """
    if better not in _DIRECTIONS:
        raise UsageError(f"better={better!r} is unknown; use 'lower' or 'higher'")
    array = np.array(list(values), dtype=np.float64)
    return np.where(np.isfinite(array), array, math.inf if better == "lower" else -math.inf)


def scale_of(*groups: NDArray[np.float64]) -> float:
    """Return a power of two. Finite values divided by it are not rounded, are below 2, and have finite squares."""
    largest = max((float(np.abs(values).max()) for values in groups if len(values)), default=0.0)
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0
