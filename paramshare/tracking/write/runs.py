"""Write a whole run, or add to a run: in one transaction to an embedded store, to a server by MLflow's public API.

Most of the time that a run takes on a server is spent by the server. So runs are written in as few requests as MLflow's
limits allow, and the client requests nothing that it knows.
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
from paramshare.tracking.write import embedded
from paramshare.tracking.write.record import NIL_ID, Addition, Begun, Point, Record, save_files

__all__ = ["add", "add_by_client", "tag_experiment", "write", "write_by_client"]

_ENTITIES_A_REQUEST: Final = 1000  # MLflow's limit: metrics, params and tags together
_LOG_BATCH: Final = "/api/2.0/mlflow/runs/log-batch"


def write(store: Store, record: Record, begun: Begun | None = None) -> str:
    """Write `record` as one whole run and return its id.

    Args:
        begun: the RUNNING run that becomes this run. Defaults to None: the run is new.

    Raises:
        RunExistsError: an embedded store has a FINISHED run with the record's identity.
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


def tag_experiment(store: Store, tags: Mapping[str, str]) -> None:
    """Set tags of the store's experiment.

    Raises:
        MlflowException: the store refused the tags or does not answer.
    """
    if store.database is not None:
        store.database.tag_experiment(tags)
        return
    for key, value in tags.items():
        store.client.set_experiment_tag(store.experiment_id, key, value)


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
    """Write `record` in as few requests as MLflow's limits allow. Set the status last, FAILED after an error."""
    early = {key: value for key, value in record.tags.items() if NIL_ID not in value}
    written: Mapping[str, int] = {}
    if begun is None:
        run = client.create_run(experiment_id, start_time=record.start, tags=early, run_name=record.name)
    else:
        run, early, written = client.get_run(begun.run_id), {}, begun.written
    run_id: str = run.info.run_id
    try:
        named = record.named(run_id)
        if named.files:
            with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
                save_files(named.files, Path(folder))
                # The client's own log_artifacts first requests the whole run, to get this address.
                get_artifact_repository(run.info.artifact_uri, client.tracking_uri).log_artifacts(folder)
        if named.inputs:
            _log_inputs(client, run_id, named.inputs)
        params = [Param(key, value) for key, value in named.params.items()]
        tags = [RunTag(key, value) for key, value in named.tags.items() if key not in early]
        points = [point for point in named.points if point.step >= written.get(point.name, 0)]
        _log_points(client, run_id, _latest_first(points), params, tags)
    except BaseException:
        with suppress(MlflowException):  # the server can be unreachable; the first exception is the one to report
            client.set_terminated(run_id, "FAILED")
        raise
    if record.status != "RUNNING":
        client.set_terminated(run_id, record.status, end_time=record.end)
    return run_id


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
) -> None:
    """Log any number of points, and at most 100 params and 100 tags, in as few requests as MLflow's limit allows."""
    room = _ENTITIES_A_REQUEST - len(params) - len(tags)
    _log_batch(client, run_id, points[:room], params, tags)
    for begin in range(room, len(points), _ENTITIES_A_REQUEST):
        _log_batch(client, run_id, points[begin : begin + _ENTITIES_A_REQUEST])


def _log_batch(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Point],
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
) -> None:
    """Call MLflow's `log_batch`; for a server build its documented request here.

    MLflow's client builds objects, protocol buffers and JSON for it, which takes four times as long.
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
    response = http_request(get_default_host_creds(client.tracking_uri), _LOG_BATCH, "POST", json=body)
    verify_rest_response(response, _LOG_BATCH)


def _json_number(value: float) -> float | str:
    """Return a number for JSON, which has no infinity and NaN: these are text, as in protocol buffers."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _latest_first(points: Sequence[Point]) -> list[Point]:
    """Return the points with the last of each metric first: MLflow's server updates a row for each later point."""
    last = {point.name: point for point in points}
    return [*last.values(), *(point for point in points if point is not last[point.name])]
