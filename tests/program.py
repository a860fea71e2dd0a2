"""The command line and flows as processes of their own, what they leave, and sizes that train in milliseconds."""

import os
import random
import re
import socket
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from paramshare.cli import main

PROGRAM = [sys.executable, "-c", "import sys; from paramshare.cli import main; sys.exit(main())"]
SIZES = {"batch_size": 4, "input_size": 8, "hidden_size": 6, "output_size": 3, "steps": 20}
SMALL = ["--devices", "cpu", *(f"--{name.replace('_', '-')}={size}" for name, size in SIZES.items())]


def clean_environment(home: Path) -> dict[str, str]:
    """This environment without anybody's settings, for a process whose `$PREFECT_HOME` is `home`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PARAMSHARE_", "MLFLOW_"))}
    return {**kept, "PREFECT_HOME": str(home)}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said of a command that must be refused: one line, exit 2, nothing on stdout, nothing written."""
    before = sorted(Path.cwd().rglob("*"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("paramshare: ")
    assert err.count("\n") == 1
    assert sorted(Path.cwd().rglob("*")) == before
    return err


def without_progress(stderr: str) -> str:
    """Return what a process printed to stderr, less its lines of progress: there are some only if it takes 30 s."""
    return re.sub(r"^paramshare: .*, (\d+ h \d+ min|\d+ min \d+ s|\d+ s)\n", "", stderr, flags=re.MULTILINE)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, below those that the system gives to outgoing connections.

    So it is still free after a server's end: a client that asks for the gone server can't get it, not even from itself.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def pool_processes(parent: int) -> list[int]:
    """Return the processes of a sweep's pools: the children of the server that they are forked from."""
    return [worker for server in fork_servers(parent) for worker in _children(server)]


def fork_servers(parent: int) -> list[int]:
    """Return the server that a sweep's processes are forked from, if it has started."""
    return [child for child in _children(parent) if b"multiprocessing.forkserver" in _command_line(child)]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):  # any thread may have started them
        with suppress(OSError):
            found += map(int, file.read_text().split())
    return found


def _command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def history(home: Path, query: str) -> list[tuple[Any, ...]]:
    """What Prefect has kept in `home`."""
    with closing(sqlite3.connect(home / "prefect.db")) as connection:
        return connection.execute(query).fetchall()
