"""Write a whole run, or add to a run: in one transaction to an embedded store, to a server by MLflow's public API.

Most of the time that a run takes on a server is spent by the server. So runs are written in as few requests as MLflow's
limits allow, and the client requests nothing that it knows.

MLflow keeps the model of a run that is deleted or ends as FAILED. So whoever deletes a run deletes its model, too.
"""

import math
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from paramshare.tracking.store import Store
from paramshare.tracking.tags import CLOSED
from paramshare.tracking.write import embedded
from paramshare.tracking.write.record import (
    NIL_ID,
    Addition,
    Begun,
    ModelRecord,
    Point,
    Record,
    RunClosedError,
    save_files,
)

__all__ = ["add", "add_by_client", "delete_models", "delete_run", "write", "write_by_client"]

_ENTITIES_A_REQUEST: Final = 1000  # MLflow's limit: metrics, params and tags together
_LOG_BATCH: Final = "/api/2.0/mlflow/runs/log-batch"

_ModelOf = Callable[[Point], str | None]


def write(store: Store, record: Record, begun: Begun | None = None) -> str:
    """Write `record` as one whole run and return its id.

    Args:
        begun: the RUNNING run that becomes this run. Defaults to None: the run is new.

    Raises:
        RunExistsError: an embedded store has a FINISHED run with the record's identity.
        RunClosedError: another process has closed the run while this one wrote it to a server.
        MlflowException: the store refused the record or does not answer.
        OSError: a file could not be written.
    """
    if store.database is not None:
        return embedded.write(store.database, record, begun)
    return write_by_client(store.client, store.experiment_id, record, begun)


def add(store: Store, run_id: str, addition: Addition) -> None:
    """Add to a run of the store.

    Raises:
        MlflowException: the store refused the addition or does not answer, or the run was deleted.
        OSError: a file could not be written.
    """
    if store.database is not None:
        embedded.add(store.database, run_id, addition)
    else:
        add_by_client(store.client, run_id, addition)


def add_by_client(client: MlflowClient, run_id: str, addition: Addition) -> None:
    """Add to a run in as few requests as MLflow's limits allow: the files first, the status last."""
    if addition.files:
        with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
            save_files(addition.files, Path(folder))
            client.log_artifacts(run_id, folder)
    tags = [RunTag(key, value) for key, value in addition.tags.items()]
    if tags or addition.points:
        _log_points(client, run_id, addition.points, tags=tags)
    if addition.status is not None:
        client.set_terminated(run_id, addition.status)


def write_by_client(client: MlflowClient, experiment_id: str, record: Record, begun: Begun | None = None) -> str:
    """Write `record` in as few requests as MLflow's limits allow. Set the status last.

    After an error the run is FAILED, and its model is deleted. If another process has closed the run meanwhile, it is
    KILLED: a process of another machine can be alive although its sweep has ended.

    Raises:
        RunClosedError: another process has closed the run.
    """
    early = {key: value for key, value in record.tags.items() if NIL_ID not in value}
    written: Mapping[str, int] = {}
    if begun is None:
        run = client.create_run(experiment_id, start_time=record.start, tags=early, run_name=record.name)
    else:
        run, early, written = client.get_run(begun.run_id), {}, begun.written
        delete_models(client, experiment_id, begun.run_id)  # of a process that was killed while it wrote this run
    run_id: str = run.info.run_id
    try:
        model = record.model and _create_model(client, experiment_id, run_id, record.model)
        named = record.named(run_id, model.model_id if model else "")
        _upload(client, run.info.artifact_uri, named.files)
        if model and named.model:
            _upload(client, model.artifact_location, named.model.files)
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        if named.inputs:
            _log_inputs(client, run_id, named.inputs)
        points = [point for point in named.points if point.step >= written.get(point.name, 0)]
        _log_content(client, run_id, replace(named, points=points), early, model)
    except BaseException:
        with suppress(MlflowException):  # the server can be unreachable; the first exception is the one to report
            client.set_terminated(run_id, "FAILED")
            if record.model is not None:
                delete_models(client, experiment_id, run_id)
        raise
    if record.status != "RUNNING":
        client.set_terminated(run_id, record.status, end_time=record.end)
    if record.status == "FINISHED" and CLOSED in client.get_run(run_id).data.tags:
        client.set_terminated(run_id, "KILLED")
        delete_models(client, experiment_id, run_id)
        raise RunClosedError(run_id)
    return run_id


