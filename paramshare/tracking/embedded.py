"""An embedded store's database, written to directly: a whole run in one transaction.

MLflow's own client takes a transaction a call and an object a point, some 60 ms a run. Here the rows that it would
leave are put straight into its tables, as MLflow itself defines them, and only where the database's schema is the one
that this was written for. A test writes the same record both ways and compares every row.
"""

import math
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Experiment
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlExperiment,
    SqlInput,
    SqlInputTag,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import append_to_uri_path, is_local_uri
from mlflow.utils.validation import _validate_dataset_inputs, _validate_metric_name, _validate_param, _validate_tag
from sqlalchemy import ColumnElement, Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import configure_mappers

from paramshare.tracking.record import Point, Record, RunExistsError
from paramshare.tracking.summaries import Selection, Summary, read_summaries

__all__ = ["Database", "StoreWarning", "let_wait", "map_tables", "open_database"]

_SCHEMA: Final = "dc11669786a5"
"""MLflow's name for the schema of its tables, since 3.17."""

_BUSY: Final = 60.0  # seconds to wait for another writer
_Row = tuple[str, float, int, int, bool, str]
_LARGEST: Final = 1.7976931348623157e308  # what MLflow keeps for infinity
_RUNS_A_QUERY: Final = 500
_ROWS_COUNTED: Final = 100_000  # of each index: more than a run has, or SQLite takes all runs to be as short as that

# A run has a thousand of these rows: given as they are they cost half of what SQLAlchemy's dictionaries do.
_INSERT_METRICS: Final = "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_LATEST: Final = _INSERT_METRICS.replace("metrics", "latest_metrics", 1)


class StoreWarning(UserWarning):
    """The store works, but not as fast as it could."""


@dataclass(frozen=True, slots=True)
class Database:
    """The database of an embedded store, for the runs of one experiment.

    Args:
        experiment_id: MLflow's id.
        artifacts: the URI of the folder below which each run has one for its files.
    """

    experiment_id: int
    artifacts: str
    _engine: Engine = field(repr=False)

    def write(self, record: Record) -> str:
        """Write a run, its files first, and return its id.

        Killed at any moment it leaves the whole run, or at most a folder that nothing refers to.

        Raises:
            RunExistsError: there is a FINISHED run of the record's identity; nothing is written.
            MlflowException: the database refused it, or was locked for too long.
            OSError: a file could not be written.
        """
        run_id = uuid.uuid4().hex
        record = record.named(run_id)
        folder = Path(local_file_uri_to_path(self.artifacts)) / run_id
        try:
            record.save_files(folder / "artifacts")
            with self._engine.begin() as connection:
                self._insert(connection, run_id, record)
        except SQLAlchemyError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise MlflowException(str(error)) from error
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return run_id

    def histories(self, run_ids: Sequence[str], metric: str) -> dict[str, list[float]]:
        """The values of a metric in the order of its steps, by run."""
        found = {}
        columns = select(SqlMetric.run_uuid, SqlMetric.value, SqlMetric.is_nan)
        with self._engine.connect() as connection:
            for begin in range(0, len(run_ids), _RUNS_A_QUERY):
                these = SqlMetric.run_uuid.in_(run_ids[begin : begin + _RUNS_A_QUERY])
                rows = columns.where(these, SqlMetric.key == metric).order_by(SqlMetric.run_uuid, SqlMetric.step)
                for run_id, points in groupby(connection.execute(rows), key=lambda row: row[0]):
                    found[run_id] = [math.nan if is_nan else value for _, value, is_nan in points]
        return found

    def summaries(self, kind: tuple[str, str], selection: Selection) -> list[Summary]:
        """Return the selected parts of runs, as of `read_summaries`."""
        with self._engine.connect() as connection:
            return list(read_summaries(connection, self.experiment_id, kind, selection))

    def analyse(self) -> None:
        """Let SQLite count what is in its tables: without, it chooses poor indexes once there are many runs."""
        with self._engine.connect() as connection:
            connection.execute(text(f"PRAGMA analysis_limit={_ROWS_COUNTED}"))
            connection.execute(text("ANALYZE"))

    def _check_identity(self, connection: Connection, record: Record) -> None:
        """Let no second run of one identity in.

        Once something is inserted, and not before, the transaction excludes every other writer.

        The way leads over the datasets' and tags' keys: the value of a tag alone has no index.
        """
        for given in record.inputs if record.identity else ():
            same_run = (
                select(SqlRun.run_uuid)
                .join(SqlInput, (SqlInput.destination_id == SqlRun.run_uuid) & (SqlInput.destination_type == "RUN"))
                .join(SqlDataset, (SqlDataset.dataset_uuid == SqlInput.source_id) & (SqlInput.source_type == "DATASET"))
                .join(SqlTag, (SqlTag.run_uuid == SqlRun.run_uuid) & (SqlTag.key == record.identity))
                .where(*_same_dataset(self.experiment_id, given), SqlTag.value == record.tags[record.identity])
                .where(SqlRun.status == "FINISHED", SqlRun.lifecycle_stage == "active")
            )
            if (found := connection.scalar(same_run.limit(1))) is not None:
                raise RunExistsError(str(found))

    def _insert(self, connection: Connection, run_id: str, record: Record) -> None:
        """Everything that the record says, and what MLflow adds to it."""
        tags = [_validate_tag(key, value) for key, value in {**record.tags, "mlflow.runName": record.name}.items()]
        params = [_validate_param(key, value) for key, value in record.params.items()]
        run = self._run(run_id, record)
        connection.execute(insert(SqlRun), run)
        self._check_active(connection)
        self._check_identity(connection, record)
        _insert_all(connection, SqlTag, [{"key": tag.key, "value": tag.value, "run_uuid": run_id} for tag in tags])
        _insert_all(connection, SqlParam, [{"key": one.key, "value": one.value, "run_uuid": run_id} for one in params])
        _insert_metrics(connection, run_id, record.points)
        _validate_dataset_inputs(record.inputs)
        for given in record.inputs:
            _insert_input(connection, run_id, self.experiment_id, given)

    def _run(self, run_id: str, record: Record) -> dict[str, Any]:
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
            "artifact_uri": append_to_uri_path(self.artifacts, run_id, "artifacts"),
            "experiment_id": self.experiment_id,
        }

    def _check_active(self, connection: Connection) -> None:
        stage = select(SqlExperiment.lifecycle_stage).where(SqlExperiment.experiment_id == self.experiment_id)
        if connection.scalar(stage) != "active":
            raise MlflowException(f"the experiment {self.experiment_id} was deleted")


