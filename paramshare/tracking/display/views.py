"""Saved views of an experiment on MLflow's pages: the runs of one kind, each or in groups, and the charts that matter.

Without them MLflow opens a list of collapsed sweeps with none of their numbers. Saved views are not documented: what is
written here was read off MLflow 3.17's own, and a test in a browser guards it. What they cannot do (its sources:
`static/js`): groups show minimum, maximum or arithmetic mean, and no median; only line charts have a log axis, and draw
all metrics of a run in its colour; a chart is titled by its metrics; the list of runs is 295 pixels wide, so that names
of groups fit only if they are of one parameter and the list does not scroll.
"""

import base64
import json
import time
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from paramshare.training.targets import LOSS, MACS, PARAMETERS, SECONDS, TARGETS, TargetName

__all__ = [
    "ORDER",
    "VIEWS",
    "View",
    "missing_views",
    "saved_view_tags",
    "seeds_view",
    "study_view_tags",
    "sweep_view_tags",
    "view_key",
]

View = Literal["seeds", "digits-seeds", "dynamicnet", "digits", "sweep", "digits-sweep", "counts"]
VIEWS: Final[tuple[View, ...]] = get_args(View)

ORDER: Final = "paramshare.order"
"""The tag of a seed's run that the pages sort by. They sort parameters as text: seed 10 comes before seed 2."""

_PREFIX: Final = "mlflow.sharedViewState."


@dataclass(frozen=True, slots=True)
class _Section:
    """Charts under a title.

    Args:
        title: its first words are all that a narrow page shows.
        charts: the metrics of each.
        lines: if true, drawn step by step on a log axis; else a bar a run.
        columns: charts side by side.
    """

    title: str
    charts: tuple[tuple[str, ...], ...]
    lines: bool = False
    columns: int = 2


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a view shows.

    Args:
        name: in MLflow's list of saved views.
        condition: which runs, in the words of MLflow's search.
        order: the column they are sorted by. By start time MLflow nests the seeds of a sweep and hides them.
        columns: params and metrics of the table.
        sections: of charts.
        ascending: which way.
        groups: parameters; runs that are alike in them are drawn as one, at their arithmetic mean.
    """

    name: str
    condition: str
    order: str
    columns: tuple[str, ...]
    sections: tuple[_Section, ...]
    ascending: bool = True
    groups: tuple[str, ...] = ()


def _seeds(target: TargetName) -> _Shown:
    """Return the view of a target's seeds, each by itself."""
    finals, costs = _metrics(target)
    return _Shown(
        name=f"Seeds of {TARGETS[target].title}",
        condition=_of_target(target),
        order=f"tags.`{ORDER}`",
        columns=("params.`variant`", "params.`seed`", "params.`device`", *_columns(*finals, *costs)),
        sections=(
            _Section("Loss at every step", ((LOSS,),), lines=True, columns=1),
            _Section("The trained nets", tuple((name,) for name in finals)),
            _Section("What they take", tuple((name,) for name in costs)),
        ),
    )


def _groups(target: TargetName, groups: tuple[str, ...] = ("variant",), placement: str = "moved") -> _Shown:
    """Return the view of a target's seeds in groups.

    Args:
        groups: parameters. A group of one is named by its value, a group of two by more than fits.
        placement: of digits; runs of another are not shown.
    """
    finals, costs = _metrics(target)
    means = "Arithmetic means, not medians:"  # 40 characters fit in a window of 1920 pixels
    restricted = f" AND params.`placement` = '{placement}'" if target == "digits" else ""
    return _Shown(
        name=f"{TARGETS[target].title} by {' and '.join(groups)}",
        condition=_of_target(target) + restricted,
        order=f"tags.`{ORDER}`",
        columns=_columns(*finals, *costs),
        sections=(
            _Section(f"{means} loss", ((LOSS,),), lines=True, columns=1),
            _Section(f"{means} nets", tuple((name,) for name in finals)),
            _Section(f"{means} costs", tuple((name,) for name in costs)),
        ),
        groups=groups,
    )


def _of_target(target: TargetName) -> str:
    return f"tags.`paramshare.kind` = 'seed' AND params.`target` = '{target}'"


def _metrics(target: TargetName) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the metrics of a target's trained nets, the headline first, and those of what they take."""
    macs = (MACS,) if TARGETS[target].counts_macs else ()
    return tuple(metric.name for metric in TARGETS[target].finals), (PARAMETERS, *macs, SECONDS)


def _columns(*metrics: str) -> tuple[str, ...]:
    return tuple(f"metrics.`{name}`" for name in metrics)


def _sweep(target: TargetName, groups: Collection[str], run_id: str | None = None) -> _Shown:
    """Return the view of the medians and quartiles of a sweep's groups in one chart, a dash a metric.

    Args:
        groups: as they stand in the names of its metrics.
        run_id: of the sweep. Defaults to None: all of the target.
    """
    title = TARGETS[target].title
    metrics = tuple(
        f"loss/{name}/{group}" for group in groups for name in ("median", "lower_quartile", "upper_quartile")
    )
    every = f"tags.`paramshare.kind` = 'sweep' AND params.`target` = '{target}'"
    return _Shown(
        name=f"Last sweep of {title}",
        condition=every if run_id is None else f"attributes.run_id = '{run_id}'",
        order="attributes.start_time",
        ascending=False,
        columns=("params.`variant`", "params.`seeds`", "params.`devices`", "metrics.`runs/finished`"),
        sections=(_Section("Median and quartiles of the loss", (metrics,), lines=True, columns=1),),
    )


