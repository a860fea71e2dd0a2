"""How runs that diverged count: as worse than any number where order is all that matters, and not in a mean."""

import math
from collections.abc import Iterable
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from paramshare.errors import UsageError

__all__ = ["BETTER", "Better", "scale_of", "with_worst"]

Better = Literal["lower", "higher"]
BETTER: Final[tuple[Better, ...]] = get_args(Better)
"""Which values are better: lower ones, as of losses, or higher ones, as of accuracies."""


def with_worst(values: Iterable[float], better: Better) -> NDArray[np.float64]:
    """The values (n,), with what is worse than any number in place of all that are not finite.

    Raises:
        UsageError: `better` is neither word.
    """
    if better not in BETTER:
        raise UsageError(f"better={better!r}: which values are better is 'lower' or 'higher'")
    array = np.array(list(values), dtype=np.float64)
    return np.where(np.isfinite(array), array, math.inf if better == "lower" else -math.inf)


def scale_of(*groups: NDArray[np.float64]) -> float:
    """A power of two by which finite values are divided, without rounding, so that no square overflows."""
    largest = max((float(np.abs(values).max()) for values in groups if len(values)), default=0.0)
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0
