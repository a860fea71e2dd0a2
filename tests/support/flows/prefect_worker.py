"""Prefect workers as processes, and the processes of their flow runs."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paramshare.processes import children, orphans
from support.ports import free_port
from support.waiting import PATIENCE, wait_until


class Worker:
    """A worker of a folder, as a program of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.log = folder / "worker.log"
        with self.log.open("ab") as log:
            given = (*(arguments or ("--pool", "cpu")), f"--health-port={self.port}")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paramshare.flows.worker", *given],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def health(self) -> int:
        """Return the status of its health page; 0 if nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def flows(self) -> list[int]:
        """Return the flow processes that workers of this folder have started, for any parent that they have now."""
        return sorted(orphans([file.read_text() for file in (self.folder / "mlruns" / "workers").glob("*")]))

    def kill(self) -> None:
        """Kill it and all processes that it has started."""
        flows = self.flows()
        for pid in [self.process.pid, *children(self.process.pid), *flows]:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        wait_until(lambda: not self.flows(), "no flow of a killed worker is there")

    def stop(self) -> None:
        """End it in order, or kill it."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(120)
        self.kill()


@contextmanager
def running_worker(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[Worker]:
    started = Worker(folder, environment, *arguments)
    try:
        yield started
    finally:
        started.stop()
