"""What a comparison came to: each group in numbers, each pair of groups held against each other. Plain data."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import median
from typing import Any

from paramshare.bands import Band
from paramshare.comparing.groups import Group, Grouped
from paramshare.comparing.spec import GroupSpec
from paramshare.stats.comparison import adjusted
from paramshare.stats.paired import Paired, compare_paired
from paramshare.stats.summary import Summary, summarise
from paramshare.stats.unpaired import Unpaired, compare_unpaired
from paramshare.training.targets import SIZES, Metric

__all__ = ["Contrast", "GroupResult", "Study", "make_study"]


@dataclass(frozen=True, slots=True)
class GroupResult:
    """A group in numbers.

    Args:
        group: its runs.
        summary: of the metric that is compared.
        sizes: the median of the net's parameters, multiply-accumulates and training seconds, as far as they are known.
        finals: the summary of every metric of its trained nets, by metric.
        curves: the loss of every step over its seeds; None where it was not read.
    """

    group: Group
    summary: Summary
    sizes: Mapping[str, float]
    finals: Mapping[str, Summary]
    curves: Band | None

    @property
    def name(self) -> str:
        """The group's."""
        return self.group.name


@dataclass(frozen=True, slots=True)
class Contrast:
    """One group held against another: `one` less `other`, `one` over `other`.

    Args:
        one, other: the groups' names.
        found: by seed where the runs of one seed began alike, else as they come.
    """

    one: str
    other: str
    found: Paired | Unpaired

    @property
    def n(self) -> str:
        """How many pairs, or how many runs of each."""
        found = self.found
        return f"{found.n} pairs" if isinstance(found, Paired) else f"{found.n_one} and {found.n_other} runs"


@dataclass(frozen=True, slots=True)
class Study:
    """Groups side by side.

    Args:
        experiment: MLflow's.
        grouped: the groups, and what they were made by.
        groups: in numbers, in the same order.
        contrasts: every pair of them, p adjusted by Holm's method.
        level: of the intervals.
    """

    experiment: str
    grouped: Grouped
    groups: tuple[GroupResult, ...]
    contrasts: tuple[Contrast, ...]
    level: float

    @property
    def metric(self) -> Metric:
        """What is compared."""
        return self.grouped.metric

    @property
    def failed(self) -> bool:
        """A comparison that could be made has not."""
        return False

    def as_dict(self) -> dict[str, Any]:
        """Plain data. What is not finite is null: JSON has no other word for it."""
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
                        "name": one.name,
                        **dict(one.group.facts),
                        **asdict(one.summary),
                        "sizes": dict(one.sizes),
                        "values": {str(seed): value for seed, value in one.group.values(self.metric.name).items()},
                    }
                    for one in self.groups
                ],
                "contrasts": [
                    {
                        "one": one.one,
                        "other": one.other,
                        "paired": isinstance(one.found, Paired),
                        **asdict(one.found),
                        "significant": one.found.significant,
                        "underpowered": one.found.underpowered,
                    }
                    for one in self.contrasts
                ],
            }
        )
        return plain


def make_study(experiment: str, grouped: Grouped, spec: GroupSpec, curves: Mapping[str, Band]) -> Study:
    """Hold the groups against each other.

    Args:
        curves: of the loss, by group, as far as they were read.
    """
    groups = tuple(_result(one, grouped, spec, curves.get(one.name)) for one in grouped.groups)
    pairs = list(combinations(grouped.groups, 2))
    found = adjusted([_contrast(other, one, grouped, spec, len(pairs)) for one, other in pairs])
    contrasts = tuple(
        Contrast(other.name, one.name, comparison) for (one, other), comparison in zip(pairs, found, strict=True)
    )
    return Study(experiment, grouped, groups, contrasts, spec.level)


def _result(one: Group, grouped: Grouped, spec: GroupSpec, curves: Band | None) -> GroupResult:
    def summary(metric: Metric) -> Summary:
        values = one.values(metric.name).values()
        return summarise(values, planned=one.planned, better=metric.better, level=spec.level)

    names = [size.name for size in SIZES if one.runs and all(size.name in run.scores for run in one.runs)]
    sizes = {name: median(run.scores[name] for run in one.runs) for name in names}
    finals = {metric.name: summary(metric) for metric in grouped.finals}
    primary = finals.get(grouped.metric.name) or summary(grouped.metric)
    return GroupResult(one, primary, sizes, finals, curves)


def _contrast(one: Group, other: Group, grouped: Grouped, spec: GroupSpec, family: int) -> Paired | Unpaired:
    metric = grouped.metric
    values, others = one.values(metric.name), other.values(metric.name)
    given: dict[str, Any] = {"better": metric.better, "level": spec.level, "interest": spec.interest, "family": family}
    if grouped.pairs and values.keys() & others.keys():
        return compare_paired(values, others, **given)
    return compare_unpaired(values.values(), others.values(), **given)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
