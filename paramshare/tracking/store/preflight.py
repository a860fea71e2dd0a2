"""Whether an embedded store's file can be opened as it is: looked at before MLflow does, without changing a byte.

MLflow makes its tables in any SQLite file that lacks some of them. A database of an older MLflow, or of another
program, would so be changed for good before anybody was asked.
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

import mlflow

from paramshare.errors import StoreError
from paramshare.tracking.store.relocation import ARTIFACTS, former_folder

__all__ = ["SCHEMA", "check_file", "check_log"]

SCHEMA: Final = "dc11669786a5"
"""MLflow's name for the schema of its tables, since 3.17."""

_KNOWN: Final = ("3.17.2", SCHEMA)  # a version of MLflow and its newest schema: to ask MLflow takes a third of a second

_BUSY: Final = 20.0  # seconds to wait for a writer that shuts out readers
_MIGRATIONS: Final = Path(mlflow.__file__).parent / "store" / "db_migrations"


def check_file(database: Path, experiment: str | None) -> None:
    """Look whether the SQLite file of an embedded store can be opened, or made where there is none.

    Args:
        database: an absolute path.
        experiment: the name of the one that runs are to go to; None to leave open whether the store was moved.

    Raises:
        StoreError: it cannot, and why; or its runs' files are not where the database says.
    """
    try:
        _check_place(database)
        check_log(database)
        if database.exists():
            _check_database(database, experiment)
    except OSError as error:
        raise StoreError(f"the store {database} cannot be opened: {error.strerror or error}") from error


def check_log(database: Path) -> None:
    """Refuse to begin anew beside what a killed process wrote last: SQLite would write it into the new database.

    Raises:
        StoreError: there is no database, or an empty one, beside a log that is not.
    """
    log = _log_of(database)
    if _has_bytes(log) and not _has_bytes(database):
        raise StoreError(
            f"the store {database} is {'empty' if database.exists() else 'not there'}, but what was written to it last "
            f"lies in {log.name} beside it, and would get into a new one; put {database.name} back, or move {log.name} "
            f"and {database.name}-shm to where it went, to begin anew"
        )


def _check_place(database: Path) -> None:
    if database.is_dir():
        raise StoreError(f"the store {database} is a folder; expected an SQLite file, such as mlruns/mlflow.db")
    folder = next(parent for parent in database.parents if parent.exists())
    if not folder.is_dir():
        raise StoreError(f"the store {database} cannot be made: {folder} is a file; expected a folder")
    for place in (folder, database):
        if place.exists() and not os.access(place, os.W_OK):
            raise StoreError(
                f"the store {database} cannot be written: {place} is read-only for this user or lies on a read-only "
                "file system; make it writable, or name another store with --tracking-uri"
            )


def _check_database(database: Path, experiment: str | None) -> None:
    """Let SQLite itself look: closing the file by any other hand drops the locks of this process's connections."""
    try:
        with _reading(database) as connection:
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
        parts = f"; {log.name} and {database.name}-shm beside it go with it" if log.exists() else ""
        raise StoreError(
            f"the store {database} cannot be opened as an SQLite database: {error}; "
            f"put a copy of it back, or move it away or name another file to begin anew{parts}"
        ) from error
    if not tables and _has_files(database.parent / ARTIFACTS):
        raise StoreError(
            f"the store {database} is empty, but the files of its runs lie in {database.parent / 'artifacts'}; "
            "put a copy of the database back, or move both away to begin anew"
        )


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that leaves the file as it is, and what a killed process left beside it for SQLite to recover."""
    mode = "ro" if _log_of(database).exists() else "rw"  # ro leaves new such files behind
    with closing(sqlite3.connect(f"{database.as_uri()}?mode={mode}", _BUSY, uri=True)) as connection:
        yield connection


def _check_schema(connection: sqlite3.Connection, database: Path, tables: set[str]) -> None:
    found = None
    if {"alembic_version", "experiments", "runs"} <= tables:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None:
        raise StoreError(
            f"the store {database} is a database, but none that MLflow has made; name another file with --tracking-uri"
        )
    (schema,) = found
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
        what = f"was copied from {former}" if former.exists() else f"was moved from {former}, which is not there now"
        raise StoreError(
            f"the store {database} {what}, and its runs' files are still looked for there; run "
            f"`paramshare relocate --tracking-uri {quote(f'sqlite:///{database}')}`, which copies the database first"
        )


@cache
def _schemas() -> tuple[str, frozenset[str]]:
    """The newest schema that the installed MLflow knows, and all."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(_MIGRATIONS))
    return str(scripts.get_current_head()), frozenset(script.revision for script in scripts.walk_revisions())


def _log_of(database: Path) -> Path:
    """Where SQLite keeps what is not yet in the database; a kill leaves it there."""
    return database.with_name(f"{database.name}-wal")


def _has_bytes(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
