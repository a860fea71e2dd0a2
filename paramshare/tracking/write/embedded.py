"""Write a whole run, or an addition to a run, to an embedded store's database in one transaction.

MLflow's client uses a transaction for each call and an object for each point: about 60 ms a run, and a second to start.
This module inserts the same rows into MLflow's tables. It supports one schema of the database only. A test writes the
same record both ways and compares every row.
"""

import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mlflow.entities import DatasetInput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import (
    _validate_dataset_inputs,
    _validate_logged_model_name,
    _validate_param,
    _validate_tag,
)
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from paramshare.tracking.store.database import Database
from paramshare.tracking.tags import RUN_NAME, USER
from paramshare.tracking.write.points import ADD, INSERT, Statements, rows_of
from paramshare.tracking.write.record import (
    Addition,
    Begun,
    ModelRecord,
    Point,
    Record,
    RunExistsError,
    now,
    save_files,
)

__all__ = ["add", "write"]

_MODELS: Final = "models"  # the folder of all models beside those of runs
_ARTIFACTS: Final = "artifacts"  # the folder of the files in that of a run or of a model
_READY: Final = LoggedModelStatus.READY.to_int()

_INSERT_TAG: Final = "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)"
_ADD_TAG: Final = f"{_INSERT_TAG} ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"
_INSERT_PARAM: Final = "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)"
_INSERT_MODEL_TAG: Final = (
    "INSERT INTO logged_model_tags (model_id, experiment_id, tag_key, tag_value) VALUES (?, ?, ?, ?)"
)
_INSERT_MODEL_PARAM: Final = (
    "INSERT INTO logged_model_params (model_id, experiment_id, param_key, param_value) VALUES (?, ?, ?, ?)"
)
_INSERT_MODEL_METRIC: Final = (
    "INSERT INTO logged_model_metrics (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, "
    "experiment_id, run_id) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_INPUT_TAG: Final = "INSERT INTO input_tags (input_uuid, name, value) VALUES (?, ?, ?)"

_SAME_IDENTITY: Final = """\
SELECT runs.run_uuid FROM runs
JOIN inputs ON inputs.destination_type = 'RUN' AND inputs.destination_id = runs.run_uuid
JOIN datasets ON inputs.source_type = 'DATASET' AND datasets.dataset_uuid = inputs.source_id
JOIN tags ON tags.run_uuid = runs.run_uuid
WHERE datasets.experiment_id = ? AND datasets.name = ? AND datasets.digest = ? AND tags.key = ? AND tags.value = ?
AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active' LIMIT 1"""
_DATASET: Final = "SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?"


def write(database: Database, record: Record, begun: Begun | None = None) -> str:
    """Write a run, its files first, and return its id.

    If the process is killed, the run is complete or absent; at most folders that nothing refers to remain.

    Args:
        begun: the RUNNING run whose rows this run replaces.

    Raises:
        RunExistsError: there is a FINISHED run with the record's identity; nothing is written.
        MlflowException: the database refused the run, or was locked for too long.
        OSError: a file could not be written.
    """
    run_id, model_id = begun.run_id if begun else uuid.uuid4().hex, f"m-{uuid.uuid4().hex}"
    record = record.named(run_id, model_id)
    artifacts = Path(local_file_uri_to_path(database.artifacts))
    folders = {artifacts / run_id: record.files}
    if record.model is not None:
        folders[artifacts / _MODELS / model_id] = record.model.files
    try:
        for folder, files in folders.items():
            save_files(files, folder / _ARTIFACTS)
        with database.transaction() as connection:
            if begun:
                _delete(connection, run_id)
            _insert(connection, database, run_id, record)
            if record.model is not None:
                _insert_model(connection, database, (run_id, model_id), record.model)
                _write_rows(connection, _INSERT_MODEL_METRIC, _model_points(database, (run_id, model_id), record))
    except SQLAlchemyError as error:
        _remove(folders)
        raise MlflowException(str(error)) from error
    except Exception:
        _remove(folders)
        raise
    return run_id


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def add(database: Database, run_id: str, addition: Addition) -> None:
    """Add to a run in one transaction, after its files are written.

    Raises:
        MlflowException: the run does not exist or was deleted, or the database was locked for too long.
        OSError: a file could not be written.
    """
    try:
        if addition.files:
            save_files(addition.files, _artifacts_of(database, run_id))
        with database.transaction() as connection:
            _add(connection, run_id, addition)
    except SQLAlchemyError as error:
        raise MlflowException(str(error)) from error


def _artifacts_of(database: Database, run_id: str) -> Path:
    uri = database.artifact_uri(run_id)
    if uri is None:
        raise MlflowException(f"the run {run_id} does not exist")
    return Path(local_file_uri_to_path(uri))


def _add(connection: Connection, run_id: str, addition: Addition) -> None:
    """Insert the rows of an addition. The first write locks the database, so that no other process deletes the run."""
    _write_rows(connection, _ADD_TAG, _tag_rows(run_id, addition.tags))
    _write_points(connection, ADD, run_id, addition.points)
    if addition.status is not None:
        statement = "UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?"
        connection.exec_driver_sql(statement, (addition.status, now(), run_id))
    stage = connection.exec_driver_sql("SELECT lifecycle_stage FROM runs WHERE run_uuid = ?", (run_id,)).scalar()
    if stage != "active":
        raise MlflowException(f"the run {run_id} does not exist or was deleted")


def _delete(connection: Connection, run_id: str) -> None:
    """Delete the rows of a RUNNING run, which has no datasets."""
    for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE run_uuid = ?", (run_id,))  # noqa: S608 - of constants


def _check_identity(connection: Connection, experiment_id: int, record: Record) -> None:
    """Refuse a second run with the same identity.

    Call this after the first insert: only then does the transaction exclude other writers. The query uses the keys of
    datasets and tags, since the value of a tag has no index.
    """
    for dataset_input in record.inputs if record.identity else ():
        dataset = (experiment_id, dataset_input.dataset.name, dataset_input.dataset.digest)
        identity = (record.identity, record.tags[record.identity])
        same_run = connection.exec_driver_sql(_SAME_IDENTITY, (*dataset, *identity)).scalar()
        if same_run is not None:
            raise RunExistsError(str(same_run))


def _insert(connection: Connection, database: Database, run_id: str, record: Record) -> None:
    """Insert the rows of a record, and the rows that MLflow adds to it."""
    tags = _tag_rows(run_id, {**record.tags, RUN_NAME: record.name})
    params = [_validate_param(key, value) for key, value in record.params.items()]
    _insert_row(connection, "runs", _run_row(database, run_id, record))
    _check_active(connection, database.experiment_id)
    _check_identity(connection, database.experiment_id, record)
    _write_rows(connection, _INSERT_TAG, tags)
    _write_rows(connection, _INSERT_PARAM, [(param.key, param.value, run_id) for param in params])
    _write_points(connection, INSERT, run_id, record.points)
    _validate_dataset_inputs(record.inputs)
    for dataset_input in record.inputs:
        _insert_input(connection, run_id, database.experiment_id, dataset_input)


def _run_row(database: Database, run_id: str, record: Record) -> dict[str, Any]:
    return {
        "run_uuid": run_id,
        "name": record.name,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": record.tags.get(USER, "unknown"),
        "status": record.status,
        "start_time": record.start,
        "end_time": record.end,
        "deleted_time": None,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": append_to_uri_path(database.artifacts, run_id, _ARTIFACTS),
        "experiment_id": database.experiment_id,
    }


def _check_active(connection: Connection, experiment_id: int) -> None:
    stage = "SELECT lifecycle_stage FROM experiments WHERE experiment_id = ?"
    if connection.exec_driver_sql(stage, (experiment_id,)).scalar() != "active":
        raise MlflowException(f"the experiment {experiment_id} was deleted")


def _insert_row(connection: Connection, table: str, row: Mapping[str, object]) -> None:
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608 - of constants
    connection.exec_driver_sql(statement, tuple(row.values()))


def _write_rows(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        connection.exec_driver_sql(statement, list(rows))


def _tag_rows(run_id: str, tags: Mapping[str, str]) -> list[tuple[str, str, str]]:
    validated = (_validate_tag(key, value) for key, value in tags.items())
    return [(tag.key, tag.value, run_id) for tag in validated]


def _write_points(connection: Connection, statements: Statements, run_id: str, points: Sequence[Point]) -> None:
    for statement, rows in zip(statements, rows_of(run_id, points), strict=True):
        _write_rows(connection, statement, rows)


def _insert_input(connection: Connection, run_id: str, experiment_id: int, dataset_input: DatasetInput) -> None:
    """Insert the dataset if the experiment does not have it yet, and the link from the run to the dataset."""
    dataset, input_id = dataset_input.dataset, uuid.uuid4().hex
    dataset_id = connection.exec_driver_sql(_DATASET, (experiment_id, dataset.name, dataset.digest)).scalar()
    if dataset_id is None:
        dataset_id = uuid.uuid4().hex
        row = {
            "dataset_uuid": dataset_id,
            "experiment_id": experiment_id,
            "name": dataset.name,
            "digest": dataset.digest,
            "dataset_source_type": dataset.source_type,
            "dataset_source": dataset.source,
            "dataset_schema": dataset.schema,
            "dataset_profile": dataset.profile,
        }
        _insert_row(connection, "datasets", row)
    edge = {"source_type": "DATASET", "source_id": dataset_id, "destination_type": "RUN", "destination_id": run_id}
    _insert_row(connection, "inputs", {"input_uuid": input_id, **edge})
    _write_rows(connection, _INSERT_INPUT_TAG, [(input_id, tag.key, tag.value) for tag in dataset_input.tags])


def _insert_model(connection: Connection, database: Database, ids: tuple[str, str], model: ModelRecord) -> None:
    """Insert a model, its tags and parameters, and the link from the run to the model.

    Args:
        ids: of the run and of the model.
    """
    run_id, model_id = ids
    experiment_id, created = database.experiment_id, now()
    _validate_logged_model_name(model.name)
    row = {
        "model_id": model_id,
        "experiment_id": experiment_id,
        "name": model.name,
        "artifact_location": append_to_uri_path(database.artifacts, _MODELS, model_id, _ARTIFACTS),
        "creation_timestamp_ms": created,
        "last_updated_timestamp_ms": created,
        "status": _READY,
        "lifecycle_stage": "active",
        "model_type": None,
        "source_run_id": run_id,
        "status_message": None,
    }
    _insert_row(connection, "logged_models", row)
    for statement, values in ((_INSERT_MODEL_TAG, model.tags), (_INSERT_MODEL_PARAM, model.params)):
        _write_rows(connection, statement, [(model_id, experiment_id, *item) for item in values.items()])
    edge = {"source_type": "RUN_OUTPUT", "source_id": run_id, "destination_type": "MODEL_OUTPUT"}
    _insert_row(connection, "inputs", {"input_uuid": uuid.uuid4().hex, **edge, "destination_id": model_id, "step": 0})


def _model_points(database: Database, ids: tuple[str, str], record: Record) -> list[tuple[Any, ...]]:
    """Return the rows of the points that the model of a run has, too."""
    assert record.model is not None
    run_id, model_id = ids
    return [
        (model_id, point.name, point.time, point.step, point.value, database.experiment_id, run_id)
        for point in record.model.points_of(record.points)
    ]
