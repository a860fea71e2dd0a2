"""Flows in this process that a shared Prefect server records, and copies of those records."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from paramshare.flows.api.server import _in_effect
from support.flows.prefect_server import PrefectServer
from support.waiting import wait_until

ENDED = "SELECT count(*) FROM task_run WHERE state_type IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
OF_FLOW_RUNS = (("task_run", "flow_run_id"), ("artifact", "flow_run_id"), ("flow_run", "id"))


@contextmanager
def connected(server: PrefectServer) -> Iterator[None]:
    """Connect flows in this block to `server`."""
    with _in_effect(server.url):
        yield


@contextmanager
def recorded(server: PrefectServer, home: Path, tasks: int) -> Iterator[None]:
    """Connect flows in this block to `server`, and copy its records of them, and of no others, to `home`.

    Args:
        tasks: how many task runs there will be. The server records their ends some time after them.
    """
    database = server.home / "prefect.db"
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        before = connection.execute("SELECT id FROM flow_run").fetchall()
        ended = connection.execute(ENDED).fetchone()[0]
        with connected(server):
            yield
        wait_until(lambda: connection.execute(ENDED).fetchone()[0] >= ended + tasks, "the tasks' ends are recorded")
        home.mkdir()
        with closing(sqlite3.connect(home / "prefect.db")) as copy:
            connection.backup(copy)
            for table, column in OF_FLOW_RUNS:
                copy.executemany(f"DELETE FROM {table} WHERE {column} = ?", before)
            copy.commit()


def history(home: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query of the database of Prefect in `home`."""
    with closing(sqlite3.connect(home / "prefect.db")) as connection:
        return connection.execute(query).fetchall()
