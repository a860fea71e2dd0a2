"""A chunk that comes twice is trained once, an unwanted chunk stops before it writes, and the
properties that a worker must share with the sweep are compared.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paramshare.errors import UsageError
from paramshare.sweep.chunks import Chunk
from paramshare.sweep.spec import SweepSpec
from paramshare.sweep.workers.execution import resume_chunk, run_chunk
from paramshare.sweep.workers.remote import (
    WorkerInfo,
    WorkerPayload,
    deliver_spool,
    describe_differences,
    run_remote_chunk,
)
from paramshare.tracking.read.curves import read_losses
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.tracking.write.spool import OutageError
from support.command_line import SIZES
from support.tracking.mlflow_server import MlflowServer
from support.tracking.sweep_checks import runs_of

CHOICES = SweepSpec.model_validate({**SIZES, "seeds": "0:4", "devices": "cpu"}).run_choices(("cpu",))
SPECS = [choice.spec for choice in CHOICES]


def chunk_for(address: StoreAddress, **given: object) -> Chunk:
    store = open_store(address)
    parent = store.client.create_run(store.experiment_id, tags={"paramshare.kind": "sweep"})
    chunk = Chunk(CHOICES, address, parent.info.run_id, {"paramshare.host": "asks"})
    return replace(chunk, **given)  # type: ignore[arg-type]


def never() -> bool:
    return False


@pytest.mark.parametrize("force", [False, True])
def test_an_interrupted_chunk_is_resumed_without_training_a_run_twice(force: bool, address: StoreAddress) -> None:
    chunk = chunk_for(address, force=force)
    before = run_chunk(replace(chunk, choices=CHOICES[:2]))
    rows = resume_chunk(chunk)
    store = open_store(address)
    assert len(runs_of(store, "seed")) == len(SPECS)
    assert {row.spec: row.run_id for row in rows if row.spec in SPECS[:2]} == {row.spec: row.run_id for row in before}
    assert not any(row.reused for row in rows)
    assert sorted(row.spec.seed for row in rows) == [0, 1, 2, 3]
    for row in rows:
        if row.losses is not None:
            np.testing.assert_array_equal(read_losses(store, row.run_id), row.losses)


def test_a_resumed_chunk_closes_the_run_that_its_lost_worker_was_writing_and_no_other(
    own_mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # else MLflow tries a stopped server for minutes
    remote = own_mlflow_server.remote("remote")
    chunk, store = chunk_for(remote), open_store(remote)
    assert chunk.parent_run_id is not None
    tags = {"mlflow.parentRunId": chunk.parent_run_id, "paramshare.kind": "seed"}
    own = store.client.create_run(store.experiment_id, tags={**tags, "paramshare.key": SPECS[0].key()})
    other = store.client.create_run(store.experiment_id, tags={**tags, "paramshare.key": "of another chunk"})
    rows = resume_chunk(chunk)
    assert [row.status for row in rows] == ["FINISHED"] * len(SPECS)
    assert store.client.get_run(own.info.run_id).info.status == "KILLED"
    assert store.client.get_run(other.info.run_id).info.status == "RUNNING"
    own_mlflow_server.stop()
    with pytest.raises(OutageError):
        resume_chunk(chunk)


def test_a_remote_run_is_tagged_with_the_machine_that_trained_it(address: StoreAddress) -> None:
    chunk = chunk_for(address)
    (row, *_) = run_remote_chunk(chunk, WorkerPayload.of([chunk]), never)
    tags = open_store(address).client.get_run(row.run_id).data.tags
    assert tags["paramshare.host"] != "asks"
    assert tags["paramshare.version.torch"]


def test_a_remote_chunk_that_is_unwanted_writes_no_further_run(address: StoreAddress) -> None:
    chunk = chunk_for(address)
    answers = iter([False, False, False, True])  # before a training, and before its run is written
    assert len(run_remote_chunk(chunk, WorkerPayload.of([chunk]), lambda: next(answers))) == 1
    assert len(runs_of(open_store(address), "seed")) == 1


def test_a_remote_worker_with_other_versions_trains_nothing(address: StoreAddress) -> None:
    chunk = chunk_for(address)
    payload = replace(WorkerPayload.of([chunk]), versions={**WorkerPayload.of([chunk]).versions, "torch": "2.12.0"})
    with pytest.raises(UsageError, match=r"has torch 2\.13.* where here is 2\.12\.0"):
        run_remote_chunk(chunk, payload, never)
    assert runs_of(open_store(address), "seed") == []


def test_worker_info_tells_whether_the_file_of_an_embedded_store_is_shared(
    address: StoreAddress, tmp_path: Path
) -> None:
    info = WorkerInfo.of_this_process(address)
    assert info == WorkerInfo.of_this_process(address)
    assert (info.store_error, describe_differences(info.versions, info.versions)) == ("", "")
    elsewhere = StoreAddress(f"sqlite:///{tmp_path / 'other' / 'mlflow.db'}", address.experiment)
    assert WorkerInfo.of_this_process(elsewhere).disk != info.disk
    assert not (tmp_path / "other").exists()
    gone = WorkerInfo.of_this_process(StoreAddress("http://127.0.0.1:1", "x"))
    assert gone.store_error.startswith("no MLflow server answers at http://127.0.0.1:1")
    assert gone.disk == ()


def test_a_worker_with_an_empty_spool_delivers_nothing_and_sends_no_request() -> None:
    assert deliver_spool(StoreAddress("http://127.0.0.1:1", "x")) == 0
