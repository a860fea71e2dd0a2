"""MLflow's own server over an embedded store. One serves a whole session: a test has an experiment of its own on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paramshare.tracking.pages import served_pages
from paramshare.tracking.store import StoreAddress, open_store
from support.ports import free_port


@dataclass(frozen=True)
class MlflowServer:
    """A running server.

    Args:
        folder: of the store that it serves, with the files that it keeps itself.
    """

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def remote(self, experiment: str) -> StoreAddress:
        """An experiment as a client over HTTP names it."""
        return StoreAddress(self.url, experiment)

    def embedded(self, experiment: str) -> StoreAddress:
        """The same experiment as a process on this machine names it that writes to the store itself."""
        return StoreAddress(f"sqlite:///{self.folder / 'mlflow.db'}", experiment)


@contextmanager
def running_mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Serve the store in `folder` until the block is left."""
    server = MlflowServer(folder, free_port())
    with served_pages(open_store(server.embedded("served")), server.port):
        yield server
