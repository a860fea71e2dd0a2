"""Processes that the tests have started."""

from contextlib import suppress
from pathlib import Path


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
