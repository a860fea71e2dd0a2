"""Processes of this machine as a worker sees them: whose children they are, which flows nobody waits for any more."""

import os
import signal
import subprocess
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["children", "end", "kill", "orphans", "terminate"]

_PROC: Final = Path("/proc")
_GONE: Final = ("Z", "X")  # states of a process that has ended and was not waited for


def children(pid: int) -> set[int]:
    """The children of a process that have not ended."""
    return {child for child, parent in _parents().items() if parent == pid}


def orphans(workers: Collection[str]) -> set[int]:
    """Processes of flow runs that Prefect workers of these names have started, without their own children.

    They are seen on Linux alone.
    """
    wanted = {f"PREFECT__WORKER_NAME={name}".encode() for name in workers}
    found = set()
    for file in _PROC.glob("[0-9]*/environ"):
        with suppress(OSError):
            environment = file.read_bytes().split(b"\0")
            if wanted.intersection(environment) and any(
                one.startswith(b"PREFECT__FLOW_RUN_ID=") for one in environment
            ):
                found.add(int(file.parent.name))
    parents = _parents()
    return {pid for pid in found & parents.keys() if parents[pid] not in found}


def end(pids: Collection[int], grace: float) -> None:
    """Tell processes to end, wait until they have, and kill those that have not after `grace` seconds."""
    terminate(pids)
    deadline = time.monotonic() + grace
    while left := _parents().keys() & set(pids):
        if time.monotonic() > deadline:
            kill(left)
        time.sleep(0.1)


def terminate(pids: Collection[int]) -> None:
    """Tell processes to end."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill(pids: Collection[int]) -> None:
    """Kill processes at once; the processes of a flow, which leads a group of its own, with it."""
    for pid in pids:
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)


def _parents() -> dict[int, int]:
    """The parent of every process that has not ended."""
    if not (_PROC / "self/stat").exists():  # no Linux
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,state="], capture_output=True, text=True, check=True)
        lines = (line.split() for line in listed.stdout.splitlines())
        return {int(pid): int(parent) for pid, parent, state in lines if not state.startswith(_GONE)}
    found = {}
    for file in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError):
            after_its_name = file.read_text().rpartition(")")[2].split()
            if after_its_name[0] not in _GONE:
                found[int(file.parent.name)] = int(after_its_name[1])
    return found
