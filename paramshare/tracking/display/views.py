"""Saved views of an experiment on MLflow's pages: runs of one kind, single or in groups, with charts of their metrics.

Without them MLflow shows a list of collapsed sweeps without their numbers. MLflow does not document saved views. Their
format here is that of MLflow 3.17, and a test in a browser checks it. Their limits (sources: `static/js`): groups show
minimum, maximum or arithmetic mean, but no median. Only line charts have a log axis, and draw all metrics of a run in
its colour. The title of a chart is its metrics. The list of runs is 295 pixels wide, so names of groups fit only if
they are of one parameter and the list does not scroll.
"""

import base64
import json
import time
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from paramshare.recipes.metrics import LOSS, MACS, PARAMETERS, SECONDS
from paramshare.recipes.target import TARGETS, Target
from paramshare.tracking.tags import KIND, ORDER, RUNS_FINISHED, SAVED_VIEW, SHARING, TARGET, loss_metric

__all__ = [
    "VIEWS",
    "View",
    "missing_views",
    "recipe_view_tags",
    "saved_view_tags",
    "seeds_view",
    "study_view_tags",
    "sweep_view_tags",
    "view_key",
]

View = Literal["seeds", "digits-seeds", "dynamicnet", "digits", "sweep", "digits-sweep", "counts"]
VIEWS: Final[tuple[View, ...]] = get_args(View)
"""The views that every experiment has. Those of a recipe are added with its first sweep."""

_DYNAMICNET, _DIGITS = TARGETS["dynamicnet"], TARGETS["digits"]


@dataclass(frozen=True, slots=True)
class _Section:
    """Charts under a title.

    Args:
        title: of the section; a narrow page shows only its first words.
        charts: the metrics of each chart.
        lines: if true, lines over the steps on a log axis; otherwise a bar for each run.
        columns: the number of charts side by side.
    """

    title: str
    charts: tuple[tuple[str, ...], ...]
    lines: bool = False
    columns: int = 2


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of a view.

    Args:
        name: in MLflow's list of saved views.
        condition: selects the runs, in the syntax of MLflow's search.
        order: the column to sort by. By start time MLflow nests the seeds of a sweep and hides them.
        columns: the params and metrics in the table.
        sections: the charts.
        ascending: the direction of the order.
        groups: parameters. Runs with equal values are drawn as one, at their arithmetic mean.
        variants: the names of groups by variant, which the page shows folded.
    """

    name: str
    condition: str
    order: str
    columns: tuple[str, ...]
    sections: tuple[_Section, ...]
    ascending: bool = True
    groups: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()


def _seeds(target: Target) -> _Content:
    """Return the view of a target's seeds without groups."""
    final_metrics, costs = _metrics(target)
    return _Content(
        name=f"Seeds of {target.title}",
        condition=_of_target(target),
        order=f"tags.`{ORDER}`",
        columns=("params.`variant`", "params.`seed`", "params.`device`", *_columns(*final_metrics, *costs)),
        sections=(
            _Section("Loss at every step", ((LOSS,),), lines=True, columns=1),
            _Section("The trained nets", tuple((name,) for name in final_metrics)),
            _Section("What they take", tuple((name,) for name in costs)),
        ),
    )


def _groups(target: Target, groups: tuple[str, ...] = ("variant",), placement: str = "moved") -> _Content:
    """Return the view of a target's seeds in groups.

    Args:
        groups: parameters. The name of a group of one parameter is its value; names of two parameters do not fit.
        placement: of digits; runs with another placement are not shown.
    """
    final_metrics, costs = _metrics(target)
    means = "Arithmetic means, not medians:"  # 40 characters fit in a window of 1920 pixels
    restricted = f" AND params.`placement` = '{placement}'" if target.name == "digits" else ""
    return _Content(
        name=f"{target.title} by {' and '.join(groups)}",
        condition=_of_target(target) + restricted,
        order=f"tags.`{ORDER}`",
        columns=_columns(*final_metrics, *costs),
        sections=(
            _Section(f"{means} loss", ((LOSS,),), lines=True, columns=1),
            _Section(f"{means} nets", tuple((name,) for name in final_metrics)),
            _Section(f"{means} costs", tuple((name,) for name in costs)),
        ),
        groups=groups,
        variants=target.variants,
    )


def _of_target(target: Target) -> str:
    return f"tags.`{KIND}` = 'seed' AND params.`{TARGET}` = '{target.name}'"


