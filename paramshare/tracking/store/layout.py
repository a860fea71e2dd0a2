"""Constants of an embedded store: its schema, its folder of files, and how long to wait for its locks."""

from typing import Final

__all__ = ["ARTIFACTS", "READ_TIMEOUT", "SCHEMA", "WRITE_TIMEOUT"]

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
