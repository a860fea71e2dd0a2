"""A store whose folder was moved or copied: MLflow keeps absolute addresses of every run's files in its database.

Left so, new runs would write to the former place and the pictures of old ones be missing there.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from paramshare.tracking.display.views import view_key

__all__ = ["ARTIFACTS", "Relocation", "former_folder", "relocate"]

ARTIFACTS: Final = "artifacts"
"""The folder beside an embedded store's database in which its runs' files lie."""

_BUSY: Final = 20.0  # seconds to wait for another writer
_ADDRESSES: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
"""Where MLflow's database has addresses of files."""

# Experiments that this program made carry its saved views. Of those, the one in use and all that have runs.
_OURS: Final = """
SELECT artifact_location FROM experiments e
WHERE EXISTS (SELECT 1 FROM experiment_tags t WHERE t.experiment_id = e.experiment_id AND t.key = ?)
AND (e.name = ? OR EXISTS (SELECT 1 FROM runs r WHERE r.experiment_id = e.experiment_id))
ORDER BY e.experiment_id
"""


@dataclass(frozen=True, slots=True)
class Relocation:
    """What was done to a database that says of its runs' files that they lie elsewhere.

    Args:
        former: the folder of the store that it named.
        copy: the database as it was before.
        changed: how many addresses were changed.
    """

    former: Path
    copy: Path
    changed: int


def former_folder(connection: sqlite3.Connection, database: Path, experiment: str) -> Path | None:
    """The folder in which the store was made, where that is another than the one it lies in now.

    None too where the database alone was moved and its runs' files lie where they always did.

    Args:
        connection: to the database.
        experiment: the name of the one in use.
    """
    here = database.parent / ARTIFACTS
    for (location,) in connection.execute(_OURS, (f"mlflow.sharedViewState.{view_key('seeds')}", experiment)):
        there = _path(location)
        if there is None or there.name != ARTIFACTS or there.resolve() == here.resolve():
            continue
        if here.exists() or not there.exists():
            return there.parent
    return None


def relocate(database: Path, experiment: str) -> Relocation | None:
    """Let a moved or copied store's database name the places where its runs' files lie now.

    The database is copied first, and changed in one transaction. None where there is nothing to change.

    Args:
        database, experiment: as of `former_folder`. That it is MLflow's, of the schema that is used, is known.

    Raises:
        sqlite3.Error: it cannot be written.
    """
    with closing(sqlite3.connect(database, _BUSY, isolation_level=None)) as connection:
        former = former_folder(connection, database, experiment)
        if former is None:
            return None
        copy = _copied(connection, database)
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            changed = sum(
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - names of our own
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
                ).rowcount
                for before, now in dict(_moves(connection, former, database.parent)).items()
                for table, column in _ADDRESSES
            )
    return Relocation(former, copy, changed)


def _moves(connection: sqlite3.Connection, former: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """What each experiment's address becomes: those of all whose files came along, whoever made them."""
    for (location,) in connection.execute("SELECT artifact_location FROM experiments").fetchall():
        there = _path(location)
        if there is None or not there.is_relative_to(former):
            continue
        here = folder / there.relative_to(former)
        if there == former / ARTIFACTS or (here.exists() and not there.exists()):
            yield location, here.as_uri() if location.startswith("file:") else str(here)


def _copied(connection: sqlite3.Connection, database: Path) -> Path:
    """A copy of the database beside it, under a name that nothing has yet."""
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
    """The folder that an experiment's address names on this machine; None where it names something else."""
    if not location or not is_local_uri(location):
        return None
    return Path(local_file_uri_to_path(location))
