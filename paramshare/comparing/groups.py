"""Runs into groups: which belong together, what they differ in, and what is missing."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from paramshare.comparing.spec import CompareSpec
from paramshare.errors import UsageError
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.tags import TARGET
from paramshare.training.targets import COSTS, Metric, Target

__all__ = ["Group", "Grouped", "group", "missing_runs"]

_MOST_NAMED: Final = 6
_DERIVED: Final = {"arithmetic": ("engine", "device")}  # what follows from what else
_NEVER_MATTERS: Final = ("engine",)  # that of equal arithmetic gives equal numbers
_SAME_START: Final = frozenset({"variant", "device", "engine", "arithmetic", "steps", "learning_rate", "momentum"})


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in their seeds alone.

    Args:
        name: by what it differs from the others: `untied`, `untied, cuda:0`.
        facts: the same by name.
        runs: those that FINISHED, by seed.
        missing: the seeds that another group has and this one has not.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    runs: tuple[RunView, ...]
    missing: tuple[int, ...]

    @property
    def planned(self) -> int:
        """How many runs it was to have."""
        return len(self.runs) + len(self.missing)

    def values(self, metric: str) -> dict[int, float]:
        """The value of a metric by seed."""
        return {run.seed: run.scores[metric] for run in self.runs}


@dataclass(frozen=True, slots=True)
class Grouped:
    """The groups of a comparison.

    Args:
        target: what all of them trained.
        metric: what is compared.
        finals: all that their trained nets come to.
        groups: in the order in which they are shown; the first is the one that the others are held against.
        common: what all their runs have in common, by name.
        pairs: whether the runs of one seed began alike in all groups.
    """

    target: Target
    metric: Metric
    finals: tuple[Metric, ...]
    groups: tuple[Group, ...]
    common: dict[str, str]
    pairs: bool

    @property
    def missing(self) -> dict[str, tuple[int, ...]]:
        """The seeds that are missing, by group."""
        return {one.name: one.missing for one in self.groups if one.missing}


def group(runs: Sequence[RunView], spec: CompareSpec, planned: Iterable[int] = ()) -> Grouped:
    """Put the runs that `spec` asks for into groups.

    Args:
        planned: seeds that every group was to have, beside those that any of them has.

    Raises:
        UsageError: there are none, they differ in more than the groups do, a name is not one of theirs, or runs are
            missing and `partial` was not asked for.
    """
    asked = _asked_for(runs, spec)
    target = asked[0].target
    _check_alike(asked, spec)
    cells = defaultdict[tuple[str, ...], dict[int, RunView]](dict)
    for run in asked:
        of_group = cells[tuple(run.facts.get(name, "none") for name in spec.by_list)]
        if run.seed not in of_group or (run.finished and not of_group[run.seed].finished):
            of_group[run.seed] = run
    seeds = sorted({*planned, *(run.seed for run in asked)})
    groups = tuple(
        _group(spec.by_list, values, cells[values], seeds)
        for values in sorted(cells, key=lambda one: _order(target, one))
    )
    finals = _finals(target, asked)
    pairs = _SAME_START.issuperset(spec.by_list)
    grouped = Grouped(target, _metric(groups, finals, spec), finals, groups, _common(asked), pairs)
    if grouped.missing and not spec.partial:
        raise UsageError(
            f"runs are missing: {missing_runs(grouped)}; train them, or compare what is there with --partial"
        )
    return grouped


def missing_runs(grouped: Grouped) -> str:
    """Which runs are missing, in words."""
    return "; ".join(f"{name} has not finished {_seeds(seeds)}" for name, seeds in grouped.missing.items())


def _group(names: Iterable[str], values: tuple[str, ...], runs: dict[int, RunView], seeds: Sequence[int]) -> Group:
    finished = tuple(runs[seed] for seed in seeds if seed in runs and runs[seed].finished)
    there = {run.seed for run in finished}
    missing = tuple(seed for seed in seeds if seed not in there)
    return Group(", ".join(values), tuple(zip(names, values, strict=True)), finished, missing)


def _asked_for(runs: Sequence[RunView], spec: CompareSpec) -> list[RunView]:
    known = sorted({name for run in runs for name in run.facts})
    for name in (*spec.by_list, *spec.conditions):
        if runs and name not in known:
            raise UsageError(f"the runs have no parameter {name!r}; expected one of {', '.join(known)}")
    asked = [run for run in runs if all(run.facts.get(name) == value for name, value in spec.conditions.items())]
    if not asked:
        which = f" with {spec.where}" if spec.where else ""
        raise UsageError(
            f"the experiment {spec.experiment!r} has no run of a seed that ended{which}; train some, or name another"
        )
    targets = sorted({run.facts[TARGET] for run in asked})
    if len(targets) > 1:  # they have no number in common
        raise UsageError(f"the runs are of {' and '.join(targets)}; choose one by --where target={targets[0]}")
    return asked


def _check_alike(runs: Sequence[RunView], spec: CompareSpec) -> None:
    """Refuse runs that differ in more than the groups are to differ in: whatever came out would say nothing."""
    free = {*spec.by_list, *_NEVER_MATTERS, *(name for name, of in _DERIVED.items() if {*of} & {*spec.by_list})}
    several = {name: values for name, values in _values_of(runs).items() if len(values) > 1 and name not in free}
    if several:
        said = "; ".join(f"{name} ({_some(sorted(values, key=_natural))})" for name, values in several.items())
        name, values = next(iter(several.items()))
        raise UsageError(
            f"the runs differ in more than {spec.by}: {said}; choose one, such as by --where "
            f"{name}={min(values, key=_natural)}, or compare --by {spec.by},{name}"
        )


def _values_of(runs: Sequence[RunView]) -> dict[str, set[str]]:
    names = dict.fromkeys(name for run in runs for name in run.facts)
    return {name: {run.facts.get(name, "none") for run in runs} for name in names}


def _common(runs: Sequence[RunView]) -> dict[str, str]:
    return {name: min(values) for name, values in _values_of(runs).items() if len(values) == 1}


def _finals(target: Target, runs: Sequence[RunView]) -> tuple[Metric, ...]:
    """Those that all of the runs have that finished."""
    finished = [run.scores for run in runs if run.finished]
    return tuple(metric for metric in target.finals if all(metric.name in metrics for metrics in finished))


def _metric(groups: Sequence[Group], finals: Sequence[Metric], spec: CompareSpec) -> Metric:
    name = spec.metric or finals[0].name
    finished = [run for one in groups for run in one.runs]
    if not finished:
        raise UsageError(f"no run of the experiment {spec.experiment!r} finished; there is nothing to compare")
    costs = [metric for metric in COSTS if all(metric.name in run.scores for run in finished)]
    known = {metric.name: metric for metric in (*finals, *costs)}
    if name not in known:
        there = any(name in run.scores for run in finished)
        why = f"nobody knows which way {name!r} is better" if there else f"the runs have no metric {name!r}"
        raise UsageError(f"{why}; expected one of {', '.join(known)}")
    return known[name]


def _order(target: Target, values: tuple[str, ...]) -> tuple[object, ...]:
    """The variants as their target has them, numbers by size, all else by its letters."""
    return tuple(
        (0, float(target.variants.index(one)), "") if one in target.variants else _natural(one) for one in values
    )


def _natural(value: str) -> tuple[int, float, str]:
    try:
        return 1, float(value), ""
    except ValueError:
        return 2, 0.0, value


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {_some([str(seed) for seed in seeds])}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    return shown if len(names) <= _MOST_NAMED else f"{shown} and {len(names) - _MOST_NAMED} more"
