"""The verify flow compares as the library does, one task for each run, a run that is not reproduced
fails its task and the flow run, and the report links to MLflow. Real flow runs against a real server.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from paramshare.flows.context import FlowContext, run_flow
from paramshare.flows.verify import verify
from paramshare.proof.report import VerifyRow
from paramshare.proof.spec import VerifySpec
from paramshare.sweep.result import SweepResult
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress
from support.command_line import SIZES
from support.flows.flow_records import history, recorded
from support.flows.prefect_server import PrefectServer
from support.tracking.sql_edits import tamper

SEED = 5
"""Draws the last of three runs."""


class Verified:
    """A sweep of three seeds, the second of which was changed, and two runs of the flow: over all seeds and one."""

    def __init__(self, folder: Path, server: PrefectServer) -> None:
        self.home = folder / "prefect-home"
        address = StoreAddress(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}", "proofs")
        spec = SweepSpec.model_validate({**SIZES, "devices": "cpu", "workers": 1, "seeds": "0:3"})
        self.sweep: SweepResult = run_sweep(spec, address, {})
        changed = f"key = 'train/loss' AND step = 7 AND run_uuid = '{self.sweep.rows[1].run_id}'"
        tamper(address, f"UPDATE metrics SET value = value * 2 WHERE {changed}")
        watched: list[VerifyRow] = []
        with recorded(server, self.home, tasks=4):
            whole = VerifySpec(sample=9, experiment="proofs", engine="reference")
            outcome = run_flow(verify, whole, FlowContext(address, on_row=watched.append))
            one_run = VerifySpec(sample=1, sample_seed=SEED, experiment="proofs")
            well = run_flow(verify, one_run, FlowContext(address))
        self.said, self.well = outcome.as_dict(), well.as_dict()
        self.watched = [row.as_dict() for row in watched]

    def history(self, query: str) -> list[tuple[Any, ...]]:
        return history(self.home, query)


@pytest.fixture(scope="module")
def verified(prefect_server: PrefectServer, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Verified:
    folder = tmp_path_factory.mktemp("verified")
    shutil.copytree(migrated.parent, folder / "mlruns")
    return Verified(folder, prefect_server)


def test_the_flow_compares_each_run_and_finds_the_changed_one(verified: Verified) -> None:
    assert [run["run_id"] for run in verified.said["runs"]] == [row.run_id for row in verified.sweep.rows]
    assert [run["verdict"] for run in verified.said["runs"]] == [
        "bitwise equal",
        "differs from step 7 on, beyond the one-bit control",
        "bitwise equal",
    ]
    assert {run["reproduction"]["engine"] for run in verified.said["runs"]} == {"reference"}
    assert verified.watched == verified.said["runs"]


def test_a_run_that_is_not_reproduced_fails_its_task_and_the_flow_run(verified: Verified) -> None:
    assert verified.history(
        "SELECT name, state_type FROM task_run WHERE flow_run_id IS NOT NULL ORDER BY start_time"
    ) == [
        ("shared seed 0 on cpu", "COMPLETED"),
        ("shared seed 1 on cpu", "FAILED"),
        ("shared seed 2 on cpu", "COMPLETED"),
        ("shared seed 2 on cpu", "COMPLETED"),
    ]
    flow_runs = "SELECT f.name, s.type, s.message FROM flow_run f JOIN flow_run_state s ON s.id = f.state_id"
    of = "a sample of the 3 of shared seeds 0:3 on cpu"
    assert sorted(verified.history(flow_runs)) == [
        ("1 of the newest sweep of proofs", "COMPLETED", f"1 of 1 runs reproduced, {of}"),
        ("9 of the newest sweep of proofs", "FAILED", f"2 of 3 runs reproduced, {of}"),
    ]
    assert verified.history("SELECT DISTINCT tags FROM flow_run") == [('["verify"]',)]


def test_the_verify_report_is_an_artifact_with_the_verdicts_and_links(verified: Verified) -> None:
    kind, key, report = verified.history("SELECT type, key, data FROM artifact ORDER BY created")[0]
    assert (kind, key) == ("markdown", "verify")
    pages = f"http://127.0.0.1:5000/#/experiments/{verified.said['experiment_id']}/runs/"
    for run_id in (verified.sweep.parent_run_id, *(row.run_id for row in verified.sweep.rows)):
        assert f"({pages}{run_id}?" in report
    assert "**2 of 3 runs reproduced" in report
    assert "**differs from step 7 on, beyond the one-bit control**" in report


def test_a_verify_flow_whose_runs_are_reproduced_completes(verified: Verified) -> None:
    (run,) = verified.well["runs"]
    assert (run["seed"], run["reproduced"]) == (2, True)
