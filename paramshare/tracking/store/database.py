"""The database of an embedded store, read and written by SQL.

Nothing here imports MLflow, which takes more than a second: `paramshare ui` needs nothing of it.
"""

import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, create_engine, event, text

from paramshare.signals import signals_deferred
from paramshare.tracking.store.layout import SCHEMA, WRITE_TIMEOUT, local_path
from paramshare.tracking.tags import MODEL_NAME

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

__all__ = ["Database", "KnownExperiment", "StoreWarning", "extend_timeout", "find_experiment", "open_database"]

_CACHE_KIB: Final = 16 * 1024  # SQLite's 2 MiB are less than the index pages that some hundred runs change
_PAGES_A_CHECKPOINT: Final = 4000  # of 4 KiB, about 30 runs: a page that many runs change is then copied once
_ROWS_COUNTED: Final = 100_000  # of each index: more than a run has, or SQLite assumes that every run is that short
_MODEL: Final = """\
SELECT models.model_id, models.artifact_location FROM inputs
JOIN logged_models AS models ON models.model_id = inputs.destination_id
WHERE inputs.source_type = 'RUN_OUTPUT' AND inputs.source_id = ? AND inputs.destination_type = 'MODEL_OUTPUT'
AND models.name = ? AND models.lifecycle_stage = 'active' AND models.status = 2 LIMIT 1"""  # 2 is READY
_NEWEST: Final = """\
SELECT run_uuid FROM tags CROSS JOIN runs USING (run_uuid)
WHERE tags.key = ? AND tags.value = ? AND experiment_id = ? AND lifecycle_stage = 'active' AND {}
ORDER BY start_time DESC, run_uuid LIMIT 1"""


class StoreWarning(UserWarning):
    """The store works, but more slowly than it could."""


class KnownExperiment(NamedTuple):
    """The fields of an experiment that reading and writing its runs needs, named as in MLflow's own class."""

    experiment_id: str
    name: str
    artifact_location: str


@dataclass(frozen=True, slots=True)
class Database:
    """The database of an embedded store, for the runs of one experiment.

    Args:
        experiment_id: MLflow's id.
        artifacts: the URI of the folder in which each run has a folder for its files.
        engine: SQLAlchemy's.
    """

    experiment_id: int
    artifacts: str
    engine: Engine = field(repr=False)

    def has_running(self) -> bool:
        """Return true if a run of the experiment is RUNNING."""
        condition = "experiment_id = ? AND status = 'RUNNING' AND lifecycle_stage = 'active'"
        query = f"SELECT run_uuid FROM runs WHERE {condition} LIMIT 1"  # noqa: S608 - of a constant
        return self._text(query, self.experiment_id) is not None

    def newest(self, tag: str, value: str) -> str | None:
        """Return the id of the newest run of the experiment whose tag has this value."""
        return self._text(_NEWEST.format("TRUE"), tag, value, self.experiment_id)

    def newest_finished(self, tag: str, value: str) -> str | None:
        """Return the id of the newest FINISHED run of the experiment whose tag has this value."""
        return self._text(_NEWEST.format("status = 'FINISHED'"), tag, value, self.experiment_id)

    def artifact_uri(self, run_id: str) -> str | None:
        """Return the URI of a run's files; None if the run does not exist."""
        return self._text("SELECT artifact_uri FROM runs WHERE run_uuid = ?", run_id)

    def tag(self, run_id: str, name: str) -> str | None:
        """Return the value of a run's tag; None if the run does not have the tag."""
        return self._text("SELECT value FROM tags WHERE run_uuid = ? AND key = ?", run_id, name)

    def param(self, run_id: str, name: str) -> str | None:
        """Return the value of a run's parameter; None if the run does not have the parameter."""
        return self._text("SELECT value FROM params WHERE run_uuid = ? AND key = ?", run_id, name)

    def model(self, run_id: str) -> tuple[str, str] | None:
        """Return the id and the URI of the files of a run's model; None if the run has none, or it was deleted."""
        with self.engine.connect() as connection:
            row = connection.exec_driver_sql(_MODEL, (run_id, MODEL_NAME)).first()
        return None if row is None else (str(row[0]), str(row[1]))

    def _text(self, query: str, *parameters: object) -> str | None:
        with self.engine.connect() as connection:
            value = connection.exec_driver_sql(query, parameters).scalar()
        return None if value is None else str(value)

    def experiment_tags(self) -> dict[str, str]:
        """Return the tags of the experiment."""
        query = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?"
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(query, (self.experiment_id,)).all()
        return {row.key: row.value for row in rows}

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        statement = (
            "INSERT INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?) "
            "ON CONFLICT (key, experiment_id) DO UPDATE SET value = excluded.value"
        )
        with self.transaction() as connection:
            for key, value in tags.items():
                connection.exec_driver_sql(statement, (key, value, self.experiment_id))

    def update_statistics(self) -> None:
        """Update SQLite's statistics of the tables. Without them it chooses poor indexes if there are many runs."""
        with signals_deferred(), self.engine.connect() as connection:
            connection.execute(text(f"PRAGMA analysis_limit={_ROWS_COUNTED}"))
            connection.execute(text("ANALYZE"))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write in one transaction. SIGINT and SIGTERM are deferred until it has ended.

        The exception of a signal at an unlucky moment would leave the transaction open, and whoever closes the
        interrupted runs would wait for its lock.
        """
        with signals_deferred(), self.engine.begin() as connection:
            yield connection


def find_experiment(database: Path, name: str) -> KnownExperiment | None:
    """Return an active experiment of a database that MLflow's client has prepared; None if there is none."""
    if not database.exists() or not database.stat().st_size:
        return None
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", WRITE_TIMEOUT, uri=True)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal" or connection.execute("SELECT version_num FROM alembic_version").fetchone() != (SCHEMA,):
            return None
        columns = "experiment_id, name, artifact_location"
        query = f"SELECT {columns} FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"  # noqa: S608 - constants
        row = connection.execute(query, (name,)).fetchone()
    return row and KnownExperiment(str(row[0]), *row[1:])


