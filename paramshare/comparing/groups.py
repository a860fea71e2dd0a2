"""Put runs into groups, check that their runs differ only in seeds, and find the missing runs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from paramshare.comparing.spec import CompareSpec
from paramshare.errors import UsageError
from paramshare.recipes.metrics import COSTS
from paramshare.recipes.parts import Metric
from paramshare.recipes.target import Target
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.tags import TARGET

__all__ = ["Group", "Grouped", "group", "missing_runs"]

_MAX_LISTED: Final = 6
_DERIVED: Final = {"arithmetic": ("engine", "device")}  # parameters that follow from others
_NEVER_MATTERS: Final = ("engine",)  # engines of equal arithmetic give equal numbers
_SAME_START: Final = frozenset({"variant", "device", "engine", "arithmetic", "steps", "learning_rate", "momentum"})


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ only in their seeds.

    Args:
        name: the values that tell the group from the others: `untied`, `untied, cuda:0`.
        facts: the same values with their parameters' names.
        runs: the FINISHED runs, in the order of their seeds.
        missing: the seeds that another group has and this group lacks.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    runs: tuple[RunView, ...]
    missing: tuple[int, ...]

    @property
    def planned(self) -> int:
        """The number of runs that the group needs to be complete."""
        return len(self.runs) + len(self.missing)

    def values(self, metric: str) -> dict[int, float]:
        """Return the value of a metric by seed; NaN for a run that diverged."""
        return {run.seed: run.scores[metric] for run in self.runs}


@dataclass(frozen=True, slots=True)
class Grouped:
    """The groups of a comparison.

    Args:
        target: the target of all runs.
        metric: the compared metric.
        final_metrics: the final metrics that all FINISHED runs have.
        groups: the groups in the order of display; the first is the baseline.
        common: the parameters that are equal in all runs, by name.
        pairs: whether the runs of a seed start alike in all groups.
    """

    target: Target
    metric: Metric
    final_metrics: tuple[Metric, ...]
    groups: tuple[Group, ...]
    common: dict[str, str]
    pairs: bool

    @property
    def missing(self) -> dict[str, tuple[int, ...]]:
        """The missing seeds by group, for the groups that lack any."""
        return {group.name: group.missing for group in self.groups if group.missing}


def group(runs: Sequence[RunView], spec: CompareSpec, planned: Iterable[int] = ()) -> Grouped:
    """Put the runs that `spec` selects into groups.

    Args:
        runs: the runs of the experiment.
        spec: the selection, the parameters that tell groups apart, and the metric.
        planned: seeds that every group needs in addition to the seeds that any group has. Defaults to none.

    Raises:
        UsageError: no run is selected, runs of a group differ in more than their seeds, a parameter or metric is
            unknown, or runs are missing and `spec.partial` is false.
    """
    selected = _select(runs, spec)
    target = selected[0].target
    _check_alike(selected, spec)
    by_values = defaultdict[tuple[str, ...], dict[int, RunView]](dict)
    for run in selected:
        by_seed = by_values[tuple(run.facts.get(name, "none") for name in spec.by_list)]
        if run.seed not in by_seed or (run.finished and not by_seed[run.seed].finished):
            by_seed[run.seed] = run
    seeds = sorted({*planned, *(run.seed for run in selected)})
    groups = tuple(
        _group(spec.by_list, values, by_values[values], seeds)
        for values in sorted(by_values, key=lambda values: _order(target, values))
    )
    final_metrics = _final_metrics(target, selected)
    pairs = _SAME_START.issuperset(spec.by_list)
    metric = _metric(groups, final_metrics, spec)
    grouped = Grouped(target, metric, final_metrics, groups, _common(selected), pairs)
    if grouped.missing and not spec.partial:
        raise UsageError(
            f"runs are missing: {missing_runs(grouped)}; train them, or pass --partial to compare the finished runs"
        )
    return grouped


def missing_runs(grouped: Grouped) -> str:
    """Name the missing runs: `untied lacks seeds 3, 5; shared lacks seed 3`."""
    return "; ".join(f"{name} lacks {_seeds(seeds)}" for name, seeds in grouped.missing.items())


def _group(names: Iterable[str], values: tuple[str, ...], runs: dict[int, RunView], seeds: Sequence[int]) -> Group:
    finished = tuple(runs[seed] for seed in seeds if seed in runs and runs[seed].finished)
    finished_seeds = {run.seed for run in finished}
    missing = tuple(seed for seed in seeds if seed not in finished_seeds)
    return Group(", ".join(values), tuple(zip(names, values, strict=True)), finished, missing)


def _select(runs: Sequence[RunView], spec: CompareSpec) -> list[RunView]:
    known = sorted({name for run in runs for name in run.facts})
    for name in (*spec.by_list, *spec.conditions):
        if runs and name not in known:
            raise UsageError(f"the runs have no parameter {name!r}; expected one of {', '.join(known)}")
    selected = [run for run in runs if all(run.facts.get(name) == value for name, value in spec.conditions.items())]
    if not selected:
        condition = f" with {spec.where}" if spec.where else ""
        raise UsageError(
            f"the experiment {spec.experiment!r} has no ended run of a seed{condition}; train seeds, or name another "
            "experiment"
        )
    targets = sorted({run.facts[TARGET] for run in selected})
    if len(targets) > 1:  # targets have no metric in common
        raise UsageError(f"the runs are of {' and '.join(targets)}; choose one by --where target={targets[0]}")
    return selected


def _check_alike(runs: Sequence[RunView], spec: CompareSpec) -> None:
    """Refuse runs that differ in more than the parameters of `spec.by`, since no comparison of them has a meaning."""
    derived = {name for name, sources in _DERIVED.items() if {*sources} & {*spec.by_list}}
    free = {*spec.by_list, *_NEVER_MATTERS, *derived}
    differing = {name: values for name, values in _values_of(runs).items() if len(values) > 1 and name not in free}
    if differing:
        listed = "; ".join(f"{name} ({_some(sorted(values, key=_natural))})" for name, values in differing.items())
        name, values = next(iter(differing.items()))
        raise UsageError(
            f"the runs differ in more than {spec.by}: {listed}; choose one value, such as by --where "
            f"{name}={min(values, key=_natural)}, or compare --by {spec.by},{name}"
        )


def _values_of(runs: Sequence[RunView]) -> dict[str, set[str]]:
    names = dict.fromkeys(name for run in runs for name in run.facts)
    return {name: {run.facts.get(name, "none") for run in runs} for name in names}


def _common(runs: Sequence[RunView]) -> dict[str, str]:
    return {name: min(values) for name, values in _values_of(runs).items() if len(values) == 1}


def _final_metrics(target: Target, runs: Sequence[RunView]) -> tuple[Metric, ...]:
    """Return the final metrics that all FINISHED runs have."""
    finished = [run.scores for run in runs if run.finished]
    return tuple(metric for metric in target.final_metrics if all(metric.name in scores for scores in finished))


def _metric(groups: Sequence[Group], final_metrics: Sequence[Metric], spec: CompareSpec) -> Metric:
    name = spec.metric or final_metrics[0].name
    finished = [run for group in groups for run in group.runs]
    if not finished:
        raise UsageError(f"the experiment {spec.experiment!r} has no finished run; train seeds first")
    costs = [metric for metric in COSTS if all(metric.name in run.scores for run in finished)]
    known = {metric.name: metric for metric in (*final_metrics, *costs)}
    if name not in known:
        is_logged = any(name in run.scores for run in finished)
        reason = f"the better direction of {name!r} is unknown" if is_logged else f"the runs have no metric {name!r}"
        raise UsageError(f"{reason}; expected one of {', '.join(known)}")
    return known[name]


def _order(target: Target, values: tuple[str, ...]) -> tuple[object, ...]:
    """Return a key that sorts variants in the order of their target, numbers by size, and other texts by letters."""
    variants = target.variants
    return tuple((0, float(variants.index(value)), "") if value in variants else _natural(value) for value in values)


def _natural(value: str) -> tuple[int, float, str]:
    try:
        return 1, float(value), ""
    except ValueError:
        return 2, 0.0, value


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {_some([str(seed) for seed in seeds])}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    return shown if len(names) <= _MAX_LISTED else f"{shown} and {len(names) - _MAX_LISTED} more"
