"""Write a whole run, or add to one: in one transaction to an embedded store, else by MLflow's public calls.

Most of what a run costs on a server is the server's own work: so there are as few requests as MLflow's limits allow,
and nothing that the client could ask for is asked for.
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from paramshare.tracking.store import Store
from paramshare.tracking.write.record import NIL_ID, Addition, Point, Record, save_files

__all__ = ["add", "add_by_client", "tag_experiment", "write", "write_by_client"]

_ENTITIES_A_CALL: Final = 1000  # MLflow's limit: metrics, params and tags together
_LOG_BATCH: Final = "/api/2.0/mlflow/runs/log-batch"


def write(store: Store, record: Record) -> str:
    """Write `record` as one whole run and return its id.

    Raises:
        MlflowException: the store refused it or does not answer.
        OSError: a file could not be written.
    """
    if store.database is not None:
        return store.database.write(record)
    return write_by_client(store.client, store.experiment_id, record)


def add(store: Store, run_id: str, addition: Addition) -> None:
    """Add to a run of the store.

    Raises:
        MlflowException: the store refused it or does not answer, or the run was deleted.
        OSError: a file could not be written.
    """
    if store.database is not None:
        store.database.add(run_id, addition)
    else:
        add_by_client(store.client, run_id, addition)


def tag_experiment(store: Store, tags: Mapping[str, str]) -> None:
    """Set tags of the store's experiment.

    Raises:
        MlflowException: the store refused it or does not answer.
    """
    if store.database is not None:
        store.database.tag_experiment(tags)
        return
    for key, value in tags.items():
        store.client.set_experiment_tag(store.experiment_id, key, value)


def add_by_client(client: MlflowClient, run_id: str, addition: Addition) -> None:
    """Add to a run in as few calls as MLflow's limits allow: the files first, the status last."""
    if addition.files:
        with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
            save_files(addition.files, Path(folder))
            client.log_artifacts(run_id, folder)
    tags = [RunTag(key, value) for key, value in addition.tags.items()]
    if tags or addition.points:
        _log_points(client, run_id, addition.points, tags=tags)
    if addition.status is not None:
        client.set_terminated(run_id, addition.status)


def write_by_client(client: MlflowClient, experiment_id: str, record: Record) -> str:
    """Write `record` in as few calls as MLflow's limits allow: its status last, which is FAILED after an error."""
    early = {key: value for key, value in record.tags.items() if NIL_ID not in value}
    run = client.create_run(experiment_id, start_time=record.start, tags=early, run_name=record.name)
    run_id: str = run.info.run_id
    try:
        named = record.named(run_id)
        if named.files:
            with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
                save_files(named.files, Path(folder))
                # The client's own log_artifacts asks the server for the whole run first, to learn this address.
                get_artifact_repository(run.info.artifact_uri, client.tracking_uri).log_artifacts(folder)
        if named.inputs:
            _log_inputs(client, run_id, named.inputs)
        params = [Param(key, value) for key, value in named.params.items()]
        tags = [RunTag(key, value) for key, value in named.tags.items() if key not in early]
        _log_points(client, run_id, _latest_first(named.points), params, tags)
    except BaseException:
        with suppress(MlflowException):  # a server that is gone, or a connection that is: what was raised says more
            client.set_terminated(run_id, "FAILED")
        raise
    if record.status != "RUNNING":
        client.set_terminated(run_id, record.status, end_time=record.end)
    return run_id


def _log_inputs(client: MlflowClient, run_id: str, inputs: Sequence[DatasetInput]) -> None:
    """MLflow's `log_inputs`, again where another process was first with a dataset.

    MLflow looks for the dataset and inserts it where there is none; of two that do so at once one is refused.
    """
    try:
        client.log_inputs(run_id, list(inputs))
    except MlflowException as error:
        if "unique" not in str(error).lower():
            raise
        client.log_inputs(run_id, list(inputs))


def _log_points(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Point],
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
) -> None:
    """Log any number of points, and at most 100 params and 100 tags, in as few calls as MLflow's limit allows."""
    room = _ENTITIES_A_CALL - len(params) - len(tags)
    _log_batch(client, run_id, points[:room], params, tags)
    for begin in range(room, len(points), _ENTITIES_A_CALL):
        _log_batch(client, run_id, points[begin : begin + _ENTITIES_A_CALL])


def _log_batch(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Point],
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
) -> None:
    """MLflow's `log_batch`. To a server its documented request is put together here.

    By way of its classes, its protocol buffers and JSON twice it costs the client four times as much.
    """
    if not client.tracking_uri.startswith("http"):
        client.log_batch(run_id, metrics=[Metric(*point) for point in points], params=params, tags=tags)
        return
    body = {
        "run_id": run_id,
        "metrics": [
            {"key": name, "value": _json_number(value), "timestamp": time, "step": step}
            for name, value, time, step in points
        ],
        "params": [{"key": param.key, "value": param.value} for param in params],
        "tags": [{"key": tag.key, "value": tag.value} for tag in tags],
    }
    answer = http_request(get_default_host_creds(client.tracking_uri), _LOG_BATCH, "POST", json=body)
    verify_rest_response(answer, _LOG_BATCH)


def _json_number(value: float) -> float | str:
    """JSON has no word for what is not finite; the protocol's are those of protocol buffers."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _latest_first(points: Sequence[Point]) -> list[Point]:
    """The points with the last of each metric in front: MLflow's server notes each that is later than those before."""
    last = {point.name: point for point in points}
    return [*last.values(), *(point for point in points if point is not last[point.name])]
