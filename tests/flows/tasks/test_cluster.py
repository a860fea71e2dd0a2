"""A sweep on a Dask cluster gives the bits of a sweep on this machine, and an unsuitable cluster is
refused in one line before anything is written.

The cluster is real: a scheduler and workers on this machine. tests/hosts/test_machines.py loses machines.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paramshare.cli import main
from paramshare.errors import ServerError, UsageError
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.sweep.workers.remote import WorkerInfo
from paramshare.tracking.read.curves import read_losses
from paramshare.tracking.read.runs import search
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.training.engines import train
from support.command_line import SIZES, SMALL, clean_environment, refused
from support.flows.flow_records import history, recorded
from support.flows.prefect_server import PrefectServer
from support.ports import free_port
from support.toy_recipe import NEIGHBOUR, RECIPE, load

pytest.importorskip("prefect_dask", reason="the extra `dask` is not installed: make install-dev")

from support.hosts.dask_cluster import dask_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cluster")
    with dask_cluster(folder, clean_environment(folder)) as (address, _):
        yield address


def test_the_flow_on_dask_writes_the_runs_of_train_bit_for_bit(
    cluster: str,
    prefect_server: PrefectServer,
    address: StoreAddress,
    migrated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, home = tmp_path / "flow", tmp_path / "home"
    shutil.copytree(migrated.parent, folder / "mlruns")
    monkeypatch.chdir(folder)
    command = ["flow", "sweep", "--json", *SMALL, "--seeds", "0:5", "--dask-scheduler", cluster]
    with recorded(prefect_server, home, tasks=3):
        assert main(command) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)["runs"]
    spec = SweepSpec.model_validate({**SIZES, "seeds": "0:5", "devices": "cpu", "workers": 1})
    library = run_sweep(spec, address, {})
    store, flows = open_store(address), open_store(StoreAddress(f"sqlite:///{folder}/mlruns/mlflow.db", "paramshare"))
    for run, row in zip(said, library.rows, strict=True):
        assert (run["seed"], run["status"], run["reused"]) == (row.spec.seed, "FINISHED", False)
        np.testing.assert_array_equal(read_losses(flows, run["run_id"]), read_losses(store, row.run_id))
    assert len(list(search(flows, "attributes.status = 'FINISHED' AND tags.`paramshare.kind` = 'seed'"))) == 5
    tasks = history(home, "SELECT name, state_type FROM task_run WHERE flow_run_id IS NOT NULL ORDER BY name")
    assert tasks == [  # two workers, two tasks each
        ("cpu: shared seed 4", "COMPLETED"),
        ("cpu: shared seeds 0 to 1", "COMPLETED"),
        ("cpu: shared seeds 2 to 3", "COMPLETED"),
    ]
    assert "Traceback" not in err


def test_dask_workers_train_a_recipe_whose_file_they_do_not_find(
    cluster: str,
    prefect_server: PrefectServer,
    address: StoreAddress,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "noise.py").write_text(NEIGHBOUR)
    (tmp_path / "toy.py").write_text(RECIPE)
    command = ["flow", "sweep", "toy.py:Toy", "--json", "--seeds", "0:2", "--devices", "cpu"]
    with recorded(prefect_server, tmp_path / "home", tasks=2):
        assert main([*command, "--dask-scheduler", cluster]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    for run, spec in zip(runs, (load(Path("toy.py")).new(seed=seed) for seed in range(2)), strict=True):
        np.testing.assert_array_equal(read_losses(open_store(address), run["run_id"]), train(spec).curves["train/loss"])


def test_a_dask_worker_with_several_threads_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with dask_cluster(tmp_path, clean_environment(tmp_path), 1, "--nthreads", "2") as (scheduler, _):
        said = refused_by(capsys, scheduler)
    assert "has 2 threads" in said
    assert "--nthreads 1" in said


def test_a_dask_scheduler_without_workers_is_refused(tmp_path: Path) -> None:
    from paramshare.flows.tasks.cluster import find_cluster

    with (
        dask_cluster(tmp_path, clean_environment(tmp_path), 0) as (scheduler, _),
        pytest.raises(ServerError, match="has no worker; start some with `dask worker tcp://"),
    ):
        find_cluster(scheduler, StoreAddress.of(None, "paramshare"))


def test_a_missing_dask_scheduler_is_reported_in_one_line_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paramshare.flows.tasks.cluster._CONNECT_SECONDS", 1.0)
    scheduler = f"tcp://127.0.0.1:{free_port()}"
    assert main(["flow", "sweep", *SMALL, "--dask-scheduler", scheduler]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"paramshare: no Dask scheduler answers at {scheduler}; start one with `dask scheduler`")
    assert err.count("\n") == 1
    assert not Path("mlruns").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:8786", "http://127.0.0.1:8786", "tcp://user:secret@host:8786"])
def test_an_invalid_address_of_a_dask_scheduler_is_refused(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--dask-scheduler" in refused(capsys, "flow", "sweep", "--dask-scheduler", address)


def test_without_the_extra_dask_one_line_tells_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    assert refused_by(capsys, "tcp://127.0.0.1:1") == (
        "paramshare: a Dask cluster needs the extra `dask`, which is not installed here: "
        "pip install --no-deps --require-hashes -r requirements-dask.lock\n"
    )


def test_a_device_that_no_dask_worker_has_is_refused(
    cluster: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARAMSHARE_DASK_SCHEDULER", cluster)
    said = refused(capsys, "flow", "sweep", "--devices", "cuda")
    assert "device 'cuda' is not on the workers of the cluster; there is cpu" in said


def test_a_prefect_api_that_a_dask_worker_cannot_reach_is_refused(cluster: str, address: StoreAddress) -> None:
    from paramshare.flows.tasks.cluster import find_cluster

    with pytest.raises(UsageError, match="Prefect's API does not answer at the Dask worker tcp://"):
        find_cluster(cluster, address, f"http://127.0.0.1:{free_port()}/api")


OTHERS: list[tuple[Callable[[WorkerInfo], WorkerInfo | Exception], str]] = [
    (lambda info: replace(info, versions={**info.versions, "torch": "2.12.0"}), "has torch 2.12.0 where here is"),
    (lambda info: replace(info, disk=("another machine", 1, 2, "")), "does not share the file"),
    (lambda info: replace(info, store_error="no MLflow server answers"), "at the Dask worker w: no MLflow server"),
    (lambda _: ModuleNotFoundError("No module named 'torch'"), "cannot run paramshare .*No module named 'torch'"),
]


@pytest.mark.parametrize(("other", "said"), OTHERS)
def test_a_dask_worker_that_would_train_differently_is_refused(
    other: Callable[[WorkerInfo], WorkerInfo | Exception], said: str, address: StoreAddress
) -> None:
    from paramshare.flows.tasks.cluster import _check

    own = WorkerInfo.of_this_process(address)
    report = other(own)
    with pytest.raises(UsageError, match=said):
        _check("w", report if isinstance(report, Exception) else (report, ""), own, address)


def refused_by(capsys: pytest.CaptureFixture[str], scheduler: str) -> str:
    return refused(capsys, "flow", "sweep", *SMALL, "--dask-scheduler", scheduler)