def _metrics(target: Target) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the final metrics of a target, the headline first, and its cost metrics."""
    macs = (MACS,) if target.counts_macs else ()
    return tuple(metric.name for metric in target.final_metrics), (PARAMETERS, *macs, SECONDS)


def _columns(*metrics: str) -> tuple[str, ...]:
    return tuple(f"metrics.`{name}`" for name in metrics)


def _sweep(target: Target, groups: Collection[str], run_id: str | None = None) -> _Content:
    """Return the view of the medians and quartiles of a sweep's groups.

    The lines of a chart differ in their dashes alone, of which there are six: so the medians of several groups have a
    chart, with a dash for each group, and each group has a chart of its median and quartiles.

    Args:
        groups: as in the names of the sweep's metrics.
        run_id: of the sweep. Defaults to None: all sweeps of the target.
    """
    title = target.title
    names = ("median", "lower_quartile", "upper_quartile")
    bands = tuple(tuple(loss_metric(name, group) for name in names) for group in groups)
    medians = tuple(median for median, *_ in bands)
    sections = [_Section("Median and quartiles of the loss", bands, lines=True, columns=min(2, len(bands)))]
    if len(medians) > 1:
        sections.insert(0, _Section("Medians of the loss", (medians,), lines=True, columns=1))
    every = f"tags.`{KIND}` = 'sweep' AND params.`{TARGET}` = '{target.name}'"
    return _Content(
        name=f"Last sweep of {title}",
        condition=every if run_id is None else f"attributes.run_id = '{run_id}'",
        order="attributes.start_time",
        ascending=False,
        columns=("params.`variant`", "params.`seeds`", "params.`devices`", f"metrics.`{RUNS_FINISHED}`"),
        sections=tuple(sections),
    )


_COUNTS: Final = ("shared", "per_use", "unshared", "dense", "factor", "macs")

_CONTENTS: Final[dict[View, _Content]] = {
    "seeds": _seeds(_DYNAMICNET),
    "digits-seeds": _seeds(_DIGITS),
    "counts": _Content(
        name="Counts",
        condition=f"tags.`{KIND}` = 'count'",
        order=f"metrics.`{SHARING}factor`",  # the largest savings first
        ascending=False,
        columns=("params.`model`", "params.`input`", *_columns(*(f"{SHARING}{name}" for name in _COUNTS))),
        sections=(
            _Section("Parameters", tuple((f"{SHARING}{name}",) for name in ("shared", "unshared", "dense")), columns=3),
            _Section("What sharing saves", ((f"{SHARING}factor",), (f"{SHARING}macs",))),
        ),
    ),
    "dynamicnet": _groups(_DYNAMICNET),
    "digits": _groups(_DIGITS),
    "sweep": _sweep(_DYNAMICNET, [f"{variant}-cpu" for variant in _DYNAMICNET.variants]),
    "digits-sweep": _sweep(_DIGITS, [f"{variant}-cpu" for variant in _DIGITS.variants]),
}


def view_key(view: str) -> str:
    """Return the view's key in an address: `viewStateShareKey=paramshare-seeds`."""
    return f"paramshare-{view}"


def seeds_view(target: Target) -> str:
    """Return the view of a target's seeds."""
    return _view(target, "seeds")


def saved_view_tags(*views: View) -> dict[str, str]:
    """Return the experiment's tags that contain the views."""
    return {f"{SAVED_VIEW}{view_key(view)}": _packed(_CONTENTS[view]) for view in views}


def study_view_tags(target: Target, options: Mapping[str, object], *, several_devices: bool) -> dict[str, str]:
    """Return the experiment's tags that contain the view of a study's groups.

    Args:
        options: of the study's runs.
        several_devices: true if the groups differ in their devices, too.
    """
    groups = ("variant", "device") if several_devices else ("variant",)
    content = _groups(target, groups, str(options.get("placement", "moved")))
    return {f"{SAVED_VIEW}{view_key(target.name)}": _packed(content)}


def sweep_view_tags(target: Target, groups: Collection[str], run_id: str) -> dict[str, str]:
    """Return the experiment's tags that contain the view of a sweep that has ended. For arguments see `_sweep`."""
    return {f"{SAVED_VIEW}{view_key(_view(target, 'sweep'))}": _packed(_sweep(target, groups, run_id))}


def recipe_view_tags(target: Target) -> dict[str, str]:
    """Return the experiment's tags that contain the views of a recipe's seeds and variants; none for a built-in one."""
    if target.built_in:
        return {}
    views = {seeds_view(target): _seeds(target), target.name: _groups(target)}
    return {f"{SAVED_VIEW}{view_key(view)}": _packed(content) for view, content in views.items()}


def missing_views(tags: Collection[str]) -> dict[str, str]:
    """Return the tags of the views that are missing from an experiment's tags: it can be older than the views."""
    return saved_view_tags(*(view for view in VIEWS if f"{SAVED_VIEW}{view_key(view)}" not in tags))


def _view(target: Target, kind: str) -> str:
    """Return the name of a target's view: `seeds` for DynamicNet, `digits-seeds` for others."""
    return kind if target is _DYNAMICNET else f"{target.name}-{kind}"


def _packed(content: _Content) -> str:
    now = int(time.time() * 1000)
    state = base64.b64encode(zlib.compress(json.dumps(_state(content)).encode())).decode()
    return json.dumps({"name": content.name, "createdAt": now, "updatedAt": now, "state": f"deflate;{state}"})


def _state(content: _Content) -> dict[str, Any]:
    return {
        "searchFilter": content.condition,
        "orderByKey": content.order,
        "orderByAsc": content.ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(content.columns),
        "columnOrder": [],
        "columnWidths": {},
        "runsHidden": [],
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [_chart(section, metrics) for section in content.sections for metrics in section.charts],
        "compareRunSections": [_section(section) for section in content.sections],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "groupBy": _grouped(content.groups),
        "groupsExpanded": {f"param.variant.{name}": False for name in content.variants},
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
