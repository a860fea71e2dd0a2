"""What a flow run takes from the process that it runs in, and what leads from it to its MLflow runs and back."""

import shlex
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from prefect import Flow, runtime, tags
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from paramshare.flows.event_loop import no_event_loop
from paramshare.flows.server import prefect_api, require_api
from paramshare.settings import DaskSettings, without_options
from paramshare.tracking.pages import server_url
from paramshare.tracking.store import Store, StoreAddress

__all__ = [
    "Surroundings",
    "here",
    "leave_report",
    "mlflow_tags",
    "pages_base",
    "pages_hint",
    "run_here",
]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a flow run does not take from its parameters.

    Args:
        address: the store.
        on_open, on_row: who watches; each flow says what it hands them.
        dask_scheduler: the address of the Dask cluster that trains; None where this machine does.
    """

    address: StoreAddress
    on_open: Callable[[Any], None] = lambda _: None
    on_row: Callable[[Any], None] = lambda _: None
    dask_scheduler: str | None = None


Spec = TypeVar("Spec")
Outcome = TypeVar("Outcome")

_surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


def here(experiment: str) -> Surroundings:
    """What `run_here` has set; on a worker what the settings say. (Prefect pickles a flow with the globals that it
    names, and a context variable cannot be pickled: so a flow names this function.)
    """
    if found := _surroundings.get():
        return found
    settings = DaskSettings()
    return Surroundings(StoreAddress.of(settings.tracking_uri, experiment), dask_scheduler=settings.dask_scheduler)


def run_here(
    flow: Flow[[Spec], State[Outcome]], spec: Spec, surroundings: Surroundings, names: Sequence[str]
) -> object:
    """Run `flow` in this process, against the configured Prefect API or a server that ends with the flow.

    Args:
        spec: the flow's only parameter.
        names: the tags of the flow run.

    Returns:
        The data of the flow run's last state, be it failed or completed.

    Raises:
        BaseException: what the flow raised.
    """
    require_api()
    token = _surroundings.set(surroundings)
    with no_event_loop():
        try:
            with prefect_api(), tags(*names):
                state = flow(spec, return_state=True)
        finally:
            _surroundings.reset(token)
        result: object = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    return result


def mlflow_tags(source: str) -> dict[str, str]:
    """How a run in MLflow leads back to the flow run.

    Args:
        source: the flow's file.
    """
    flow_run = runtime.flow_run
    found = {
        "mlflow.source.name": source,
        "mlflow.source.type": "JOB",
        "prefect.flow_run_id": flow_run.id,
        "prefect.flow_run_name": flow_run.name,
        "prefect.deployment_id": runtime.deployment.id,
    }
    return {name: value for name, value in found.items() if value}


def leave_report(key: str, description: str, write: Callable[[], str]) -> None:
    """Leave Markdown as an artifact of the flow run. The runs stand without it: a failure is only logged.

    Args:
        write: gives the Markdown.
    """
    try:
        create_markdown_artifact(write(), key=key, description=description)
    except Exception:  # best effort, whatever the server answers
        get_run_logger().warning("the report artifact could not be made", exc_info=True)


def pages_base(store: Store) -> str:
    """What the addresses of MLflow's pages begin with, for whoever reads a report in a browser."""
    return (without_options().pages_url or server_url(store.address)).rstrip("/") + "/"


def pages_hint(store: Store) -> str:
    """Return what stands beside a link to an embedded store's pages: the command, from any folder, that serves them."""
    if store.address.database is None:
        return ""
    return f" (there while `{shlex.join(['paramshare', 'ui', '--tracking-uri', store.address.uri])}` runs)"
