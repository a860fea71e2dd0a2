"""Check an embedded store's file before MLflow opens it. Change nothing.

MLflow creates its missing tables in any SQLite file. So it would change a database of an older MLflow, or of another
program, without asking.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Final

from paramshare.errors import StoreError
from paramshare.tracking.store.layout import ARTIFACTS, READ_TIMEOUT, SCHEMA
from paramshare.tracking.store.relocation import former_folder

__all__ = ["check_file", "check_log"]

_KNOWN: Final = ("3.17.2", SCHEMA)  # a version of MLflow and its newest schema: asking MLflow takes a third of a second


def check_file(database: Path, experiment: str | None) -> None:
    """Check that the SQLite file of an embedded store can be opened, or created if it does not exist.

    Args:
        database: an absolute path.
        experiment: the name of the experiment in use; None to skip the check whether the store was moved.

    Raises:
        StoreError: the file cannot be opened or created, or its database names another folder for its runs' files.
    """
    try:
        _check_place(database)
        check_log(database)
        if database.exists():
            _check_database(database, experiment)
    except OSError as error:
        raise StoreError(f"the store {database} cannot be opened: {error.strerror or error}") from error


def check_log(database: Path) -> None:
    """Refuse to create a database beside the write-ahead log of another: SQLite would replay it into the new one.

    Raises:
        StoreError: the log has content, and the database is missing or empty.
    """
    log = _log_of(database)
    if _has_bytes(log) and not _has_bytes(database):
        raise StoreError(
            f"the store {database} {'is empty' if database.exists() else 'does not exist'}, but its last changes are "
            f"in {log.name} beside it; restore {database.name}, or, to start with an empty store, move {log.name} and "
            f"{database.name}-shm to where {database.name} is now"
        )


def _check_place(database: Path) -> None:
    if database.is_dir():
        raise StoreError(f"the store {database} is a folder; expected an SQLite file, such as mlruns/mlflow.db")
    folder = next(parent for parent in database.parents if parent.exists())
    if not folder.is_dir():
        raise StoreError(f"the store {database} cannot be created: {folder} is a file; expected a folder")
    for place in (folder, database):
        if place.exists() and not os.access(place, os.W_OK):
            raise StoreError(
                f"the store {database} cannot be written: {place} is read-only for this user or on a read-only "
                "file system; make it writable, or name another store with --tracking-uri"
            )


def _check_database(database: Path, experiment: str | None) -> None:
    """Check the content by SQLite: closing the file by other means drops the locks of this process's connections."""
    try:
        with _read_only(database) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables:
                _check_schema(connection, database, tables)
                if experiment is not None:
                    _check_not_moved(connection, database, experiment)
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"the store {database} cannot be read: {error}; wait until no other process uses it"
        ) from error
    except sqlite3.DatabaseError as error:
        log = _log_of(database)
        parts = f" (with {log.name} and {database.name}-shm beside it)" if log.exists() else ""
        raise StoreError(
            f"the store {database} cannot be opened as an SQLite database: {error}; "
            f"restore a copy, or, to start with an empty store, move it away{parts} or name another file"
        ) from error
    if not tables and _has_files(database.parent / ARTIFACTS):
        raise StoreError(
            f"the store {database} is empty, but the files of its runs are in {database.parent / ARTIFACTS}; "
            "restore a copy of the database, or, to start with an empty store, move both away"
        )


@contextmanager
def _read_only(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a connection that changes neither the file nor the log that a killed process left beside it."""
    mode = "ro" if _log_of(database).exists() else "rw"  # without a log, ro would leave new files behind
    with closing(sqlite3.connect(f"{database.as_uri()}?mode={mode}", READ_TIMEOUT, uri=True)) as connection:
        yield connection


def _check_schema(connection: sqlite3.Connection, database: Path, tables: set[str]) -> None:
    row = None
    if {"alembic_version", "experiments", "runs"} <= tables:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise StoreError(
            f"the store {database} is a database that MLflow did not create; name another file with --tracking-uri"
        )
    (schema,) = row
    if (version("mlflow"), schema) == _KNOWN:
        return
    newest, known = _schemas()
    if schema == newest:
        return
    if schema in known:
        raise StoreError(
            f"the store {database} is of an older MLflow (its schema is {schema}, MLflow {version('mlflow')} needs "
            f"{newest}); copy the file, then run `mlflow db upgrade {quote(f'sqlite:///{database}')}`"
        )
    raise StoreError(
        f"the store {database} is of a newer MLflow (MLflow {version('mlflow')} does not know its schema {schema}); "
        "use the paramshare that wrote it, or name another file with --tracking-uri"
    )


def _check_not_moved(connection: sqlite3.Connection, database: Path, experiment: str) -> None:
    former = former_folder(connection, database, experiment)
    if former is not None:
        what = f"was copied from {former}" if former.exists() else f"was moved from {former}, which no longer exists"
        raise StoreError(
            f"the store {database} {what}, and still refers to its runs' files there; run "
            f"`paramshare relocate --tracking-uri {quote(f'sqlite:///{database}')}`, which copies the database first"
        )


@cache
def _schemas() -> tuple[str, frozenset[str]]:
    """Return the newest schema that the installed MLflow knows, and all schemas."""
    import mlflow
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return str(scripts.get_current_head()), frozenset(script.revision for script in scripts.walk_revisions())


def _log_of(database: Path) -> Path:
    """Return the path of SQLite's write-ahead log; a killed process leaves it behind."""
    return database.with_name(f"{database.name}-wal")


def _has_bytes(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
