"""Saved views of an experiment on MLflow's pages: the runs of one kind, each or in groups, and the charts that matter.

Without them MLflow opens a list of collapsed sweeps with none of their numbers. Saved views are not documented: what is
written here was read off MLflow 3.17's own, and a test in a browser guards it.
"""

import base64
import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

__all__ = ["VIEWS", "View", "saved_view_tags", "view_key"]

View = Literal["seeds", "counts", "dynamicnet", "digits"]
VIEWS: Final[tuple[View, ...]] = get_args(View)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a view shows.

    Args:
        condition: which runs, in the words of MLflow's search.
        order: the column they are sorted by. By start time MLflow nests the seeds of a sweep and hides them.
        ascending: which way.
        columns: params and metrics.
        lines: metrics drawn step by step, on a log axis, by the title of their section.
        bars: metrics drawn as a bar a run, likewise.
        groups: parameters; runs that are alike in them are drawn as one, at their average.
    """

    condition: str
    order: str
    ascending: bool
    columns: tuple[str, ...]
    lines: Mapping[str, tuple[str, ...]]
    bars: Mapping[str, tuple[str, ...]]
    groups: tuple[str, ...] = ()


_GROUPS: Final = ("variant", "device")

_SHOWN: Final[dict[View, _Shown]] = {
    "seeds": _Shown(
        condition="tags.`paramshare.kind` = 'seed'",
        order="params.`seed`",  # the variants side by side
        ascending=True,
        columns=(
            "params.`variant`",
            "params.`seed`",
            "params.`device`",
            "metrics.`final/loss_mean_depth`",
            "metrics.`final/loss_depth_0`",
            "metrics.`final/loss_depth_3`",
            "metrics.`time/seconds`",
        ),
        lines={"Loss at every step": ("train/loss",)},
        bars={
            "The trained net's loss, by depth": (
                "final/loss_mean_depth",
                *(f"final/loss_depth_{depth}" for depth in range(4)),
            )
        },
    ),
    "counts": _Shown(
        condition="tags.`paramshare.kind` = 'count'",
        order="metrics.`sharing/factor`",  # the largest savings first
        ascending=False,
        columns=(
            "params.`model`",
            "params.`input`",
            *(f"metrics.`sharing/{name}`" for name in ("shared", "per_use", "unshared", "dense", "factor", "macs")),
        ),
        lines={},
        bars={
            "Parameters": tuple(f"sharing/{name}" for name in ("shared", "unshared", "dense")),
            "What sharing saves": ("sharing/factor", "sharing/macs"),
        },
    ),
    "dynamicnet": _Shown(
        condition="tags.`paramshare.kind` = 'seed' AND params.`target` = 'dynamicnet'",
        order="params.`seed`",
        ascending=True,
        columns=(
            "metrics.`final/loss_mean_depth`",
            *(f"metrics.`final/loss_depth_{depth}`" for depth in range(4)),
            "metrics.`model/parameters`",
        ),
        lines={"Loss at every step, the mean of each group": ("train/loss",)},
        bars={
            "The trained net's loss, by depth, the mean of each group": (
                "final/loss_mean_depth",
                *(f"final/loss_depth_{depth}" for depth in range(4)),
            ),
            "What it takes": ("model/parameters", "time/seconds"),
        },
        groups=_GROUPS,
    ),
    "digits": _Shown(
        condition="tags.`paramshare.kind` = 'seed' AND params.`target` = 'digits'",
        order="params.`seed`",
        ascending=True,
        columns=(
            "params.`placement`",
            "metrics.`final/accuracy_unseen`",
            "metrics.`final/accuracy`",
            "metrics.`final/steps`",
            "metrics.`model/parameters`",
            "metrics.`model/macs`",
        ),
        lines={"Loss at every step, the mean of each group": ("train/loss",)},
        bars={
            "Accuracy, the mean of each group": ("final/accuracy_unseen", "final/accuracy"),
            "What it takes": ("model/parameters", "model/macs", "final/steps", "time/seconds"),
        },
        groups=(*_GROUPS, "placement"),
    ),
}


def view_key(view: View) -> str:
    """The view's key in an address: `viewStateShareKey=paramshare-seeds`."""
    return f"paramshare-{view}"


def saved_view_tags(*views: View) -> dict[str, str]:
    """The experiment tags that hold the views."""
    return {f"mlflow.sharedViewState.{view_key(view)}": _packed(view) for view in views}


def _packed(view: View) -> str:
    now = int(time.time() * 1000)
    state = base64.b64encode(zlib.compress(json.dumps(_state(_SHOWN[view])).encode())).decode()
    return json.dumps({"name": view.capitalize(), "createdAt": now, "updatedAt": now, "state": f"deflate;{state}"})


def _state(shown: _Shown) -> dict[str, Any]:
    charts = [_line(title, metric) for title, metrics in shown.lines.items() for metric in metrics]
    charts += [_bar(title, metric) for title, metrics in shown.bars.items() for metric in metrics]
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
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": [_section(title, title) for title in (*shown.lines, *shown.bars)],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "groupBy": _grouped(shown.groups),
        "groupsExpanded": {},
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


def _section(key: str, name: str) -> dict[str, Any]:
    flags = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}
    return {"uuid": key, "name": name, **flags}


def _chart(kind: str, section: str, metric: str) -> dict[str, Any]:
    return {
        "uuid": metric,
        "type": kind,
        "runsCountToCompare": 10,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "displayName": metric,
        "metricKey": metric,
    }


def _bar(section: str, metric: str) -> dict[str, Any]:
    return _chart("BAR", section, metric)


def _line(section: str, metric: str) -> dict[str, Any]:
    return {
        **_chart("LINE", section, metric),
        "selectedMetricKeys": [metric],
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
