"""The command line and flows as processes of their own, what they leave, and sizes that train in milliseconds."""

import os
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-c", "import sys; from paramshare.cli import main; sys.exit(main())"]
SIZES = {"batch_size": 4, "input_size": 8, "hidden_size": 6, "output_size": 3, "steps": 20}
SMALL = ["--devices", "cpu", *(f"--{name.replace('_', '-')}={size}" for name, size in SIZES.items())]


def clean_environment(home: Path) -> dict[str, str]:
    """This environment without anybody's settings, for a process whose `$PREFECT_HOME` is `home`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PARAMSHARE_", "MLFLOW_"))}
    return {**kept, "PREFECT_HOME": str(home)}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def history(home: Path, query: str) -> list[tuple[Any, ...]]:
    """What Prefect has kept in `home`."""
    with closing(sqlite3.connect(home / "prefect.db")) as connection:
        return connection.execute(query).fetchall()
