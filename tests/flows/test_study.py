"""The study flow gives the comparison of the library, puts the answers into the state of the flow run, and
leaves the report as an artifact. A real flow run by the command line, against a real server.
"""

import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from paramshare.cli import main
from paramshare.comparing.run import compare
from paramshare.comparing.spec import CompareSpec
from paramshare.comparing.text import answers
from paramshare.tracking.read.runs import search
from paramshare.tracking.store import StoreAddress, open_store
from support.command_line import SMALL
from support.flows.flow_records import history, recorded
from support.flows.prefect_server import PrefectServer

OPTIONS = ["flow", "study", "--json", "--seeds", "0:4", "--workers", "1", *SMALL]

TASKS = 2  # for each process


class Studied:
    """A study that the flow has run: its output, its store and its history."""

    def __init__(self, folder: Path, server: PrefectServer) -> None:
        self.home = folder / "prefect-home"
        self.address = StoreAddress(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}", "paramshare")
        with recorded(server, self.home, TASKS), redirect_stdout(StringIO()) as out:
            assert main([*OPTIONS, "--tracking-uri", self.address.uri]) == 0
        self.said = json.loads(out.getvalue())

    def history(self, query: str) -> list[tuple[Any, ...]]:
        return history(self.home, query)


@pytest.fixture(scope="module")
def studied(prefect_server: PrefectServer, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Studied:
    folder = tmp_path_factory.mktemp("studied")
    shutil.copytree(migrated.parent, folder / "mlruns")
    return Studied(folder, prefect_server)


def test_the_study_flow_gives_the_comparison_of_the_library(studied: Studied) -> None:
    found = compare(CompareSpec(), studied.address).as_dict()
    assert json.loads(json.dumps(found)) == studied.said
    assert [group["name"] for group in studied.said["groups"]] == ["shared", "untied"]


def test_the_state_of_a_study_flow_run_contains_the_answers(studied: Studied) -> None:
    flow_runs = "SELECT f.name, s.type, s.message FROM flow_run f JOIN flow_run_state s ON s.id = f.state_id"
    ((name, kind, message),) = studied.history(flow_runs)
    assert (name, kind) == ("shared, untied seeds 0:4 on cpu", "COMPLETED")
    assert message == " ".join(["8 of 8 runs finished.", *answers(compare(CompareSpec(), studied.address))])
    assert studied.history("SELECT DISTINCT state_type FROM task_run WHERE flow_run_id IS NOT NULL") == [("COMPLETED",)]


def test_the_study_report_is_an_artifact_with_tables_figures_and_a_link(studied: Studied) -> None:
    reports = studied.history("SELECT type, data FROM artifact WHERE key = 'study'")
    ((kind, report),) = reports
    assert kind == "markdown"
    store = open_store(studied.address)
    (sweep,) = search(store, "tags.`paramshare.kind` = 'sweep'")
    assert f"(http://127.0.0.1:5000/#/experiments/{store.experiment_id}/runs/{sweep.info.run_id}?" in report
    assert report.count("](data:image/png;base64,") == 5
    for words in ("### Groups", "### Pairwise comparisons", "win rate", "paramshare study --"):
        assert words in report
