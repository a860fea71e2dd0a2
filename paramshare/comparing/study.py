"""The result of a comparison: each group in numbers, and each pair of groups compared. Plain data."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import median
from typing import Any

from paramshare.bands import Band
from paramshare.comparing.groups import Group, Grouped
from paramshare.comparing.spec import GroupSpec
from paramshare.recipes.metrics import SIZES
from paramshare.recipes.parts import Metric
from paramshare.stats.comparison import adjusted
from paramshare.stats.paired import Paired, compare_paired
from paramshare.stats.summary import Summary, summarise
from paramshare.stats.unpaired import Unpaired, compare_unpaired

__all__ = ["Contrast", "GroupResult", "Study", "make_study"]


@dataclass(frozen=True, slots=True)
class GroupResult:
    """A group in numbers.

    Args:
        group: the runs of the group.
        summary: the summary of the compared metric.
        sizes: the median of the parameters, of the multiply-accumulates and of the seconds of a training, by metric. A
            size that a run lacks is omitted.
        final_metrics: the summary of every final metric of the trained nets, by metric.
        curves: the loss of every step over the seeds; None if it was not read.
    """

    group: Group
    summary: Summary
    sizes: Mapping[str, float]
    final_metrics: Mapping[str, Summary]
    curves: Band | None

    @property
    def name(self) -> str:
        """The name of the group."""
        return self.group.name


@dataclass(frozen=True, slots=True)
class Contrast:
    """The comparison of a pair of groups: the difference is `one` − `other`, the ratio is `one` / `other`.

    Args:
        one, other: the names of the groups.
        comparison: paired by seed if the runs of a seed start alike, otherwise unpaired.
    """

    one: str
    other: str
    comparison: Paired | Unpaired

    @property
    def n(self) -> str:
        """The number of pairs, or of runs of each group, in words."""
        comparison = self.comparison
        if isinstance(comparison, Paired):
            return f"{comparison.n} pairs"
        return f"{comparison.n_one} and {comparison.n_other} runs"


@dataclass(frozen=True, slots=True)
class Study:
    """Groups of runs and their comparisons.

    Args:
        experiment: the name of the experiment in MLflow.
        grouped: the groups, and the criteria by which they were made.
        groups: the groups in numbers, in the same order.
        contrasts: the comparison of every pair of groups, with p adjusted by Holm's method.
        level: the confidence level of the intervals.
    """

    experiment: str
    grouped: Grouped
    groups: tuple[GroupResult, ...]
    contrasts: tuple[Contrast, ...]
    level: float

    @property
    def metric(self) -> Metric:
        """The compared metric."""
        return self.grouped.metric

    @property
    def failed(self) -> bool:
        """False: a comparison that exists has not failed."""
        return False

    def as_dict(self) -> dict[str, Any]:
        """Return the study as plain data. A number that is not finite is null, since JSON has no such number."""
        plain: dict[str, Any] = _plain(
            {
                "experiment": self.experiment,
                "target": self.grouped.target.name,
                "metric": self.metric.name,
                "better": self.metric.better,
                "level": self.level,
                "common": self.grouped.common,
                "missing": self.grouped.missing,
                "groups": [
                    {
                        "name": result.name,
                        **dict(result.group.facts),
                        **asdict(result.summary),
                        "sizes": dict(result.sizes),
                        "values": {str(seed): value for seed, value in result.group.values(self.metric.name).items()},
                    }
                    for result in self.groups
                ],
                "contrasts": [
                    {
                        "one": contrast.one,
                        "other": contrast.other,
                        "paired": isinstance(contrast.comparison, Paired),
                        **asdict(contrast.comparison),
                        "significant": contrast.comparison.significant,
                        "underpowered": contrast.comparison.underpowered,
                    }
                    for contrast in self.contrasts
                ],
            }
        )
        return plain


def make_study(experiment: str, grouped: Grouped, spec: GroupSpec, curves: Mapping[str, Band]) -> Study:
    """Summarise each group and compare each pair of groups.

    Args:
        experiment: the name of the experiment in MLflow.
        grouped: the groups.
        spec: the confidence level and the difference of interest.
        curves: the losses by group, for the groups whose losses were read.
    """
    results = tuple(_result(group, grouped, spec, curves.get(group.name)) for group in grouped.groups)
    pairs = list(combinations(grouped.groups, 2))
    comparisons = adjusted([_compare(second, first, grouped, spec, len(pairs)) for first, second in pairs])
    contrasts = tuple(
        Contrast(second.name, first.name, comparison)
        for (first, second), comparison in zip(pairs, comparisons, strict=True)
    )
    return Study(experiment, grouped, results, contrasts, spec.level)


def _result(group: Group, grouped: Grouped, spec: GroupSpec, curves: Band | None) -> GroupResult:
    def summary(metric: Metric) -> Summary:
        values = group.values(metric.name).values()
        return summarise(values, planned=group.planned, better=metric.better, level=spec.level)

    names = [size.name for size in SIZES if group.runs and all(size.name in run.scores for run in group.runs)]
    sizes = {name: median(run.scores[name] for run in group.runs) for name in names}
    final_metrics = {metric.name: summary(metric) for metric in grouped.final_metrics}
    primary = final_metrics.get(grouped.metric.name) or summary(grouped.metric)
    return GroupResult(group, primary, sizes, final_metrics, curves)


def _compare(one: Group, other: Group, grouped: Grouped, spec: GroupSpec, family: int) -> Paired | Unpaired:
    metric = grouped.metric
    values, others = one.values(metric.name), other.values(metric.name)
    options: dict[str, Any] = {
        "better": metric.better,
        "level": spec.level,
        "interest": spec.interest,
        "family": family,
    }
    if grouped.pairs and values.keys() & others.keys():
        return compare_paired(values, others, **options)
    return compare_unpaired(values.values(), others.values(), **options)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
