"""Records in the spool are complete, are delivered once and unchanged, and contain no password."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException

from paramshare.tracking.read.models import StoredModel, read_model_file
from paramshare.tracking.read.runs import search
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.tags import KEY
from paramshare.tracking.write import spool
from paramshare.tracking.write.record import NIL_ID, NIL_MODEL_ID, ModelRecord, Point, Record
from paramshare.tracking.write.runs import write
from paramshare.tracking.write.spool import (
    SPOOL,
    Delivery,
    OutageError,
    call_guarded,
    deliver,
    is_healthy,
    keep,
    other_stores,
    spooled,
)
from support.ports import free_port

RECORD = Record(
    name="shared seed 3 – ünïcode 🧪",
    status="FINISHED",
    start=1_700_000_000_123,
    end=1_700_000_004_567,
    tags={KEY: "k3", "mlflow.user": "ü", "note": f"![loss](get-artifact?run_uuid={NIL_ID})"},
    params={"seed": "3", "name": "ü × ’"},
    points=[
        *(Point("train/loss", 1 / (step + 3), 5 + step, step) for step in range(1234)),
        *(Point("ends", value, 5 + step, step) for step, value in enumerate((math.inf, -math.inf, math.nan))),
    ],
    inputs=[
        DatasetInput(Dataset("ü", "0123abcd", "code", "{}", "{}", "{}"), [InputTag("mlflow.data.context", "training")])
    ],
    files={"loss.png": b"\x89PNG\r\n", "a/notes": f"run_id: '{NIL_ID}'\r\n", "a/b/ü": b""},
    model=ModelRecord(
        "model",
        {"ü": ""},
        {"seed": "3"},
        {"MLmodel": f"run_id: '{NIL_ID}'\r\nmodel_id: {NIL_MODEL_ID}\r\n", "data/ü": NIL_MODEL_ID.encode()},
        ("train/loss", "ends"),
    ),
    identity=KEY,
)
FAR = StoreAddress("https://somebody:secret@mlflow.example:5000/", "paramshare")


def described(store: Store, run_id: str) -> str:
    """Return everything that the store has of a run, without its id."""
    run = store.client.get_run(run_id).to_dictionary()
    histories = {
        name: [(point.step, point.timestamp, point.value) for point in store.client.get_metric_history(run_id, name)]
        for name in ("train/loss", "ends")
    }
    root = Path(store.client.download_artifacts(run_id, ""))
    files = {str(file.relative_to(root)): str(file.read_bytes()) for file in root.rglob("*") if file.is_file()}
    (model,) = store.client.search_logged_models([store.experiment_id], f"source_run_id = '{run_id}'")
    data = {**model.to_dictionary(), "creation_timestamp": 0, "last_updated_timestamp": 0}
    data["metrics"] = sorted(repr(metric) for metric in model.metrics or ())
    stored = StoredModel(model.model_id, model.artifact_location)
    files |= {path: str(read_model_file(store, stored, path)) for path in ("MLmodel", "data/ü")}
    text = json.dumps([run, histories, files, data], sort_keys=True)
    return text.replace(run_id, "run").replace(model.model_id, "model")


def finished(store: Store) -> list[str]:
    return [run.info.run_id for run in search(store, "attributes.status = 'FINISHED'")]


def test_a_record_that_is_delivered_from_the_spool_is_unchanged(address: StoreAddress) -> None:
    store = open_store(address)
    direct = described(store, write(store, RECORD))
    store.client.delete_run(finished(store)[0])
    keep(RECORD, address)
    assert deliver(store) == Delivery(written=1)
    assert described(store, finished(store)[0]) == direct
    assert spooled(address) == []
    assert deliver(store) == Delivery()


def test_a_record_whose_run_the_store_has_is_removed_and_not_written_twice(address: StoreAddress) -> None:
    store = open_store(address)
    write(store, RECORD)
    keep(RECORD, address)
    keep(RECORD, address)
    assert deliver(store) == Delivery(known=2)
    assert len(finished(store)) == 1
    assert spooled(address) == []


def test_a_record_of_a_forced_training_is_removed_only_if_the_store_has_the_same_training(
    address: StoreAddress,
) -> None:
    store, forced = open_store(address), replace(RECORD, identity="")
    write(store, forced)
    keep(forced, address)
    keep(replace(forced, start=forced.start + 1), address)
    assert deliver(store) == Delivery(written=1, known=1)
    assert len(finished(store)) == 2


def test_the_record_of_a_failed_training_is_delivered(address: StoreAddress) -> None:
    store = open_store(address)
    write(store, RECORD)
    keep(Record("shared seed 3 on cpu", "FAILED", 5, 6, {KEY: "k3", "paramshare.error": "out of memory"}, {}), address)
    assert deliver(store) == Delivery(written=1)
    failed = next(search(store, "attributes.status = 'FAILED'"))
    assert failed.data.tags["paramshare.error"] == "out of memory"


def test_the_spool_has_no_password_and_any_user_can_deliver_it() -> None:
    keep(RECORD, FAR)
    for file in SPOOL.rglob("*"):
        assert "secret" not in str(file)
        assert not file.is_file() or b"secret" not in file.read_bytes()
    assert len(spooled(StoreAddress("https://other:word@mlflow.example:5000", "paramshare"))) == 1
    assert len(spooled(StoreAddress("https://mlflow.example:5000", "paramshare"))) == 1
    assert spooled(StoreAddress("https://mlflow.example:5000", "another")) == []


def test_records_for_other_stores_are_counted_and_not_delivered(address: StoreAddress) -> None:
    keep(RECORD, FAR)
    assert deliver(open_store(address)) == Delivery()
    assert other_stores(address) == {StoreAddress("https://mlflow.example:5000", "paramshare"): 1}
    assert other_stores(FAR) == {}


def test_a_record_that_the_store_refuses_is_kept_and_the_others_are_delivered(address: StoreAddress) -> None:
    store = open_store(address)
    refused = keep(replace(RECORD, params={"a" * 251: "too long a name"}, tags={KEY: "k0"}, start=1), address)
    damaged = keep(replace(RECORD, start=2), address)
    (damaged / "record.json").write_text("{")
    keep(RECORD, address)
    delivery = deliver(store)
    assert (delivery.written, delivery.known, delivery.left) == (1, 0, 2)
    assert f"{damaged} cannot be delivered" in delivery.reason
    assert spooled(address) == [refused, damaged]


def test_a_spool_that_cannot_be_written_raises_an_error_and_leaves_nothing() -> None:
    SPOOL.parent.mkdir()
    SPOOL.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="spool"):
        keep(RECORD, FAR)
    assert SPOOL.read_text() == "a file where the folder should be"


KEEP_ON = """
    os.write(writer, b"g")
    while True:
        keep(RECORD, FAR)
