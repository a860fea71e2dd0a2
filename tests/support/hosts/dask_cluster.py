"""A Dask cluster on this machine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from support.waiting import wait_until


@contextmanager
def dask_cluster(
    folder: Path, environment: Mapping[str, str], workers: int = 2, *options: str
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Start a scheduler and workers on loopback; yield the scheduler's address and the workers' processes.

    Args:
        options: of each worker, beside one process and one thread.
    """
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    with ExitStack() as stack:
        quiet = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        stack.enter_context(
            _process([*dask, "scheduler", *quiet, "--port", "0", "--scheduler-file", str(file)], folder, environment)
        )
        wait_until(file.exists, "the scheduler's start")
        address = _scheduler_address(file)
        started = []
        for number in range(workers):
            own = folder / f"worker-{number}"
            own.mkdir()
            command = [*dask, "worker", address, *quiet, "--nworkers", "1", *(options or ("--nthreads", "1"))]
            started.append(stack.enter_context(_process(command, own, environment)))
        wait_until(lambda: len(_registered(folder)) >= workers, "the workers' start")
        yield address, started


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _process(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "said.log").open("wb") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process)


def _scheduler_address(file: Path) -> str:
    address: str = json.loads(file.read_text())["address"]
    return address


def _registered(folder: Path) -> list[str]:
    return [line for line in (folder / "said.log").read_text().splitlines() if "Register worker addr" in line]