_COUNTS: Final = ("shared", "per_use", "unshared", "dense", "factor", "macs")

_SHOWN: Final[dict[View, _Shown]] = {
    "seeds": _seeds("dynamicnet"),
    "digits-seeds": _seeds("digits"),
    "counts": _Shown(
        name="Counts",
        condition="tags.`paramshare.kind` = 'count'",
        order="metrics.`sharing/factor`",  # the largest savings first
        ascending=False,
        columns=("params.`model`", "params.`input`", *_columns(*(f"sharing/{name}" for name in _COUNTS))),
        sections=(
            _Section("Parameters", (("sharing/shared",), ("sharing/unshared",), ("sharing/dense",)), columns=3),
            _Section("What sharing saves", (("sharing/factor",), ("sharing/macs",))),
        ),
    ),
    "dynamicnet": _groups("dynamicnet"),
    "digits": _groups("digits"),
    "sweep": _sweep("dynamicnet", [f"{variant}-cpu" for variant in TARGETS["dynamicnet"].variants]),
    "digits-sweep": _sweep("digits", [f"{variant}-cpu" for variant in TARGETS["digits"].variants]),
}


def view_key(view: View) -> str:
    """The view's key in an address: `viewStateShareKey=paramshare-seeds`."""
    return f"paramshare-{view}"


def seeds_view(target: TargetName) -> View:
    """Return the view of a target's seeds."""
    return "seeds" if target == "dynamicnet" else "digits-seeds"


def saved_view_tags(*views: View) -> dict[str, str]:
    """The experiment tags that hold the views."""
    return {f"{_PREFIX}{view_key(view)}": _packed(_SHOWN[view]) for view in views}


def study_view_tags(target: TargetName, options: Mapping[str, object], *, several_devices: bool) -> dict[str, str]:
    """The experiment tags that hold the view of a study's groups.

    Args:
        options: of the study's runs.
        several_devices: whether its groups are told apart by their devices, too.
    """
    groups = ("variant", "device") if several_devices else ("variant",)
    return {f"{_PREFIX}{view_key(target)}": _packed(_groups(target, groups, str(options.get("placement", "moved"))))}


def sweep_view_tags(target: TargetName, groups: Collection[str], run_id: str) -> dict[str, str]:
    """The experiment tags that hold the view of a sweep that has ended. Arguments as of `_sweep`."""
    view: View = "sweep" if target == "dynamicnet" else "digits-sweep"
    return {f"{_PREFIX}{view_key(view)}": _packed(_sweep(target, groups, run_id))}


def missing_views(tags: Collection[str]) -> dict[str, str]:
    """The tags of those views that an experiment with these tags does not have: it can be older than they are."""
    return saved_view_tags(*(view for view in VIEWS if f"{_PREFIX}{view_key(view)}" not in tags))


def _packed(shown: _Shown) -> str:
    now = int(time.time() * 1000)
    state = base64.b64encode(zlib.compress(json.dumps(_state(shown)).encode())).decode()
    return json.dumps({"name": shown.name, "createdAt": now, "updatedAt": now, "state": f"deflate;{state}"})


def _state(shown: _Shown) -> dict[str, Any]:
    return {
        "searchFilter": shown.condition,
        "orderByKey": shown.order,
        "orderByAsc": shown.ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(shown.columns),
        "columnOrder": [],
        "columnWidths": {},
        "runsHidden": [],
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [_chart(section, metrics) for section in shown.sections for metrics in section.charts],
        "compareRunSections": [_section(section) for section in shown.sections],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "groupBy": _grouped(shown.groups),
        "groupsExpanded": {f"param.variant.{name}": False for target in TARGETS.values() for name in target.variants},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "chartsSearchFilter": "",
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _grouped(parameters: tuple[str, ...]) -> dict[str, Any] | None:
    if not parameters:
        return None
    keys = [{"mode": "param", "groupByData": name} for name in parameters]
    return {"aggregateFunction": "average", "groupByKeys": keys}


def _section(section: _Section) -> dict[str, Any]:
    flags = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}
    layout = {"columns": section.columns, "cardHeight": 400 if section.lines else 300}
    return {"uuid": section.title, "name": section.title, **flags, **layout}


def _chart(section: _Section, metrics: tuple[str, ...]) -> dict[str, Any]:
    chart = {
        "uuid": f"{section.title} {metrics[0]}",
        "type": "LINE" if section.lines else "BAR",
        "runsCountToCompare": 10,
        "metricSectionId": section.title,
        "deleted": False,
        "isGenerated": False,
        "displayName": metrics[0],
        "metricKey": metrics[0],
    }
    return {**chart, **_LINES, "selectedMetricKeys": list(metrics)} if section.lines else chart


_LINES: Final = {
    "scaleType": "log",
    "xAxisScaleType": "linear",
    "xAxisKey": "step",
    "selectedXAxisMetricKey": "",
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
    "lineSmoothness": 0,
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "range": {},
}