def open_database(uri: str, experiment: Experiment) -> Database | None:
    """The SQLite database at `uri`, to write runs of `experiment` to; None, with a warning, if it is not as expected.

    Raises:
        SQLAlchemyError: it is not one that MLflow has made.
    """
    engine = _engine(uri)
    with engine.connect() as connection:
        schema = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if schema != _SCHEMA:
        reason = f"its tables have the schema {schema}, and this version of paramshare knows {_SCHEMA}"
    elif not is_local_uri(experiment.artifact_location):
        reason = f"the experiment {experiment.name!r} keeps its files at {experiment.artifact_location}"
    else:
        return Database(int(experiment.experiment_id), experiment.artifact_location, engine)
    engine.dispose()
    warnings.warn(f"runs are written to {uri} by MLflow's slower client: {reason}", StoreWarning, stacklevel=2)
    return None


def _engine(uri: str) -> Engine:
    # IMMEDIATE: a writer waits for the one before it; one that first reads and then wants to write fails instead.
    arguments = {"timeout": _BUSY, "isolation_level": "IMMEDIATE"}
    engine = create_engine(uri, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=NORMAL")  # in WAL a power cut can take the last runs, and break nothing

    return engine


def map_tables() -> None:
    """Let SQLAlchemy map MLflow's tables now, which it would do at the first query: half a second."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - has further tables

    configure_mappers()


def let_wait(client: MlflowClient) -> None:
    """Let MLflow's own client wait for another writer as long as is waited here; it sets 20 seconds in each session."""
    engine = client._tracking_client.store.engine
    if not event.contains(engine, "before_cursor_execute", _longer):
        event.listen(engine, "before_cursor_execute", _longer, retval=True)


def _longer(*given: Any) -> tuple[str, Any]:
    """SQLAlchemy's hook: the statement and the parameters to go on with."""
    _, _, statement, parameters, *_ = given
    if statement.startswith("PRAGMA busy_timeout"):
        return f"PRAGMA busy_timeout = {_BUSY * 1000:.0f}", parameters
    return statement, parameters


def _insert_all(connection: Connection, table: type, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _insert_metrics(connection: Connection, run_id: str, points: Sequence[Point]) -> None:
    """Every point, and of each metric the latest: the largest by step, time and value."""
    for name in {point.name for point in points}:
        _validate_metric_name(name)
    rows: list[_Row] = []
    latest: dict[str, tuple[tuple[int, int, float], _Row]] = {}
    for name, value, time, step in points:
        is_nan = math.isnan(value)
        kept = 0.0 if is_nan else min(max(value, -_LARGEST), _LARGEST)
        row, age = (name, kept, time, step, is_nan, run_id), (step, time, kept)
        rows.append(row)
        if name not in latest or age > latest[name][0]:
            latest[name] = age, row
    if rows:
        connection.exec_driver_sql(_INSERT_METRICS, rows)
        connection.exec_driver_sql(_INSERT_LATEST, [row for _, row in latest.values()])


def _same_dataset(experiment_id: int, given: DatasetInput) -> tuple[ColumnElement[bool], ...]:
    return (
        SqlDataset.experiment_id == experiment_id,
        SqlDataset.name == given.dataset.name,
        SqlDataset.digest == given.dataset.digest,
    )


def _insert_input(connection: Connection, run_id: str, experiment_id: int, given: DatasetInput) -> None:
    """The dataset where the experiment has it not yet, and that the run has read it."""
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
