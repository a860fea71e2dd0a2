"""A model named by its path is analysed and tracked as one that is at hand, and what a list comes to."""

import json
from pathlib import Path

import pytest
from torch import nn

from paramshare.counting.report import CountResult, CountRow
from paramshare.counting.run import analyze_model, count_model, track
from paramshare.counting.spec import ModelSpec
from paramshare.errors import SpecError, StoreError
from paramshare.sharing.analyze import analyze
from paramshare.tracking.store import StoreAddress, open_store

NETS = """
from torch import nn

def net(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU())
"""


@pytest.fixture
def spec() -> ModelSpec:
    """A model in the working directory."""
    Path("nets.py").write_text(NETS)
    return ModelSpec(model="nets.py:net", input="3,8,8", args={"width": 2})


def test_a_model_given_by_path_has_the_counts_of_the_same_model_as_an_object(spec: ModelSpec) -> None:
    report = analyze_model(spec)
    assert report.totals == analyze(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), (3, 8, 8)).totals
    assert report.model == "nets.py:net"


def test_a_counted_model_is_a_run_with_its_provenance(spec: ModelSpec, address: StoreAddress) -> None:
    row = count_model(spec, address, {"mlflow.source.name": "test"})
    run = open_store(address).client.get_run(row.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", spec.label)
    assert run.data.params.items() >= spec.source.items()
    assert run.data.tags["mlflow.source.name"] == "test"
    assert run.data.tags["paramshare.version.torch"]
    assert run.data.tags["mlflow.user"]


def test_a_report_made_in_python_can_be_tracked(address: StoreAddress) -> None:
    tracked = track(analyze(nn.Linear(3, 2), (3,)), address, {}, {})
    run = open_store(address).client.get_run(tracked.run_id)
    assert (run.info.experiment_id, run.info.run_name) == (tracked.experiment_id, "Linear on 1×3")


def test_a_count_in_a_store_that_does_not_open_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(StoreError):
        track(analyze_model(spec), StoreAddress("http://127.0.0.1:9", "x"), {}, {})


def test_a_missing_model_leaves_no_run(address: StoreAddress) -> None:
    with pytest.raises(SpecError, match="does not exist"):
        count_model(ModelSpec(model="absent.py:Net", input="3"), address, {})
    store = open_store(address)
    assert list(store.client.search_runs([store.experiment_id])) == []


def test_a_count_outcome_is_a_table_a_figure_and_json_with_its_failures(spec: ModelSpec) -> None:
    totals = analyze_model(spec).totals
    failed = CountRow(ModelSpec(model="a|b:c", input="3"), error="SpecError: no | such")
    outcome = CountResult("1", (CountRow(spec, "f00", totals), failed, CountRow(spec, "f01", totals)))
    assert outcome.failed == (failed,)
    lines = outcome.markdown(lambda run_id: f"http://pages/{run_id}").splitlines()
    assert lines[2].endswith(f"| {totals.shared:,} | 2,016 | 13,896 | 36.0 | 1,944 | [f00](http://pages/f00) |")
    assert lines[3] == r"| a\|b:c | 3 | – | – | – | – | – | failed |"
    assert lines[-1] == r"- **a\|b:c on 3** failed: SpecError: no \| such"
    assert [label.get_text() for label in outcome.figure().axes[0].get_yticklabels()] == [spec.label] * 2
    models = json.loads(json.dumps(outcome.as_dict()))["models"]
    assert [(model["model"], model["run_id"], model["error"]) for model in models] == [
        ("nets.py:net", "f00", ""),
        ("a|b:c", "", "SpecError: no | such"),
        ("nets.py:net", "f01", ""),
    ]
    assert models[0]["totals"]["unshared"] == totals.unshared
