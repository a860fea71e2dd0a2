"""Counts of the runs in the database of an embedded store, by SQL: cheap enough to ask for many times a second."""

import sqlite3
from contextlib import closing
from pathlib import Path


def finished_runs(database: Path) -> int:
    """Count the FINISHED runs of all experiments."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        return int(connection.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()[0])
