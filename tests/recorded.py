"""Flows that run in this process, against a Prefect server that others use, too, and what it has kept of them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from stack import PrefectServer, wait_until

from paramshare.flows.api.server import _in_effect

ENDED = "SELECT count(*) FROM task_run WHERE state_type IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
OF_FLOW_RUNS = (("task_run", "flow_run_id"), ("artifact", "flow_run_id"), ("flow_run", "id"))


@contextmanager
def connected(server: PrefectServer) -> Iterator[None]:
    """Flows in this block talk to `server`."""
    with _in_effect(server.url):
        yield


@contextmanager
def recorded(server: PrefectServer, home: Path, tasks: int) -> Iterator[None]:
    """Flows in this block talk to `server`; what it has kept of them is in `home` afterwards, and of no others.

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
