"""An embedded store's database: read and written by SQL, all of a run in one transaction.

Nothing here imports MLflow's tables or its client, which take a second: a sweep that finds nothing to do needs neither.
"""

import math
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mlflow.utils.uri import is_local_uri
from sqlalchemy import Engine, create_engine, event, text

from paramshare.tracking.read.summaries import Selection, Summary, read_summaries
from paramshare.tracking.store.preflight import SCHEMA

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

    from paramshare.tracking.write.record import Addition, Record

__all__ = ["Database", "KnownExperiment", "StoreWarning", "find_experiment", "let_wait", "open_database"]

_BUSY: Final = 60.0  # seconds to wait for another writer
_PAGES_A_CHECKPOINT: Final = 4000  # of 4 KiB, some 30 runs: a page that many of them change is then copied once
_RUNS_A_QUERY: Final = 500
_ROWS_COUNTED: Final = 100_000  # of each index: more than a run has, or SQLite takes all runs to be as short as that


class StoreWarning(UserWarning):
    """The store works, but not as fast as it could."""


class KnownExperiment(NamedTuple):
    """The fields of an experiment that its runs are read and written with, named as in MLflow's own class."""

    experiment_id: str
    name: str
    artifact_location: str


@dataclass(frozen=True, slots=True)
class Database:
    """The database of an embedded store, for the runs of one experiment.

    Args:
        experiment_id: MLflow's id.
        artifacts: the URI of the folder below which each run has one for its files.
        engine: SQLAlchemy's.
    """

    experiment_id: int
    artifacts: str
    engine: Engine = field(repr=False)

    def write(self, record: "Record") -> str:
        """Write a run as of `embedded.write`, and return its id."""
        from paramshare.tracking.write.embedded import write

        return write(self, record)

    def add(self, run_id: str, addition: "Addition") -> None:
        """Add to a run as of `embedded.add`."""
        from paramshare.tracking.write.embedded import add

        add(self, run_id, addition)

    def histories(self, run_ids: Sequence[str], metric: str) -> dict[str, list[float]]:
        """Return the values of a metric in the order of its steps, by run."""
        found = {}
        with self.engine.connect() as connection:
            for begin in range(0, len(run_ids), _RUNS_A_QUERY):
                asked = tuple(run_ids[begin : begin + _RUNS_A_QUERY])
                query = (
                    f"SELECT run_uuid, value, is_nan FROM metrics WHERE run_uuid IN ({', '.join('?' * len(asked))}) "  # noqa: S608
                    "AND key = ? ORDER BY run_uuid, step"
                )
                rows = connection.exec_driver_sql(query, (*asked, metric))
                for run_id, points in groupby(rows, key=lambda row: row[0]):
                    found[run_id] = [math.nan if is_nan else value for _, value, is_nan in points]
        return found

    def summaries(self, kind: tuple[str, str], selection: Selection) -> list[Summary]:
        """Return the selected parts of runs, as of `read_summaries`."""
        with self.engine.connect() as connection:
            return list(read_summaries(connection, self.experiment_id, kind, selection))

    def has_running(self) -> bool:
        """Return whether a run of the experiment is RUNNING."""
        query = f"SELECT run_uuid FROM runs WHERE {_OF_STATUS} LIMIT 1"  # noqa: S608 - of a constant
        return self._text(query, self.experiment_id, "RUNNING") is not None

    def newest_finished(self, tag: str, value: str) -> str | None:
        """Return the id of the newest FINISHED run of the experiment whose tag has this value."""
        runs = f"tags CROSS JOIN runs USING (run_uuid) WHERE tags.key = ? AND tags.value = ? AND {_OF_STATUS}"
        query = f"SELECT run_uuid FROM {runs} ORDER BY start_time DESC, run_uuid LIMIT 1"  # noqa: S608 - of constants
        return self._text(query, tag, value, self.experiment_id, "FINISHED")

    def artifact_uri(self, run_id: str) -> str | None:
        """Return where the files of a run lie; None if there is no such run."""
        return self._text("SELECT artifact_uri FROM runs WHERE run_uuid = ?", run_id)

    def tag(self, run_id: str, name: str) -> str | None:
        """Return the value of a run's tag; None if it has no such tag."""
        return self._text("SELECT value FROM tags WHERE run_uuid = ? AND key = ?", run_id, name)

    def _text(self, query: str, *parameters: object) -> str | None:
        with self.engine.connect() as connection:
            found = connection.exec_driver_sql(query, parameters).scalar()
        return None if found is None else str(found)

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        statement = (
            "INSERT INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?) "
            "ON CONFLICT (key, experiment_id) DO UPDATE SET value = excluded.value"
        )
        with self.engine.begin() as connection:
            for key, value in tags.items():
                connection.exec_driver_sql(statement, (key, value, self.experiment_id))

    def analyse(self) -> None:
        """Update SQLite's statistics of the tables: without them it chooses poor indexes when there are many runs."""
        with self.engine.connect() as connection:
            connection.execute(text(f"PRAGMA analysis_limit={_ROWS_COUNTED}"))
            connection.execute(text("ANALYZE"))


_OF_STATUS: Final = "experiment_id = ? AND status = ? AND lifecycle_stage = 'active'"


def find_experiment(database: Path, name: str) -> KnownExperiment | None:
    """Return an active experiment of a database that MLflow's client has prepared; None if there is none."""
    if not database.exists() or not database.stat().st_size:
        return None
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", _BUSY, uri=True)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal" or connection.execute("SELECT version_num FROM alembic_version").fetchone() != (SCHEMA,):
            return None
        columns = "experiment_id, name, artifact_location"
        query = f"SELECT {columns} FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"  # noqa: S608 - constants
        row = connection.execute(query, (name,)).fetchone()
    return row and KnownExperiment(str(row[0]), *row[1:])


def open_database(uri: str, experiment: "Experiment | KnownExperiment") -> Database | None:
    """Open the SQLite database at `uri` for the runs of `experiment`; return None, with a warning, if it is unknown.

    Raises:
        SQLAlchemyError: it is not one that MLflow has made.
    """
    engine = _engine(uri)
    with engine.connect() as connection:
        schema = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if schema != SCHEMA:
        reason = f"its tables have the schema {schema}, and this version of paramshare knows {SCHEMA}"
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
        # A transaction looks once whether its run or experiment is there; SQLite would look once a row.
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA synchronous=NORMAL")  # in WAL a power cut can take the last runs, and break nothing
        connection.execute(f"PRAGMA wal_autocheckpoint={_PAGES_A_CHECKPOINT}")

    return engine


def let_wait(client: "MlflowClient") -> None:
    """Make MLflow's client wait for another writer as long as this module does; it sets 20 seconds in each session."""
    engine = client._tracking_client.store.engine
    if not event.contains(engine, "before_cursor_execute", _longer):
        event.listen(engine, "before_cursor_execute", _longer, retval=True)


def _longer(*given: Any) -> tuple[str, Any]:
    """SQLAlchemy's hook: the statement and the parameters to go on with."""
    _, _, statement, parameters, *_ = given
    if statement.startswith("PRAGMA busy_timeout"):
        return f"PRAGMA busy_timeout = {_BUSY * 1000:.0f}", parameters
    return statement, parameters
