"""Processes of this machine: their command lines, environments, parents and files.

The one place in the tests that reads them, by psutil. A process that has ended has nothing to read.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

from paramshare.processes import children

Value = TypeVar("Value")


def pool_processes(parent: int) -> list[int]:
    """Return the processes of a sweep's pools: the children of the server that they are forked from."""
    return [worker for server in fork_servers(parent) for worker in sorted(children(server))]


def fork_servers(parent: int) -> list[int]:
    """Return the server that a sweep's processes are forked from, if it has started."""
    return [child for child in sorted(children(parent)) if "multiprocessing.forkserver" in command_line(child)]


def command_line(pid: int) -> str:
    """Return the words of a process's command line, joined by spaces."""
    return " ".join(_read(lambda: psutil.Process(pid).cmdline(), []))


def command_lines() -> str:
    """Return the command line of each process, one a line."""
    return "\n".join(command_line(pid) for pid in psutil.pids())


def environment(pid: int) -> dict[str, str]:
    """Return the initial environment of a process."""
    return _read(lambda: psutil.Process(pid).environ(), {})


def environments() -> Iterator[dict[str, str]]:
    """Yield the initial environment of each process that has one which this user may read."""
    yield from filter(None, (environment(pid) for pid in psutil.pids()))


def parents(pids: list[int]) -> set[int]:
    """Return the parents of processes."""
    return {psutil.Process(pid).ppid() for pid in pids}


def is_running(pid: int) -> bool:
    """Return whether a process has not ended; a zombie has."""
    return _read(lambda: psutil.Process(pid).status() != psutil.STATUS_ZOMBIE, False)


def opens(pid: int, file: Path) -> bool:
    """Return whether a process has a file open."""
    return any(Path(opened.path) == file for opened in _read(lambda: psutil.Process(pid).open_files(), []))


def maps(pid: int, name: str) -> bool:
    """Return whether a process has loaded a compiled module with `name` in its path."""
    return any(name in region.path for region in _read(lambda: psutil.Process(pid).memory_maps(), []))


def _read(read: Callable[[], Value], otherwise: Value) -> Value:
    with suppress(psutil.Error, OSError):
        return read()
    return otherwise
