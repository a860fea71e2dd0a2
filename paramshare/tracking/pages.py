"""MLflow's own pages: where they are, and a server that shows them for an embedded store."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from paramshare.errors import UsageError
from paramshare.processes import HOST, Program, started
from paramshare.tracking import pages_server
from paramshare.tracking.display.views import View, missing_views, seeds_view, view_key
from paramshare.tracking.read.finished_seeds import KIND, target_of_params
from paramshare.tracking.store import Store, StoreAddress

__all__ = [
    "DEFAULT_PORT",
    "add_views",
    "artifact_url",
    "experiment_url",
    "newest_seeds",
    "picture_url",
    "run_url",
    "search_url",
    "served_pages",
    "server_url",
]

DEFAULT_PORT: Final = 5000
_MODE: Final = "workflowType=machine_learning"  # MLflow opens its mode for language models otherwise
_STARTUP: Final = 120.0  # seconds


def server_url(address: StoreAddress, port: int = DEFAULT_PORT) -> str:
    """Return where the pages of a store are: its server, or the one that `served_pages` starts on `port`."""
    return f"http://127.0.0.1:{port}/" if address.database else address.uri.rstrip("/") + "/"


def experiment_url(base: str, experiment_id: str, view: View = "seeds") -> str:
    """The page of an experiment, in one of its saved views."""
    return f"{base}#/experiments/{experiment_id}/runs?{_MODE}&compareRunsMode=CHART&viewStateShareKey={view_key(view)}"


def add_views(store: Store) -> None:
    """Give the experiment the saved views that it does not have: it can be older than they are.

    Those that it has stay as they are, for a person may have changed them.
    """
    from mlflow.exceptions import MlflowException

    tags = store.client.get_experiment(store.experiment_id).tags
    with suppress(MlflowException):  # whoever may only read a server's experiment sees the views that there are
        for key, value in missing_views(tags).items():
            store.client.set_experiment_tag(store.experiment_id, key, value)


def newest_seeds(store: Store) -> View:
    """Return the view of the seeds of what was trained last."""
    runs = store.client.search_runs([store.experiment_id], f"tags.`{KIND}` = 'seed'", max_results=1)
    return seeds_view(target_of_params(runs[0].data.params).name) if runs else "seeds"


def search_url(base: str, experiment_id: str, condition: str) -> str:
    """The page of an experiment with those of its runs that meet `condition`, in the words of MLflow's search."""
    return f"{base}#/experiments/{experiment_id}/runs?{_MODE}&searchFilter={quote(condition)}"


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """The page of a run; relative to MLflow's own pages where `base` is empty."""
    return f"{base}#/experiments/{experiment_id}/runs/{run_id}?{_MODE}"


def artifact_url(base: str, experiment_id: str, run_id: str, name: str) -> str:
    """Return the page that shows an artifact of a run."""
    return run_url(base, experiment_id, f"{run_id}/artifacts/{quote(name)}")


def picture_url(base: str, run_id: str, name: str) -> str:
    """A picture among a run's artifacts; relative to MLflow's own pages where `base` is empty."""
    return f"{base}get-artifact?path={name}&run_uuid={run_id}"


@contextmanager
def served_pages(store: Store, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve MLflow's pages of an embedded store on 127.0.0.1:`port` until the block ends, or this process does.

    Raises:
        UsageError: the port is taken.
        ServerError: the server did not start. The message has the end of its output.
    """
    assert store.address.database is not None
    artifacts = store.address.database.parent / "mlartifacts"
    with ExitStack() as stack:
        program = Program(
            name="MLflow's server",
            command=(sys.executable, "-P", pages_server.__file__, store.address.uri, str(artifacts)),
            health="/health",
            startup=_STARTUP,
            grace=pages_server.STOP,
            environment={**os.environ, "PYTHONSAFEPATH": "1"},
            # Python looks for modules in the working directory: in this one there are none.
            folder=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paramshare-"))),
        )
        try:
            server = stack.enter_context(started(program, port))
        except OSError as error:
            raise UsageError(f"port {port} of {HOST} is taken ({error.strerror}); name another with --port") from error
        server.wait_until_healthy()
        yield server.process
