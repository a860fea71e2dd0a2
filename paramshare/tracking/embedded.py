"""Write to an embedded store's database directly: a whole run, or all that is added to one, in one transaction.

MLflow's own client takes a transaction a call and an object a point, some 60 ms a run. Here the rows that it would
leave are put straight into its tables, as MLflow itself defines them, and only where the database's schema is the one
that this was written for. A test writes the same record both ways and compares every row.
"""

import math
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mlflow.entities import DatasetInput
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlExperiment,
    SqlInput,
    SqlInputTag,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import _validate_dataset_inputs, _validate_metric_name, _validate_param, _validate_tag
from sqlalchemy import ColumnElement, Connection, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import configure_mappers

from paramshare.tracking.database import Database
from paramshare.tracking.record import Addition, Point, Record, RunExistsError, save_files

__all__ = ["add", "map_tables", "write"]

_Row = tuple[str, float, int, int, bool, str]
_LARGEST: Final = 1.7976931348623157e308  # what MLflow keeps for infinity

# A run has a thousand of these rows: given as they are they cost half of what SQLAlchemy's dictionaries do.
_POINT: Final = "(key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_METRICS: Final = f"INSERT INTO metrics {_POINT}"
_INSERT_LATEST: Final = f"INSERT INTO latest_metrics {_POINT}"
_ADD_METRICS: Final = f"{_INSERT_METRICS} ON CONFLICT (key, timestamp, step, run_uuid, value, is_nan) DO NOTHING"
_ADD_LATEST: Final = (
    f"{_INSERT_LATEST} ON CONFLICT (key, run_uuid) DO UPDATE SET "
    "value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan "
    "WHERE (excluded.step, excluded.timestamp, excluded.value) > (step, timestamp, value)"
)
_ADD_TAG: Final = (
    "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?) "
    "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"
)


def write(database: Database, record: Record) -> str:
    """Write a run, its files first, and return its id.

    Killed at any moment it leaves the whole run, or at most a folder that nothing refers to.

    Raises:
        RunExistsError: there is a FINISHED run of the record's identity; nothing is written.
        MlflowException: the database refused it, or was locked for too long.
        OSError: a file could not be written.
    """
    run_id = uuid.uuid4().hex
    record = record.named(run_id)
    folder = Path(local_file_uri_to_path(database.artifacts)) / run_id
    try:
        save_files(record.files, folder / "artifacts")
        with database.engine.begin() as connection:
            _insert(connection, database, run_id, record)
    except SQLAlchemyError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise MlflowException(str(error)) from error
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return run_id


def add(database: Database, run_id: str, addition: Addition) -> None:
    """Add to a run in one transaction, after its files are written.

    Raises:
        MlflowException: the run is not there or was deleted, or the database was locked for too long.
        OSError: a file could not be written.
    """
    try:
        if addition.files:
            save_files(addition.files, _artifacts_of(database, run_id))
        with database.engine.begin() as connection:
            _add(connection, run_id, addition)
    except SQLAlchemyError as error:
        raise MlflowException(str(error)) from error


def _artifacts_of(database: Database, run_id: str) -> Path:
    uri = database.artifact_uri(run_id)
    if uri is None:
        raise MlflowException(f"the run {run_id} is not there")
    return Path(local_file_uri_to_path(uri))


def _add(connection: Connection, run_id: str, addition: Addition) -> None:
    """Insert the rows of an addition; once something is written, nobody else deletes the run meanwhile."""
    tags = [_validate_tag(key, value) for key, value in addition.tags.items()]
    if tags:
        connection.exec_driver_sql(_ADD_TAG, [(tag.key, tag.value, run_id) for tag in tags])
    every, latest = _metric_rows(run_id, addition.points)
    if every:
        connection.exec_driver_sql(_ADD_METRICS, every)
        connection.exec_driver_sql(_ADD_LATEST, latest)
    of_run = SqlRun.run_uuid == run_id
    if addition.status is not None:
        ended = {"status": addition.status, "end_time": int(time.time() * 1000)}
        connection.execute(update(SqlRun).where(of_run).values(ended))
    if connection.scalar(select(SqlRun.lifecycle_stage).where(of_run)) != "active":
        raise MlflowException(f"the run {run_id} is not there or was deleted")


