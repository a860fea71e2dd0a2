"""The count flow counts every model as the library does, one task for each, a failed model stops no
other and is named, and Prefect and MLflow link to each other. Real flow runs against a real server.
"""

import asyncio
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from paramshare.cli import main
from paramshare.counting.report import CountResult, CountRow
from paramshare.counting.spec import CountSpec
from paramshare.flows.context import FlowContext, run_flow
from paramshare.flows.count import count
from paramshare.tracking.store import Store, StoreAddress, open_store
from support.flows.flow_records import connected, history, recorded
from support.flows.prefect_server import PrefectServer

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)

    def forward(self, x):
        return self.conv(x)

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.linear = nn.Embedding(10, 4), nn.Linear(5, 4)

    def forward(self, tokens, x):
        return self.table(tokens) + self.linear(x)

class Needs(nn.Module):
    def __init__(self, width):
        super().__init__()

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        raise ValueError("broken | on purpose")
"""

SPEC = CountSpec.model_validate(
    {
        "models": [
            {"model": "nets.py:Net", "input": "3,8,8", "args": {"width": 2}},
            {"model": "nets.py:Broken", "input": "2"},
            {"model": "nets:Pair", "input": "7;7,5", "dtype": "int64;float32"},
        ],
        "experiment": "counts",
        "sort": "unshared",
    }
)

NET = 'nets.py:Net {"width": 2} on 3,8,8'


class Counted:
    """Two runs of the flow, with and without the model that fails: their results, store and history."""

    def __init__(self, folder: Path, server: PrefectServer) -> None:
        self.home = folder / "prefect-home"
        address = StoreAddress(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}", SPEC.experiment)
        watched: list[CountRow] = []
        with recorded(server, self.home, tasks=4):
            outcome = run_flow(count, SPEC, FlowContext(address, on_row=watched.append))
            well = asyncio.run(counted_in_a_loop(SPEC.model_copy(update={"models": SPEC.models[:1]}), address))
        self.said, self.watched = plain(outcome.as_dict()), [plain(row.as_dict()) for row in watched]
        self.well = plain(well.as_dict())
        self.store: Store = open_store(address)

    def history(self, query: str) -> list[tuple[Any, ...]]:
        return history(self.home, query)


async def counted_in_a_loop(spec: CountSpec, address: StoreAddress) -> CountResult:
    """Run the flow in a thread in which an event loop runs, as in a cell of a notebook."""
    outcome = run_flow(count, spec, FlowContext(address))
    asyncio.get_running_loop()  # the caller's loop is there again
    return outcome


def plain(found: object) -> Any:
    """Return the object that a reader of the JSON output gets."""
    return json.loads(json.dumps(found))


@pytest.fixture(scope="module")
def counted(
    prefect_server: PrefectServer, migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counted]:
    folder = tmp_path_factory.mktemp("counted")
    shutil.copytree(migrated.parent, folder / "mlruns")
    (folder / "nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        yield Counted(folder, prefect_server)
    sys.modules.pop("nets", None)


def test_the_flow_counts_each_model_and_reports_the_error_of_a_failed_one(counted: Counted) -> None:
    net, broken, pair = counted.said["models"]
    assert net["totals"]["shared"] == 2 * (3 * 9 + 1)
    assert net["totals"]["unshared"] == 36 * net["totals"]["shared"]
    assert (pair["totals"]["shared"], pair["totals"]["unshared"]) == (10 * 4 + 5 * 4 + 4, 7 * (10 * 4 + 5 * 4 + 4))
    assert (broken["totals"], broken["run_id"]) == (None, "")
    assert broken["error"].startswith("SpecError: ")
    assert "broken | on purpose" in broken["error"]
    assert counted.watched == counted.said["models"]


def test_each_counted_model_is_an_mlflow_run_that_links_to_the_flow_run(counted: Counted) -> None:
    ((flow_run_id,),) = counted.history("SELECT id FROM flow_run WHERE name LIKE '%more'")
    names = (NET, "nets:Pair on 7;7,5")
    for name, model in zip(names, counted.said["models"][::2], strict=True):
        run = counted.store.client.get_run(model["run_id"])
        assert (run.info.status, run.info.run_name) == ("FINISHED", name)
        assert run.data.tags["paramshare.kind"] == "count"
        assert run.data.tags["paramshare.version.torch"]
        assert run.data.tags["prefect.flow_run_id"].replace("-", "") == flow_run_id.replace("-", "")
        assert run.data.tags["mlflow.source.name"] == "flows/count.py"
        assert run.data.params["unshared"] == str(model["totals"]["unshared"])
    assert run.data.params["dtype"] == "int64;float32"


def test_a_failed_model_fails_its_task_and_the_flow_run_which_names_it(counted: Counted) -> None:
    tasks = counted.history("SELECT name, state_type FROM task_run WHERE flow_run_id IS NOT NULL ORDER BY start_time")
    assert tasks == [
        (NET, "COMPLETED"),
        ("nets.py:Broken on 2", "FAILED"),
        ("nets:Pair on 7;7,5", "COMPLETED"),
        (NET, "COMPLETED"),
    ]
    flow_runs = "SELECT f.name, s.type, s.message FROM flow_run f JOIN flow_run_state s ON s.id = f.state_id"
    assert sorted(counted.history(flow_runs)) == [
        (NET, "COMPLETED", "1 of 1 models counted"),
        (f"{NET} and 2 more", "FAILED", "2 of 3 models counted; failed: nets.py:Broken on 2"),
    ]
    assert counted.history("SELECT DISTINCT tags FROM flow_run") == [('["count"]',)]


def test_the_count_report_is_an_artifact_with_totals_links_and_a_chart(counted: Counted) -> None:
    artifacts = "SELECT type, key, data FROM artifact ORDER BY created"
    kind, key, report = counted.history(artifacts)[0]
    assert (kind, key) == ("markdown", "count")
    condition = re.search(r"searchFilter=([^)]+)\)", report)
    assert condition is not None
    found = counted.store.client.search_runs([counted.store.experiment_id], unquote(condition[1]))
    assert {run.info.run_id for run in found} == {model["run_id"] for model in counted.said["models"][::2]}
    for model in counted.said["models"][::2]:
        assert f"http://127.0.0.1:5000/#/experiments/{counted.said['experiment_id']}/runs/{model['run_id']}?" in report
        assert f"| {model['totals']['unshared']:,} |" in report
    assert "- **nets.py:Broken on 2** failed: SpecError: " in report
    assert r"broken \\| on purpose" in report
    assert "(data:image/png;base64,iVBOR" in report


def test_a_count_flow_completes_in_a_thread_with_an_event_loop(counted: Counted) -> None:
    (net,) = counted.well["models"]
    assert net["totals"] == counted.said["models"][0]["totals"]
    assert net["run_id"] != counted.said["models"][0]["run_id"]


def test_flow_count_exits_with_1_if_a_model_failed_and_counts_the_others(
    prefect_server: PrefectServer, address: StoreAddress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    wide = json.dumps({"model": "nets.py:Net", "input": "3,8,8", "args": {"width": 16}})
    with connected(prefect_server):
        assert main(["flow", "count", "--json", "nets.py:Net@3x8x8", wide, "nets.py:Needs@3"]) == 1
    found = json.loads(capsys.readouterr().out)["models"]
    assert [model["totals"] and model["totals"]["shared"] for model in found] == [4 * 28, 16 * 28, None]
    assert "missing a required argument: 'width'" in found[2]["error"]
