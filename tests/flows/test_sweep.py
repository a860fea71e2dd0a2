"""The sweep flow writes the bits of the library's runs, and Prefect and MLflow link to each other."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paramshare.cli import main
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.read.curves import read_losses
from paramshare.tracking.store import Store, StoreAddress, open_store
from support.command_line import PROGRAM, SIZES, SMALL, clean_environment
from support.flows.flow_records import connected, history
from support.flows.prefect_server import PrefectServer
from support.processes import environments

SWEEP = ["flow", "sweep", "--json", *SMALL, "--seeds", "0:5"]


class Swept:
    """A sweep of five seeds that `paramshare flow sweep` has run in two processes, with its store and history.

    The flow ran in a process of its own, which started a Prefect server of its own.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self.home, self.folder = home, folder
        command = [*PROGRAM, *SWEEP, "--workers", "2"]
        self.done = subprocess.run(command, cwd=folder, env=clean_environment(home), capture_output=True, text=True)
        self.said: dict[str, Any] = json.loads(self.done.stdout)
        self.store: Store = open_store(StoreAddress(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}", "paramshare"))

    def history(self, query: str) -> list[tuple[Any, ...]]:
        return history(self.home, query)


@pytest.fixture(scope="module")
def swept(migrated: Path, migrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    folder = tmp_path_factory.mktemp("swept")
    shutil.copytree(migrated.parent, folder / "mlruns")
    return Swept(folder, migrated_home)


def test_the_flow_writes_the_runs_of_train_bit_for_bit(swept: Swept, address: StoreAddress) -> None:
    assert swept.done.returncode == 0, swept.done.stderr
    spec = SweepSpec.model_validate({**SIZES, "seeds": "0:5", "devices": "cpu", "workers": 1})
    library = run_sweep(spec, address, {})
    store = open_store(address)
    for run, row in zip(swept.said["runs"], library.rows, strict=True):
        assert (run["seed"], run["status"], run["reused"]) == (row.spec.seed, "FINISHED", False)
        np.testing.assert_array_equal(read_losses(swept.store, run["run_id"]), read_losses(store, row.run_id))


def test_every_mlflow_run_of_a_flow_is_tagged_with_the_id_of_the_flow_run(swept: Swept) -> None:
    ((flow_run_id, name),) = swept.history("SELECT id, name FROM flow_run")
    for run_id in (swept.said["parent_run_id"], *(run["run_id"] for run in swept.said["runs"])):
        tags = swept.store.client.get_run(run_id).data.tags
        assert tags["prefect.flow_run_id"].replace("-", "") == flow_run_id.replace("-", "")
        assert tags["prefect.flow_run_name"] == name == "shared seeds 0:5 on cpu"
        assert tags["mlflow.source.name"] == "flows/sweep.py"


def test_prefects_history_names_the_variants_and_seeds_of_flow_and_tasks(swept: Swept) -> None:
    ((state, tags),) = swept.history("SELECT state_type, tags FROM flow_run")
    assert (state, set(json.loads(tags))) == ("COMPLETED", {"sweep", "shared"})
    tasks = swept.history("SELECT name, state_type FROM task_run WHERE flow_run_id IS NOT NULL ORDER BY name")
    assert tasks == [
        ("cpu: shared seed 4", "COMPLETED"),
        ("cpu: shared seeds 0 to 1", "COMPLETED"),
        ("cpu: shared seeds 2 to 3", "COMPLETED"),
    ]


def test_the_sweep_report_is_an_artifact_that_links_to_every_mlflow_run(swept: Swept) -> None:
    ((kind, key, data),) = swept.history("SELECT type, key, data FROM artifact")
    assert (kind, key) == ("markdown", "sweep")
    experiment = swept.said["experiment_id"]
    for run_id in (swept.said["parent_run_id"], *(run["run_id"] for run in swept.said["runs"])):
        assert f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{run_id}?" in data
    assert "(data:image/png;base64,iVBOR" in data


def test_a_flow_starts_one_server_and_leaves_no_process(swept: Swept) -> None:
    assert "Starting temporary server" not in swept.done.stderr
    homes = [environment.get("PREFECT_HOME") for environment in environments()]
    assert homes  # this process at least
    assert str(swept.home) not in homes


def test_a_sweep_flow_that_is_rerun_trains_nothing(
    swept: Swept, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(swept.folder)
    with connected(prefect_server):
        assert main(SWEEP) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["parent_run_id"] == swept.said["parent_run_id"]
    assert all(run["reused"] for run in said["runs"])
