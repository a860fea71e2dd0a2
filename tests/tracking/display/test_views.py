"""Test the content of the saved views of MLflow's pages; tests in a browser prove that MLflow shows it."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any, Literal

import pytest

from paramshare.recipes.target import TARGETS
from paramshare.tracking.display.views import (
    VIEWS,
    saved_view_tags,
    seeds_view,
    study_view_tags,
    sweep_view_tags,
)

LARGEST_TAG = 5000  # characters of an experiment's tag that MLflow takes


def state_of(tags: dict[str, str]) -> dict[str, Any]:
    (packed,) = tags.values()
    state = json.loads(packed)["state"].removeprefix("deflate;")
    return dict(json.loads(zlib.decompress(base64.b64decode(state))))


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_all_of_its_runs_and_fits_in_a_tag(view: Any) -> None:
    tags = saved_view_tags(view)
    assert state_of(tags)["runsHiddenMode"] == "SHOW_ALL"
    assert all(len(value) < LARGEST_TAG for value in tags.values())


@pytest.mark.parametrize("target", ["dynamicnet", "digits"])
def test_the_view_of_a_target_excludes_the_runs_of_other_targets(target: Literal["dynamicnet", "digits"]) -> None:
    seeds: Any = seeds_view(TARGETS[target])
    for view in (seeds, target):
        assert f"params.`target` = '{target}'" in state_of(saved_view_tags(view))["searchFilter"]


def test_the_groups_of_a_view_have_one_parameter_unless_a_study_has_several_devices() -> None:
    for several, expected in ((False, ["variant"]), (True, ["variant", "device"])):
        keys = state_of(study_view_tags(TARGETS["dynamicnet"], {}, several_devices=several))["groupBy"]["groupByKeys"]
        assert [key["groupByData"] for key in keys] == expected


def test_the_view_of_plain_digits_excludes_moved_digits() -> None:
    tags = study_view_tags(TARGETS["digits"], {"placement": "plain"}, several_devices=False)
    assert "params.`placement` = 'plain'" in state_of(tags)["searchFilter"]


def bands(*groups: str) -> list[list[str]]:
    """Return the metrics of each group's median and quartiles."""
    return [[f"loss/{name}/{group}" for name in ("median", "lower_quartile", "upper_quartile")] for group in groups]


def test_the_view_of_a_sweep_draws_its_median_and_quartiles_in_one_chart_on_a_log_axis() -> None:
    state = state_of(sweep_view_tags(TARGETS["dynamicnet"], ["shared-cpu"], "abc"))
    (chart,) = state["compareRunCharts"]
    assert state["searchFilter"] == "attributes.run_id = 'abc'"
    assert (chart["type"], chart["scaleType"]) == ("LINE", "log")
    assert chart["selectedMetricKeys"] == bands("shared-cpu")[0]


def test_the_view_of_a_sweep_of_several_groups_compares_medians_and_draws_each_group_by_itself() -> None:
    groups = ("conv-cpu", "local-cpu", "dense-cpu")
    medians, *others = state_of(sweep_view_tags(TARGETS["digits"], groups, "abc"))["compareRunCharts"]
    assert medians["selectedMetricKeys"] == [f"loss/median/{group}" for group in groups]
    assert [chart["selectedMetricKeys"] for chart in others] == bands(*groups)
    assert {chart["scaleType"] for chart in (medians, *others)} == {"log"}
    assert len({chart["uuid"] for chart in (medians, *others)}) == 4