def open_database(uri: str, experiment: "Experiment | KnownExperiment") -> Database | None:
    """Open the SQLite database at `uri` for the runs of `experiment`.

    Returns:
        The database; None, with a warning, if its schema is unknown or its files are not on this machine.

    Raises:
        SQLAlchemyError: MLflow did not create the database.
    """
    engine = _create_engine(uri)
    with engine.connect() as connection:
        schema = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if schema != SCHEMA:
        reason = f"its tables have the schema {schema}, and this version of paramshare knows {SCHEMA}"
    elif local_path(experiment.artifact_location) is None:
        reason = f"the experiment {experiment.name!r} keeps its files at {experiment.artifact_location}"
    else:
        return Database(int(experiment.experiment_id), experiment.artifact_location, engine)
    engine.dispose()
    warnings.warn(f"runs are written to {uri} by MLflow's slower client: {reason}", StoreWarning, stacklevel=2)
    return None


def _create_engine(uri: str) -> Engine:
    # IMMEDIATE: a transaction waits for the lock when it begins. One that reads first and then writes would fail.
    arguments = {"timeout": WRITE_TIMEOUT, "isolation_level": "IMMEDIATE"}
    engine = create_engine(uri, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # A transaction checks once that its run or experiment exists; SQLite would check it for every row.
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA synchronous=NORMAL")  # in WAL mode a power cut can lose the last runs, not corrupt
        connection.execute(f"PRAGMA wal_autocheckpoint={_PAGES_A_CHECKPOINT}")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")  # negative: KiB, not pages

    return engine


def extend_timeout(client: "MlflowClient") -> None:
    """Make MLflow's client wait for another writer as long as this module does: it sets 20 seconds in each session."""
    engine = client._tracking_client.store.engine
    if not event.contains(engine, "before_cursor_execute", _replace_timeout):
        event.listen(engine, "before_cursor_execute", _replace_timeout, retval=True)


def _replace_timeout(*arguments: Any) -> tuple[str, Any]:
    """Return the statement and the parameters that SQLAlchemy is to execute, as its hook does."""
    _, _, statement, parameters, *_ = arguments
    if statement.startswith("PRAGMA busy_timeout"):
        return f"PRAGMA busy_timeout = {WRITE_TIMEOUT * 1000:.0f}", parameters
    return statement, parameters
