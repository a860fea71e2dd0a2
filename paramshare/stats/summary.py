"""Summarise the values of one group."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from paramshare.errors import UsageError
from paramshare.stats.descriptive.divergence import Better, with_worst
from paramshare.stats.descriptive.location import geometric_mean, iqm, mean, median, quantile, sd
from paramshare.stats.estimate import Estimate, Note, checked

__all__ = ["Summary", "summarise"]


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of a group's values.

    Args:
        planned: the number of runs that the group needs to be complete.
        finished: the number of finished runs, including diverged ones.
        diverged: the number of finished runs whose value is not finite.
        mean, geometric_mean, sd: of the finite values.
        median, iqm: of all values; a diverged run counts as the worst value.
        quartiles: the lower and the upper quartile of all values; None if there are no values.
        minimum, maximum: of all values; infinite if a run diverged. None if there are no values.
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
        values: the value of each run; not finite if the run diverged.
        planned: the number of planned runs. Defaults to the number of values.
        better: the better direction, which tells the side of a diverged run. Defaults to lower.
        level: the confidence level of the intervals. Defaults to 0.95.
        seed: the seed of the IQM's bootstrap. Defaults to 0.

    Raises:
        UsageError: there are more values than planned runs, or `better` or `level` is out of range.
    """
    checked(level)
    ranked = with_worst(values, better)
    finite = ranked[np.isfinite(ranked)]
    n, diverged = len(ranked), len(ranked) - len(finite)
    if planned is not None and planned < n:
        raise UsageError(f"planned={planned} is less than the number of values, {n}; pass one value per planned run")
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
