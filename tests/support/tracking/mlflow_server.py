"""MLflow's server over an embedded store, which can be killed and started again on its port."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paramshare.tracking.pages import served_pages
from paramshare.tracking.store import StoreAddress, open_store
from support.ports import free_port
from support.tracking.run_counts import finished_runs


@dataclass
class MlflowServer:
    """A server.

    Args:
        folder: of the store that it serves, with the files that it keeps itself.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    _running: ExitStack = field(default_factory=ExitStack)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def remote(self, experiment: str) -> StoreAddress:
        """Return the address of an experiment for a client over HTTP."""
        return StoreAddress(self.url, experiment)

    def embedded(self, experiment: str) -> StoreAddress:
        """Return the address of an experiment for a process on this machine that writes to the store itself."""
        return StoreAddress(f"sqlite:///{self.folder / 'mlflow.db'}", experiment)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = self._running.enter_context(served_pages(open_store(self.embedded("served")), self.port))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Kill all of its processes."""
        self.signal(signal.SIGKILL)
        self._running.close()

    def stop(self) -> None:
        """Stop it, if it runs."""
        self._running.close()

    def finished_runs(self) -> int:
        """Count the FINISHED runs of all experiments, without the server."""
        return finished_runs(self.folder / "mlflow.db")


@contextmanager
def running_mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Serve the store in `folder` until the end of the block."""
    server = MlflowServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
