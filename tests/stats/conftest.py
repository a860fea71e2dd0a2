"""How often an interval holds the truth: the one measure of an interval."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from paramshare.stats.estimate import Estimate

Draw = Callable[[np.random.Generator], NDArray[np.float64]]
Coverage = Callable[..., float]


@pytest.fixture(scope="session")
def coverage() -> Coverage:
    """The share of `repeats` draws whose interval holds `truth`; 0.95 of 1000 has a standard error of 0.007."""

    def measured(estimate: Callable[..., Estimate], draw: Draw, truth: float, repeats: int = 1000) -> float:
        rng = np.random.default_rng(20260731)
        held = 0
        for _ in range(repeats):
            interval = estimate(draw(rng)).interval
            held += interval is not None and truth in interval
        return held / repeats

    return measured
