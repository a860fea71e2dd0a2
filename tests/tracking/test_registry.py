"""Proves that a run's model is registered under a name and an alias, and that nothing is written if it cannot be."""

import os
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import LoggedModelStatus

from paramshare.errors import ServerError, UsageError
from paramshare.recipes.spec import Spec
from paramshare.tracking.read.weights import read_weights
from paramshare.tracking.registry import register
from paramshare.tracking.store import Store, StoreAddress, open_store, relocate_store
from paramshare.tracking.write.kinds.seeds import seed_record, write_failure, write_run
from paramshare.tracking.write.kinds.sweeps import start_sweep
from paramshare.tracking.write.record import Record
from paramshare.tracking.write.runs import write
from paramshare.training.result import Result
from support.rejecting_proxy import gate_before
from support.specs import replace
from support.tracking.mlflow_server import MlflowServer


def names(store: Store) -> list[str]:
    return [model.name for model in store.client.search_registered_models()]


def as_former(result: Result) -> Record:
    """Return the run of a result as former versions wrote it: its model is a folder of its artifacts."""
    record = seed_record(result, {})
    assert record.model is not None
    files = {f"model/{path}": content for path, content in record.model.files.items()}
    return replace(record, model=None, files={**record.files, **files})


def predicts_like(result: Result, store: Store, uri: str) -> bool:
    mlflow.set_tracking_uri(store.address.uri)
    predicted = mlflow.pyfunc.load_model(uri).predict(result.data["features"].numpy(), params={"depth": 2})
    return np.array_equal(predicted, result.net(result.data["features"], 2).detach().numpy())


@pytest.mark.parametrize("kind", ["address", "server_address"])
def test_a_registered_model_loads_by_its_version_and_by_its_alias(
    kind: str, result: Result, request: pytest.FixtureRequest, experiment: str
) -> None:
    address = request.getfixturevalue(kind)
    store = open_store(address)
    run_id = write_run(store, result, {}).run_id
    registered = register(address, run_id[:8], experiment, "champion")
    assert (registered.version, registered.run_id, registered.is_new) == (1, run_id, True)
    assert registered.uri == f"models:/{experiment}@champion"
    for uri in (registered.uri, f"models:/{experiment}/1"):
        assert predicts_like(result, store, uri)
    version = store.client.get_model_version(experiment, "1")
    assert (version.run_id, version.source) == (run_id, f"models:/{registered.model_id}")
    tag = store.client.get_logged_model(registered.model_id).tags["mlflow.modelVersions"]
    assert tag == f'[{{"name": "{experiment}", "version": 1}}]'


def test_a_model_that_is_registered_twice_has_one_version_and_an_alias_moves(store: Store, result: Result) -> None:
    first, second = (write_run(store, result, {}).run_id for _ in range(2))
    versions = [
        register(store.address, run_id, "net", alias)
        for run_id, alias in ((first, "champion"), (second, "champion"), (first, None))
    ]
    assert [(version.version, version.is_new) for version in versions] == [(1, True), (2, True), (1, False)]
    assert store.client.get_model_version_by_alias("net", "champion").run_id == second
    assert versions[2].uri == "models:/net/1"


def test_the_model_of_a_former_version_is_read_and_registered_from_the_runs_artifacts(
    store: Store, result: Result
) -> None:
    run_id = write(store, as_former(result))
    registered = register(store.address, run_id, "net")
    assert registered.model_id == ""
    assert predicts_like(result, store, registered.uri)
    weights = read_weights(store, run_id)
    assert weights is not None
    assert {name: value.tolist() for name, value in weights.items()} == {
        name: tensor.tolist() for name, tensor in result.net.state_dict().items()
    }


@pytest.mark.parametrize("former", [True, False], ids=["former", "logged"])
def test_a_registered_model_loads_after_its_store_was_moved(
    former: bool, store: Store, result: Result, tmp_path: Path
) -> None:
    run_id = write(store, as_former(result) if former else seed_record(result, {}))
    uri = register(store.address, run_id, "net").uri
    (tmp_path / "mlruns").rename(tmp_path / "moved")
    address = StoreAddress(f"sqlite:///{tmp_path}/moved/mlflow.db", "paramshare")
    assert relocate_store(address) is not None
    assert predicts_like(result, open_store(address), uri)


def test_a_run_without_a_finished_model_is_refused_and_nothing_is_written(
    store: Store, result: Result, small: Spec
) -> None:
    unexported = Record("x", "FINISHED", 1, 2, {"paramshare.not_exported": "torch cannot"}, {})
    deleted, pending = (write_run(store, result, {}).run_id for _ in range(2))
    for model in store.client.search_logged_models([store.experiment_id]):
        if model.source_run_id == deleted:
            store.client.delete_logged_model(model.model_id)
        else:
            store.client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
    for run_id, message in (
        ("0" * 8, "there is no run 00000000 in the experiment 'paramshare'"),
        (write_failure(store, small, "no room", {}), "is FAILED; pass the id of a FINISHED run"),
        (start_sweep(store, "sweep", "k", {}, {}), "is RUNNING; pass the id of a FINISHED run"),
        (write(store, Record("x", "FINISHED", 1, 2, {"paramshare.kind": "count"}, {})), "is a count, which has no mo"),
        (write(store, unexported), "has weights but no model that can be served: torch cannot"),
        (deleted, "has no model; pass the id of a run whose model was not deleted"),
        (pending, "has no model; pass the id of a run whose model was not deleted"),
    ):
        with pytest.raises(UsageError, match=message):
            register(store.address, run_id, "net", "champion")
    assert names(store) == []


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "a:b", "a@b", "a?b", "a#b", "a%20b", "..", "-a", "a ", "a'b", "x" * 257]
)
def test_a_name_that_an_address_of_a_model_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a model; expected at most 256 letters"):
        register(StoreAddress.of(None, "paramshare"), "0" * 8, name)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("alias", ["", "a b", "a.b", "latest", "Latest", "v1", "V22", "x" * 256])
def test_an_alias_that_mlflow_refuses_is_refused(alias: str) -> None:
    with pytest.raises(UsageError, match="--alias is"):
        register(StoreAddress.of(None, "paramshare"), "0" * 8, "net", alias)


def test_registering_leaves_mlflows_default_store_as_it_was(
    store: Store, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = write_run(store, result, {}).run_id
    for name, uri in (("first", None), ("second", "sqlite:///elsewhere.db")):
        monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", uri)
        if uri is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        register(store.address, run_id, name)
        assert os.environ.get("MLFLOW_TRACKING_URI") == uri
        assert mlflow.tracking._tracking_service.utils._tracking_uri == uri


def test_the_name_of_a_prompt_is_refused(store: Store, result: Result) -> None:
    run_id = write_run(store, result, {}).run_id
    store.client.register_prompt("net", "template")
    with pytest.raises(UsageError, match="'net' is the name of a prompt in MLflow; choose another name"):
        register(store.address, run_id, "net")


def test_a_name_whose_only_version_a_server_refuses_is_removed(
    mlflow_server: MlflowServer, experiment: str, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def refusal(request: BaseHTTPRequestHandler) -> int | None:
        return 503 if "model-versions/create" in request.path else None

    with gate_before(mlflow_server.port, refusal) as gate:
        store = open_store(StoreAddress(f"http://{gate}", experiment))
        run_id = write_run(store, result, {}).run_id
        with pytest.raises(ServerError, match=r"^the store http://127.*failed"):
            register(store.address, run_id, experiment)
        assert experiment not in names(store)
