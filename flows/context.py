"""The context of a flow run, the run of a flow in this process, and the links between Prefect and MLflow."""

import shlex
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from prefect import Flow, runtime, tags
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from paramshare.flows.api.event_loop import no_event_loop
from paramshare.flows.api.server import prefect_api, require_api
from paramshare.setting_origins import origin_of, store_remarks
from paramshare.settings import DaskSettings, without_options
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.pages import server_url
from paramshare.tracking.store import Store, StoreAddress, redacted
from paramshare.tracking.tags import FLOW_RUN

__all__ = [
    "FlowContext",
    "current_context",
    "leave_report",
    "log_store",
    "mlflow_tags",
    "pages_base",
    "pages_hint",
    "run_flow",
    "store_line",
]


@dataclass(frozen=True, slots=True)
class FlowContext:
    """The inputs of a flow run that are not its parameters.

    Args:
        address: the store.
        on_open: called once with the open sweep, before training starts.
        on_row: called with the row of each run, or each model, that has ended.
        dask_scheduler: the address of the Dask cluster that trains; None if this machine trains.
        checkpoint_folder: the folder of checkpoints if the sweep names none; None for the default.
    """

    address: StoreAddress
    on_open: Callable[[Any], None] = lambda _: None
    on_row: Callable[[Any], None] = lambda _: None
    dask_scheduler: str | None = None
    checkpoint_folder: str | None = None


Spec = TypeVar("Spec")
Result = TypeVar("Result")

_context: ContextVar[FlowContext | None] = ContextVar("context", default=None)


def current_context(experiment: str) -> FlowContext:
    """Return the context that `run_flow` has set; on a worker, the context that follows from the settings.

    Prefect pickles a flow with the globals that it names, and a context variable cannot be pickled: so flows name this
    function.
    """
    if context := _context.get():
        return context
    settings = DaskSettings()
    return FlowContext(
        StoreAddress.of(settings.tracking_uri, experiment),
        dask_scheduler=settings.dask_scheduler,
        checkpoint_folder=settings.checkpoint_folder,
    )


def log_store(address: StoreAddress) -> None:
    """Log the store of the current flow run, and on a worker the variables that name it or are not used."""
    log = get_run_logger()
    if _context.get() is None:  # otherwise the command has reported them
        settings = DaskSettings()
        for line in store_remarks(settings.model_copy(update={"experiment": address.experiment})):
            log.info(line)
        if settings.experiment != address.experiment:
            log.info("%s is not used: the flow has the experiment as a parameter", origin_of(settings, "experiment"))
    log.info(store_line(address))


def store_line(address: StoreAddress) -> str:
    """Return the store and the experiment of a flow as a line of a log."""
    return f"store {redacted(address.uri)}, experiment {address.experiment}"


def run_flow(flow: Flow[[Spec], State[Result]], spec: Spec, context: FlowContext) -> Result:
    """Run a flow in this process, against the configured Prefect API or a server that ends with the flow.

    The flow run is tagged with the name of the flow and the variants of the spec.

    Args:
        spec: the only parameter of the flow.

    Returns:
        The data of the flow run's final state, whether it is failed or completed.

    Raises:
        ServerError: a server does not start or does not answer.
        BaseException: what the flow raised.
    """
    require_api()
    variants = spec.variant_list if isinstance(spec, SweepSpec) else ()
    token = _context.set(context)
    with no_event_loop():
        try:
            with prefect_api(), tags(flow.name, *variants):
                state = flow(spec, return_state=True)
        finally:
            _context.reset(token)
        result: object = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    return cast(Result, result)


def mlflow_tags(source: str) -> dict[str, str]:
    """Return the tags that link a run in MLflow to the current flow run.

    Args:
        source: the file of the flow.
    """
    flow_run = runtime.flow_run
    run_tags = {
        "mlflow.source.name": source,
        "mlflow.source.type": "JOB",
        FLOW_RUN: flow_run.id,
        "prefect.flow_run_name": flow_run.name,
        "prefect.deployment_id": runtime.deployment.id,
    }
    return {name: value for name, value in run_tags.items() if value}


def leave_report(key: str, description: str, write: Callable[[], str]) -> None:
    """Leave Markdown as an artifact of the flow run. A failure is only logged: the runs do not depend on the report.

    Args:
        write: returns the Markdown.
    """
    try:
        create_markdown_artifact(write(), key=key, description=description)
    except Exception:  # best effort, whatever the server answers
        get_run_logger().warning("the report artifact could not be created", exc_info=True)


def pages_base(store: Store) -> str:
    """Return the start of the addresses of MLflow's pages, as a browser reaches them."""
    return (without_options().pages_url or server_url(store.address)).rstrip("/") + "/"


def pages_hint(store: Store) -> str:
    """Return the remark beside a link to an embedded store's pages: the command, from any folder, that serves them."""
    if store.address.database is None:
        return ""
    return f" (there while `{shlex.join(['paramshare', 'ui', '--tracking-uri', store.address.uri])}` runs)"