def _create_model(client: MlflowClient, experiment_id: str, run_id: str, model: ModelRecord) -> LoggedModel:
    """Create the model of a run, link the run to it, and return it. It is PENDING and has no files yet."""
    created = client.create_logged_model(
        experiment_id, model.name, source_run_id=run_id, tags=dict(model.tags), params=dict(model.params)
    )
    client.log_outputs(run_id, [LoggedModelOutput(created.model_id, step=0)])
    return created


def delete_models(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    """Delete the models of a run; `mlflow gc` removes their files."""
    for model in client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"):
        client.delete_logged_model(model.model_id)


def delete_run(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    """Delete a run and its models; see `delete_models`."""
    client.delete_run(run_id)
    delete_models(client, experiment_id, run_id)


def _upload(client: MlflowClient, location: str, files: Mapping[str, bytes | str]) -> None:
    """Upload files to the location of a run's or a model's artifacts.

    The client's own `log_artifacts` first requests the whole run, to get this location.
    """
    if files:
        with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
            save_files(files, Path(folder))
            get_artifact_repository(location, client.tracking_uri).log_artifacts(folder)


def _log_content(
    client: MlflowClient, run_id: str, record: Record, early: Collection[str], model: LoggedModel | None
) -> None:
    """Log the parameters, the points and the remaining tags of a run; the points of its model are among them.

    Args:
        early: the names of tags that the run has already.
    """
    params = [Param(key, value) for key, value in record.params.items()]
    tags = [RunTag(key, value) for key, value in record.tags.items() if key not in early]
    points = _latest_first(record.points)
    if model is None or record.model is None:
        _log_points(client, run_id, points, params, tags)
        return
    model_id, of_model = model.model_id, set(record.model.points_of(points))
    _log_points(client, run_id, points, params, tags, lambda point: model_id if point in of_model else None)


def _log_inputs(client: MlflowClient, run_id: str, inputs: Sequence[DatasetInput]) -> None:
    """Log the datasets of a run, and retry once if another process logged the same dataset at the same time.

    MLflow looks for the dataset and inserts it if it does not exist. Of two simultaneous inserts one is refused.
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
    model_of: _ModelOf = lambda _: None,
) -> None:
    """Log any number of points, and at most 100 params and 100 tags, in as few requests as MLflow's limit allows.

    Args:
        model_of: returns the id of the model that has a point, too. Defaults to None for every point.
    """
    room = _ENTITIES_A_REQUEST - len(params) - len(tags)
    _log_batch(client, run_id, points[:room], params, tags, model_of)
    for begin in range(room, len(points), _ENTITIES_A_REQUEST):
        _log_batch(client, run_id, points[begin : begin + _ENTITIES_A_REQUEST], (), (), model_of)


def _log_batch(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Point],
    params: Sequence[Param],
    tags: Sequence[RunTag],
    model_of: _ModelOf,
) -> None:
    """Call MLflow's `log_batch`; for a server build its documented request here.

    MLflow's client builds objects, protocol buffers and JSON for it, which takes four times as long.
    """
    if not client.tracking_uri.startswith("http"):
        metrics = [Metric(*point, model_id=model_of(point)) for point in points]
        client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
        return
    body = {
        "run_id": run_id,
        "metrics": [_json_point(point, model_of(point)) for point in points],
        "params": [{"key": param.key, "value": param.value} for param in params],
        "tags": [{"key": tag.key, "value": tag.value} for tag in tags],
    }
    response = http_request(get_default_host_creds(client.tracking_uri), _LOG_BATCH, "POST", json=body)
    verify_rest_response(response, _LOG_BATCH)


def _json_point(point: Point, model_id: str | None) -> dict[str, object]:
    name, value, time, step = point
    entry: dict[str, object] = {"key": name, "value": _json_number(value), "timestamp": time, "step": step}
    return entry if model_id is None else {**entry, "model_id": model_id}


def _json_number(value: float) -> float | str:
    """Return a number for JSON, which has no infinity and NaN: these are text, as in protocol buffers."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _latest_first(points: Sequence[Point]) -> list[Point]:
    """Return the points with the last of each metric first: MLflow's server updates a row for each later point."""
    last = {point.name: point for point in points}
    return [*last.values(), *(point for point in points if point is not last[point.name])]
