"""A sweep leaves the same runs and files on a real MLflow server as in an embedded store."""

import json
import math
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from paramshare.errors import ServerError
from paramshare.sweep.chunks import Row
from paramshare.sweep.run import open_sweep, run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.read.artifacts import read_figure
from paramshare.tracking.read.curves import read_losses
from paramshare.tracking.read.models import model_of, read_model_file
from paramshare.tracking.read.runs import search
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.tags import CLOSED, KIND
from paramshare.tracking.write.record import NIL_ID, NIL_MODEL_ID, ModelRecord, Point, Record
from paramshare.tracking.write.runs import write
from paramshare.training.engines import train
from support.command_line import SIZES
from support.rejecting_proxy import gate_before
from support.tracking.mlflow_server import MlflowServer

NAMES = ("train/loss", "depth", "not finite")
RECORD = Record(
    name="shared seed 3 – ünïcode 🧪",
    status="FINISHED",
    start=1_700_000_000_123,
    end=1_700_000_004_567,
    tags={"mlflow.user": "ü", "note": f"![loss](get-artifact?run_uuid={NIL_ID})"},
    params={"seed": "3", "name": "ü × ’"},
    points=[
        *(Point(name, 1 / (step + 1), 5 + step, step) for name in NAMES[:2] for step in range(1234)),
        *(Point(NAMES[2], value, 5 + step, step) for step, value in enumerate((math.inf, -math.inf, math.nan))),
    ],
    inputs=[
        DatasetInput(Dataset("ü", "0123abcd", "code", "{}", "{}", "{}"), [InputTag("mlflow.data.context", "training")])
    ],
    files={"loss.png": b"\x89PNG", "a/notes": f"run_id: '{NIL_ID}'"},
    model=ModelRecord(
        "model", {"ü": "’"}, {"seed": "3"}, {"MLmodel": f"{NIL_ID} {NIL_MODEL_ID}", "a/b": b"b"}, NAMES[1:]
    ),
)
SPEC = SweepSpec.model_validate({**SIZES, "seeds": "0:2", "devices": "cpu", "workers": 1})


def history_of(store: Store, run_id: str, name: str) -> list[Metric]:
    return list(store.client.get_metric_history(run_id, name))


def test_a_sweep_over_http_is_complete_and_is_reused(server_address: StoreAddress) -> None:
    outcome = run_sweep(SPEC, server_address, {})
    store = open_store(server_address)
    for row, spec in zip(outcome.rows, SPEC.train_specs(("cpu",)), strict=True):
        result = train(spec)
        np.testing.assert_array_equal(read_losses(store, row.run_id), result.losses)
        mlflow.set_tracking_uri(server_address.uri)
        model = model_of(store, row.run_id)
        assert model is not None
        net = mlflow.pytorch.load_model(f"models:/{model.model_id}")
        assert net(result.data["features"], depth=3).equal(result.net(result.data["features"], 3))
    assert (
        outcome.curves == f"mlflow-artifacts:/{store.experiment_id}/{outcome.parent_run_id}/artifacts/loss_curves.png"
    )
    assert read_figure(store, outcome.parent_run_id).startswith(b"\x89PNG")
    assert not Path("mlruns").exists()

    again = run_sweep(SPEC, server_address, {})
    assert again.parent_run_id == outcome.parent_run_id
    assert all(row.reused for row in again.rows)


def test_a_run_whose_write_is_interrupted_is_not_left_running(
    mlflow_server: MlflowServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server fails between a run's first request and its last, and works again when the sweep ends."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    awaited = ["mlflow-artifacts", "log-batch", "runs/update"]  # a seed's files pass, what comes after them does not

    def refusal(request: BaseHTTPRequestHandler) -> int | None:
        if not awaited or awaited[0] not in request.path:
            return None
        return None if awaited.pop(0) == "mlflow-artifacts" else 503

    with gate_before(mlflow_server.port, refusal) as gate:
        store = open_store(StoreAddress(f"http://{gate}", experiment))
        outcome = run_sweep(SPEC, store.address, {})
        assert awaited == []
        assert [row.status for row in outcome.rows] == ["FINISHED", "FINISHED"]
        seeds = list(search(store, f"tags.`{KIND}` = 'seed'"))
        assert Counter(run.info.status for run in seeds) == {"FINISHED": 2, "KILLED": 1}
        (cut,) = (run for run in seeds if run.info.status == "KILLED")
        assert "its write was interrupted" in cut.data.tags[CLOSED]
        models = store.client.search_logged_models([store.experiment_id])
        assert {model.source_run_id for model in models} == {row.run_id for row in outcome.rows}
        assert store.client.get_run(outcome.parent_run_id).info.status == "FINISHED"


def test_a_record_written_over_http_equals_one_in_an_embedded_store(
    address: StoreAddress, server_address: StoreAddress
) -> None:
    described = []
    for store in (open_store(server_address), open_store(address)):
        run_id = write(store, RECORD)
        run = store.client.get_run(run_id).to_dictionary()
        run["info"] |= {"artifact_uri": "", "experiment_id": ""}
        histories = {
            name: [(point.step, point.timestamp, point.value) for point in history_of(store, run_id, name)]
            for name in NAMES
        }
        model = model_of(store, run_id)
        assert model is not None
        logged = store.client.get_logged_model(model.model_id).to_dictionary()
        own = ("artifact_location", "creation_timestamp", "last_updated_timestamp", "experiment_id")
        empty = ("model_type", "status_message")  # None or an empty text
        assert not any(logged[name] for name in empty)
        logged |= {**dict.fromkeys((*own, *empty)), "metrics": sorted(map(repr, logged["metrics"]))}
        text = json.dumps([run, histories, logged], sort_keys=True)
        described.append(text.replace(run_id, "run").replace(model.model_id, "model"))
        assert Path(store.client.download_artifacts(run_id, "a/notes")).read_text() == f"run_id: '{run_id}'"
        assert read_model_file(store, model, "MLmodel") == f"{run_id} {model.model_id}".encode()
        assert read_model_file(store, model, "a/b") == b"b"
        assert read_model_file(store, model, "none") is None
    assert described[0] == described[1]


def test_the_loss_of_a_server_is_reported_in_one_line(
    own_mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (  # noqa: PT012 - it fails on leaving, too
        pytest.raises(ServerError, match=r"^the store http://127.* rerun the command to resume") as caught,
        open_sweep(SPEC, own_mlflow_server.remote("remote"), {}) as sweep,
    ):
        for spec in sweep.specs:
            sweep.add(Row(spec, "", "FAILED", None, {}, 0.0))
        own_mlflow_server.stop()
        sweep.finish()
    assert "\n" not in str(caught.value)
