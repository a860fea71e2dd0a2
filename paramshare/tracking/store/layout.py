"""The layout of an embedded store: its schema, the addresses of its files, and how long to wait for its locks."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["ARTIFACTS", "READ_TIMEOUT", "SCHEMA", "WRITE_TIMEOUT", "local_path"]

SCHEMA: Final = "dc11669786a5"
"""MLflow's name for the schema of its tables, since 3.17."""

ARTIFACTS: Final = "artifacts"
"""The folder beside the database in which the files of its runs lie."""

READ_TIMEOUT: Final = 20.0
"""Seconds to wait for a lock before reading.

In WAL mode writers do not block readers. So a longer wait means that a process holds the whole database.
"""

WRITE_TIMEOUT: Final = 60.0
"""Seconds to wait for a lock before writing: writers queue, and each can hold the lock for seconds on a slow disk."""

_THIS_MACHINE: Final = (None, "", ".", "localhost", "127.0.0.1")


def local_path(location: str) -> Path | None:
    """Return the path that an address of files in MLflow's database names; None if it is not on this machine.

    MLflow reads addresses in the same way, but importing MLflow for it takes a second.
    """
    parts = urlsplit(location)
    if parts.scheme not in ("", "file") or parts.hostname not in _THIS_MACHINE:
        return None
    return Path(url2pathname(parts.path if parts.scheme else location))
