"""Changes to an embedded store by SQL, without MLflow."""

import sqlite3
from contextlib import closing

from paramshare.tracking.store import StoreAddress

__all__ = ["tamper"]


def tamper(address: StoreAddress, statement: str) -> None:
    """Execute an SQL statement in an embedded store, which must change a row at least."""
    assert address.database is not None
    with closing(sqlite3.connect(address.database)) as connection, connection:
        assert connection.execute(statement).rowcount > 0
