"""Files that are made once for all processes of `pytest -n`."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from filelock import FileLock


@contextmanager
def made_once(factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, bool]]:
    """Yield a folder that the processes of this run of pytest share, and whether this process must fill it.

    The other processes wait for the end of the block. If the block raises, the next process must fill the folder.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    filled = folder.with_suffix(".filled")
    with FileLock(folder.with_suffix(".lock")):
        folder.mkdir(exist_ok=True)
        yield folder, not filled.exists()
        filled.touch()


def copy_database(database: Path, to: Path) -> None:
    """Copy an SQLite database, even while a process writes to it."""
    with closing(sqlite3.connect(database, timeout=60)) as source, closing(sqlite3.connect(to)) as into:
        source.backup(into)
