"""A saved view of an experiment on MLflow's pages: every seed's run flat, the columns and charts that matter.

Without it MLflow opens a list of collapsed sweeps with none of their numbers. Saved views are not documented: what is
written here was read off MLflow 3.17's own, and a test in a browser guards it.
"""

import base64
import json
import time
import zlib
from typing import Any, Final

__all__ = ["SEEDS_VIEW", "saved_view_tags"]

SEEDS_VIEW: Final = "paramshare-seeds"
"""The view's key in an address: `viewStateShareKey=paramshare-seeds`."""

_COLUMNS: Final = (
    "params.`variant`",
    "params.`seed`",
    "params.`device`",
    "metrics.`final/loss_mean_depth`",
    "metrics.`final/loss_depth_0`",
    "metrics.`final/loss_depth_3`",
    "metrics.`time/seconds`",
)
_SECTIONS: Final = {"loss": "Loss at every step", "final": "The trained net's loss, by depth"}
_FINAL: Final = ("loss_mean_depth", "loss_depth_0", "loss_depth_1", "loss_depth_2", "loss_depth_3")


def saved_view_tags() -> dict[str, str]:
    """The experiment tags that hold the view."""
    now = int(time.time() * 1000)
    packed = base64.b64encode(zlib.compress(json.dumps(_state()).encode())).decode()
    view = {"name": "Seeds", "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    return {f"mlflow.sharedViewState.{SEEDS_VIEW}": json.dumps(view)}


def _state() -> dict[str, Any]:
    charts = [_line("loss", "train/loss"), *(_bar("final", f"final/{name}") for name in _FINAL)]
    return {
        "searchFilter": "tags.`paramshare.kind` = 'seed'",
        "orderByKey": "params.`seed`",  # the variants side by side; by start time MLflow nests the seeds and hides them
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(_COLUMNS),
        "columnOrder": [],
        "columnWidths": {},
        "runsHidden": [],
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": [_section(key, name) for key, name in _SECTIONS.items()],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "groupBy": None,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "chartsSearchFilter": "",
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


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
