"""MLflow's pages of a store: their address, a server for an embedded store, and the saved views that they show."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from paramshare.errors import UsageError, did_you_mean
from paramshare.processes import HOST, Program, started
from paramshare.tracking.display.views import VIEWS, missing_views, seeds_view, view_key
from paramshare.tracking.pages_server import STOP
from paramshare.tracking.read.runs import target_of_run
from paramshare.tracking.store import (
    Store,
    StoreAddress,
    experiment_tags,
    open_existing_store,
    store_errors,
    tag_experiment,
)
from paramshare.tracking.tags import KIND, RECIPE, SAVED_VIEW, TARGET

__all__ = ["DEFAULT_PORT", "add_views", "check_view", "newest_seeds", "served_pages", "server_url"]

DEFAULT_PORT: Final = 5000
_SERVER: Final = Path(__file__).with_name("pages_server.py")
_STARTUP: Final = 120.0  # seconds


def server_url(address: StoreAddress, port: int = DEFAULT_PORT) -> str:
    """Return the address of a store's pages: its server, or the one that `served_pages` starts on `port`."""
    return f"http://127.0.0.1:{port}/" if address.database else address.uri.rstrip("/") + "/"


def add_views(store: Store) -> None:
    """Add the saved views that the experiment lacks: it can be older than the views.

    Existing views are not changed, since a person may have edited them.
    """
    if missing := missing_views(experiment_tags(store)):
        with suppress(*store_errors()):  # without permission to write, a person sees the existing views
            tag_experiment(store, missing)


def check_view(address: StoreAddress, view: str) -> None:
    """Check that the experiment has a saved view. Nothing is written.

    Raises:
        UsageError: it has not; the message lists those it has.
    """
    if view in VIEWS:  # each experiment gets them
        return
    views = list[str](VIEWS)
    with suppress(UsageError):  # there is no store yet
        store, prefix = open_existing_store(address), f"{SAVED_VIEW}{view_key('')}"
        names = sorted(tag.removeprefix(prefix) for tag in experiment_tags(store) if tag.startswith(prefix))
        views += [name for name in names if name not in views]
    if view not in views:
        raise UsageError(f"--view is {view!r}; expected {', '.join(map(repr, views))}{did_you_mean(view, views)}")


def newest_seeds(store: Store) -> str:
    """Return the view of the seeds of the newest trained target."""
    if store.database is None:
        runs = store.client.search_runs([store.experiment_id], f"tags.`{KIND}` = 'seed'", max_results=1)
        return seeds_view(target_of_run(runs[0].data.params, runs[0].data.tags)) if runs else "seeds"
    run_id = store.database.newest(KIND, "seed")
    if run_id is None:
        return "seeds"
    target, recipe = store.database.param(run_id, TARGET), store.database.tag(run_id, RECIPE)
    return seeds_view(target_of_run({TARGET: target} if target else {}, {RECIPE: recipe} if recipe else {}))


@contextmanager
def served_pages(store: Store, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve MLflow's pages of an embedded store on 127.0.0.1:`port` until the block or this process ends.

    Raises:
        UsageError: the port is taken.
        ServerError: the server did not start. The message contains the end of its output.
    """
    assert store.address.database is not None
    artifacts = store.address.database.parent / "mlartifacts"
    with ExitStack() as stack:
        program = Program(
            name="MLflow's server",
            command=(sys.executable, "-P", str(_SERVER), store.address.uri, str(artifacts)),
            health="/health",
            startup=_STARTUP,
            grace=STOP,
            environment={**os.environ, "PYTHONSAFEPATH": "1"},
            # Python looks for modules in the working directory: this one is empty.
            folder=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paramshare-"))),
        )
        try:
            server = stack.enter_context(started(program, port))
        except OSError as error:
            raise UsageError(f"port {port} of {HOST} is taken ({error.strerror}); name another with --port") from error
        server.wait_until_healthy()
        yield server.process