"""
DELIVER = """
    store = open_store(StoreAddress.of(None, "paramshare"))
    os.write(writer, b"g")
    deliver(store)
"""

# Imports once. For each line of input, forks a process and kills it that many seconds after it has reported its start.
KILLED = """
import os, signal, sys, time
from paramshare.tracking.write.spool import deliver, keep
from paramshare.tracking.store import StoreAddress, open_store
from test_spool import FAR, RECORD

def work(writer):
    WORK

for seconds in sys.stdin:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            work(writer)
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"g"
    os.close(reader)
    time.sleep(float(seconds))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


@contextmanager
def killed(work: str) -> Iterator[Callable[[float], None]]:
    """Yield a function that runs `work` in a process and kills it with SIGKILL after some seconds."""
    here, tests = Path(__file__).parent, Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(here), str(tests)))}
    command = [sys.executable, "-c", KILLED.replace("WORK", work.strip())]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        stdin, stdout = program.stdin, program.stdout

        def kill_after(seconds: float) -> None:
            stdin.write(f"{seconds}\n")
            stdin.flush()
            assert stdout.readline() == "killed\n"

        yield kill_after
        stdin.close()
        assert program.wait(60) == 0


def test_a_record_of_a_former_version_is_delivered_with_its_model_among_the_files(address: StoreAddress) -> None:
    folder = keep(replace(RECORD, files={"model/MLmodel": f"run_id: '{NIL_ID}'"}, model=None), address)
    content = json.loads((folder / "record.json").read_text())
    del content["model"]
    (folder / "record.json").write_text(json.dumps(content))
    store = open_store(address)
    assert deliver(store) == Delivery(written=1)
    (run_id,) = finished(store)
    assert Path(store.client.download_artifacts(run_id, "model/MLmodel")).read_text() == f"run_id: '{run_id}'"


def test_every_record_in_the_spool_of_a_killed_process_is_complete(address: StoreAddress) -> None:
    with killed(KEEP_ON) as kill_after:
        for moment in (0.01, 0.05, 0.083, 0.14, 0.2):
            kill_after(moment)
    kept = spooled(FAR)
    assert kept
    records = [spool._read(folder).named("run", "m-1") for folder in kept]
    assert {record.files["a/notes"] for record in records} == {"run_id: 'run'\r\n"}
    assert {record.model.files["MLmodel"] for record in records if record.model} == {
        "run_id: 'run'\r\nmodel_id: m-1\r\n"
    }
    assert all(spool._read(folder).points[:1234] == RECORD.points[:1234] for folder in kept)


def test_a_killed_delivery_loses_and_duplicates_no_record(address: StoreAddress) -> None:
    store = open_store(address)
    keys = [f"k{number}" for number in range(120)]
    for number, key in enumerate(keys):
        keep(replace(RECORD, tags={KEY: key}, start=number + 1, points=RECORD.points[:50]), address)
    with killed(DELIVER) as kill_after:
        moment = 0.02
        while len(finished(store)) < 3:  # a busy machine writes less in the same time
            kill_after(moment)
            moment *= 1.5
            assert {run.data.tags[KEY] for run in search(store, "")} | {
                spool._read(folder).tags[KEY] for folder in spooled(address)
            } == set(keys)
    assert 0 < len(finished(store)) < len(keys)
    deliver(store)
    assert sorted(run.data.tags[KEY] for run in search(store, "")) == sorted(keys)
    assert spooled(address) == []


def test_an_unreachable_server_is_called_once_in_the_pause_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_failed_at", {})
    gone, calls = StoreAddress(f"http://127.0.0.1:{free_port()}", "paramshare"), []

    def use() -> None:
        calls.append(time.monotonic())
        raise MlflowException("API request failed")

    for _ in range(5):
        with pytest.raises(OutageError, match=r"^the server does not answer$"):
            call_guarded(gone, use)
    assert len(calls) == 1
    assert not is_healthy(gone)


def test_an_error_of_an_embedded_store_is_raised_unchanged(address: StoreAddress) -> None:
    def use() -> None:
        raise MlflowException("database is locked")

    with pytest.raises(MlflowException, match="database is locked"):
        call_guarded(address, use)
    assert call_guarded(address, lambda: 3) == 3


def test_a_refusal_by_a_server_is_not_an_outage() -> None:
    def use() -> None:
        raise MlflowException.invalid_parameter_value("no")

    with pytest.raises(MlflowException, match="no"):
        call_guarded(FAR, use)
