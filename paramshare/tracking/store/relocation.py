"""Correct the addresses of files in a store that was moved or copied.

MLflow's database contains the absolute addresses of the files of all runs. Without a correction new runs would write
to the former folder, and pictures of old runs would be missing.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from paramshare.tracking.display.views import view_key
from paramshare.tracking.store.layout import ARTIFACTS, WRITE_TIMEOUT, local_path
from paramshare.tracking.tags import SAVED_VIEW

__all__ = ["Relocation", "former_folder", "relocate"]

_ADDRESSES: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
"""The columns of MLflow's database that contain addresses of files."""

# paramshare's experiments have its saved views as tags. Select the one in use and all that have runs.
_OURS: Final = """
SELECT artifact_location FROM experiments e
WHERE EXISTS (SELECT 1 FROM experiment_tags t WHERE t.experiment_id = e.experiment_id AND t.key = ?)
AND (e.name = ? OR EXISTS (SELECT 1 FROM runs r WHERE r.experiment_id = e.experiment_id))
ORDER BY e.experiment_id
"""


@dataclass(frozen=True, slots=True)
class Relocation:
    """The changes to the database of a store that was moved or copied.

    Args:
        former: the folder in which the store was before.
        copy: a copy of the database before the changes.
        changed: the number of addresses that were changed.
    """

    former: Path
    copy: Path
    changed: int


def former_folder(connection: sqlite3.Connection, database: Path, experiment: str) -> Path | None:
    """Return the folder in which the store was created, if the store was moved or copied from there.

    Args:
        connection: to the database.
        database: its path.
        experiment: the name of the experiment in use.

    Returns:
        The folder; None if it is the folder of the database, or if only the database was moved and not the files.
    """
    current = database.parent / ARTIFACTS
    for (location,) in connection.execute(_OURS, (f"{SAVED_VIEW}{view_key('seeds')}", experiment)):
        recorded = _path(location)
        if recorded is None or recorded.name != ARTIFACTS or recorded.resolve() == current.resolve():
            continue
        if current.exists() or not recorded.exists():
            return recorded.parent
    return None


def relocate(database: Path, experiment: str) -> Relocation | None:
    """Replace the former addresses of files in the database of a moved or copied store.

    The database is copied first. All changes are one transaction.

    Args:
        database, experiment: see `former_folder`. `check_file` has accepted the database.

    Returns:
        The changes; None if there is nothing to change.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    with closing(sqlite3.connect(database, WRITE_TIMEOUT, isolation_level=None)) as connection:
        former = former_folder(connection, database, experiment)
        if former is None:
            return None
        copy = _copy(connection, database)
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            changed = sum(
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - of constants
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (after, len(before) + 1, before, len(before) + 1, f"{before}/"),
                ).rowcount
                for before, after in dict(_moves(connection, former, database.parent)).items()
                for table, column in _ADDRESSES
            )
    return Relocation(former, copy, changed)


def _moves(connection: sqlite3.Connection, former: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the former and the new address of each experiment whose files were moved, whichever program created it."""
    for (location,) in connection.execute("SELECT artifact_location FROM experiments").fetchall():
        recorded = _path(location)
        if recorded is None or not recorded.is_relative_to(former):
            continue
        current = folder / recorded.relative_to(former)
        if recorded == former / ARTIFACTS or (current.exists() and not recorded.exists()):
            yield location, current.as_uri() if location.startswith("file:") else str(current)


def _copy(connection: sqlite3.Connection, database: Path) -> Path:
    """Copy the database to a new file beside it, and return the file."""
    names = (database.with_name(f"{database.name}.before-relocate{suffix}") for suffix in _suffixes())
    copy = next(name for name in names if not name.exists())
    with closing(sqlite3.connect(copy)) as target:
        connection.backup(target)
    return copy


def _suffixes() -> Iterator[str]:
    yield ""
    number = 2
    while True:
        yield f"-{number}"
        number += 1


def _path(location: str | None) -> Path | None:
    """Return the folder that an experiment's address names; None if it is not on this machine."""
    return local_path(location) if location else None
