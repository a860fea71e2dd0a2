"""MLflow's own pages: where they are, and a server that shows them for an embedded store."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final
from urllib.parse import quote

from paramshare.errors import ServerError, UsageError
from paramshare.tracking import pages_server
from paramshare.tracking.runs import KIND, target_of_params
from paramshare.tracking.store import Store, StoreAddress
from paramshare.tracking.views import View, missing_views, seeds_view, view_key

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
_STOP: Final = 10.0  # seconds


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
    """MLflow's server over an embedded store, answering on 127.0.0.1:`port` until the block is left.

    However this process ends, the server does too.

    Raises:
        UsageError: the port is taken.
        ServerError: it did not come up; the message carries the end of what it said.
    """
    _check_port(port)
    assert store.address.database is not None
    command = [sys.executable, "-P", pages_server.__file__, store.address.uri]
    command += [str(store.address.database.parent / "mlartifacts"), str(port)]
    # Python looks for modules in the working directory: in this one there are none.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with (
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryDirectory(prefix="paramshare-") as nowhere,
        subprocess.Popen(
            command,
            cwd=nowhere,
            env=environment,
            stdin=subprocess.PIPE,  # never written to: see `pages_server`
            stdout=said,
            stderr=said,
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait_for(process, f"http://127.0.0.1:{port}/health", said)
            yield process
        finally:
            _stop(process)
            _wait_until_free(port)


def _check_port(port: int) -> None:
    if error := _refusal(port):
        raise UsageError(f"port {port} of 127.0.0.1 is taken ({error.strerror}); name another with --port") from error


def _wait_until_free(port: int) -> None:
    """A killed process holds its port until its memory is freed; the one that was waited for may be gone before it."""
    deadline = time.monotonic() + _STOP
    while _refusal(port) and time.monotonic() < deadline:
        time.sleep(0.02)


def _refusal(port: int) -> OSError | None:
    """Why nobody can listen on the port now."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        return error
    return None


def _wait_for(process: subprocess.Popen[bytes], health: str, said: IO[bytes]) -> None:
    deadline = time.monotonic() + _STARTUP
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said.seek(0)
            tail = said.read()[-2000:].decode(errors="replace").strip()
            raise ServerError(
                f"MLflow's server ended with exit code {process.returncode}; the end of its output:\n{tail}"
            )
        try:
            with urllib.request.urlopen(health, timeout=2):  # noqa: S310 - our own loopback address
                return
        except OSError:
            time.sleep(0.1)
    raise ServerError(f"MLflow's server did not answer at {health} within {_STARTUP:.0f} seconds")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and every process that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
