"""One group's values in numbers."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from paramshare.errors import UsageError
from paramshare.stats.divergence import Better, with_worst
from paramshare.stats.estimate import Estimate, Note, checked
from paramshare.stats.location import geometric_mean, iqm, mean, median, quantile, sd

__all__ = ["Summary", "summarise"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a group's values say.

    Args:
        planned: how many runs the group was to have.
        finished: how many came to their end, those that diverged included.
        diverged: how many of these have a value that is not finite.
        mean, geometric_mean, sd: over the finite values.
        median, iqm: over all, a diverged run being the worst.
        quartiles: the lower and the upper, over all; None where there are none.
        minimum, maximum: over all; infinite where a run diverged.
    """

    planned: int
    finished: int
    diverged: int
    mean: Estimate
    geometric_mean: Estimate
    sd: Estimate
    median: Estimate
    iqm: Estimate
    quartiles: tuple[float, float] | None
    minimum: float | None
    maximum: float | None


def summarise(
    values: Iterable[float],
    *,
    planned: int | None = None,
    better: Better = "lower",
    level: float = 0.95,
    seed: int = 0,
) -> Summary:
    """Summarise the values of a group's finished runs.

    Args:
        values: one a run; one that is not finite is a run that diverged.
        planned: how many runs were to be; as many as there are if None.
        better: which values are: decides on which side a diverged run is.
        level: of the intervals.
        seed: of the IQM's bootstrap.

    Raises:
        UsageError: fewer runs are planned than there are values, or `better` or `level` is none.
    """
    checked(level)
    ranked = with_worst(values, better)
    finite = ranked[np.isfinite(ranked)]
    n, diverged = len(ranked), len(ranked) - len(finite)
    if planned is not None and planned < n:
        raise UsageError(f"planned={planned}, but there are {n} values: a run counts once")
    left_out = (Note.DIVERGED_OUT,) if diverged else ()
    counted = (Note.DIVERGED_WORST,) if diverged else ()
    ordered = np.sort(ranked)
    return Summary(
        planned=n if planned is None else planned,
        finished=n,
        diverged=diverged,
        mean=mean(finite, level).noted(*left_out),
        geometric_mean=geometric_mean(finite, level).noted(*left_out),
        sd=sd(finite, level).noted(*left_out),
        median=median(ranked, level).noted(*counted),
        iqm=iqm(ranked, level, np.random.default_rng(seed)).noted(*counted),
        quartiles=(quantile(ordered, 0.25), quantile(ordered, 0.75)) if n else None,
        minimum=float(ordered[0]) if n else None,
        maximum=float(ordered[-1]) if n else None,
    )