def _check_identity(connection: Connection, experiment_id: int, record: Record) -> None:
    """Refuse a second run of one identity.

    Once something is inserted, and not before, the transaction excludes every other writer.

    The way leads over the datasets' and tags' keys: the value of a tag alone has no index.
    """
    for given in record.inputs if record.identity else ():
        same_run = (
            select(SqlRun.run_uuid)
            .join(SqlInput, (SqlInput.destination_id == SqlRun.run_uuid) & (SqlInput.destination_type == "RUN"))
            .join(SqlDataset, (SqlDataset.dataset_uuid == SqlInput.source_id) & (SqlInput.source_type == "DATASET"))
            .join(SqlTag, (SqlTag.run_uuid == SqlRun.run_uuid) & (SqlTag.key == record.identity))
            .where(*_same_dataset(experiment_id, given), SqlTag.value == record.tags[record.identity])
            .where(SqlRun.status == "FINISHED", SqlRun.lifecycle_stage == "active")
        )
        if (found := connection.scalar(same_run.limit(1))) is not None:
            raise RunExistsError(str(found))


def _insert(connection: Connection, database: Database, run_id: str, record: Record) -> None:
    """Insert the rows of a record, and those that MLflow adds to it."""
    tags = [_validate_tag(key, value) for key, value in {**record.tags, "mlflow.runName": record.name}.items()]
    params = [_validate_param(key, value) for key, value in record.params.items()]
    run = _run(database, run_id, record)
    connection.execute(insert(SqlRun), run)
    _check_active(connection, database.experiment_id)
    _check_identity(connection, database.experiment_id, record)
    _insert_all(connection, SqlTag, [{"key": tag.key, "value": tag.value, "run_uuid": run_id} for tag in tags])
    _insert_all(connection, SqlParam, [{"key": one.key, "value": one.value, "run_uuid": run_id} for one in params])
    every, latest = _metric_rows(run_id, record.points)
    if every:
        connection.exec_driver_sql(_INSERT_METRICS, every)
        connection.exec_driver_sql(_INSERT_LATEST, latest)
    _validate_dataset_inputs(record.inputs)
    for given in record.inputs:
        _insert_input(connection, run_id, database.experiment_id, given)


def _run(database: Database, run_id: str, record: Record) -> dict[str, Any]:
    return {
        "run_uuid": run_id,
        "name": record.name,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": record.tags.get("mlflow.user", "unknown"),
        "status": record.status,
        "start_time": record.start,
        "end_time": record.end,
        "deleted_time": None,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": append_to_uri_path(database.artifacts, run_id, "artifacts"),
        "experiment_id": database.experiment_id,
    }


def _check_active(connection: Connection, experiment_id: int) -> None:
    stage = select(SqlExperiment.lifecycle_stage).where(SqlExperiment.experiment_id == experiment_id)
    if connection.scalar(stage) != "active":
        raise MlflowException(f"the experiment {experiment_id} was deleted")


def map_tables() -> None:
    """Map MLflow's tables now; SQLAlchemy would do it at the first query, in half a second."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - has further tables

    configure_mappers()


def _insert_all(connection: Connection, table: type, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _metric_rows(run_id: str, points: Sequence[Point]) -> tuple[list[_Row], list[_Row]]:
    """Return the row of every point, and of the latest of each metric: the largest by step, time and value."""
    for name in {point.name for point in points}:
        _validate_metric_name(name)
    rows: list[_Row] = []
    latest: dict[str, tuple[tuple[int, int, float], _Row]] = {}
    for name, value, timestamp, step in points:
        is_nan = math.isnan(value)
        kept = 0.0 if is_nan else min(max(value, -_LARGEST), _LARGEST)
        row, age = (name, kept, timestamp, step, is_nan, run_id), (step, timestamp, kept)
        rows.append(row)
        if name not in latest or age > latest[name][0]:
            latest[name] = age, row
    return rows, [row for _, row in latest.values()]


def _same_dataset(experiment_id: int, given: DatasetInput) -> tuple[ColumnElement[bool], ...]:
    return (
        SqlDataset.experiment_id == experiment_id,
        SqlDataset.name == given.dataset.name,
        SqlDataset.digest == given.dataset.digest,
    )


def _insert_input(connection: Connection, run_id: str, experiment_id: int, given: DatasetInput) -> None:
    """Insert the dataset if the experiment does not have it yet, and the run's use of it."""
    dataset, input_id = given.dataset, uuid.uuid4().hex
    dataset_id = connection.scalar(select(SqlDataset.dataset_uuid).where(*_same_dataset(experiment_id, given)))
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
        connection.execute(insert(SqlDataset), row)
    edge = {"source_type": "DATASET", "source_id": dataset_id, "destination_type": "RUN", "destination_id": run_id}
    connection.execute(insert(SqlInput), {"input_uuid": input_id, **edge})
    tags = [{"input_uuid": input_id, "name": tag.key, "value": tag.value} for tag in given.tags]
    _insert_all(connection, SqlInputTag, tags)
