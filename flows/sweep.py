"""The sweep as a Prefect flow: one task a chunk, each task one call into the library.

It writes the same runs as `paramshare train`; the flow adds history, a report, schedules and workers elsewhere. It is
what deployments run, and `paramshare flow sweep`. The chunks run in processes of this machine, or on a Dask cluster.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from itertools import groupby
from typing import Final

from prefect import flow, runtime, task
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.futures import PrefectFuture, as_completed
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED, get_current_settings, temporary_settings
from prefect.states import Cancelled, Completed, Crashed, Failed

from paramshare.flows.cluster import Cluster, find_cluster, unwanted
from paramshare.flows.ends import name_of, record_cut_short, rows_of, state_of
from paramshare.flows.pool import PoolRunner
from paramshare.flows.retries import RETRIES
from paramshare.flows.surroundings import (
    Surroundings,
    here,
    leave_report,
    mlflow_tags,
    pages_base,
    pages_hint,
    run_here,
)
from paramshare.plots import inline_picture
from paramshare.sweep.chunks import Chunk, Row, slots
from paramshare.sweep.elsewhere import Kit, go_on, run_elsewhere
from paramshare.sweep.pools import Stop, outlast, start_server, start_worker, worker_arguments
from paramshare.sweep.report import sweep_name
from paramshare.sweep.run import Outcome, Sweep, open_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.sweep.worker import run_chunk, templates_of
from paramshare.tracking.display.urls import picture_url, run_url
from paramshare.tracking.read.artifacts import read_figure
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.tags import CURVES_FILE
from paramshare.training.export import Template

__all__ = ["run_flow", "run_tasks", "said_of", "sweep", "train_chunk"]

_MOST_TASKS: Final = 200  # a flow run: Prefect's server takes some hundreds in its stride, not thousands
_MOST_SEEDS: Final = 16  # a task: about ten seconds of the reference on a core


def run_flow(
    spec: SweepSpec,
    address: StoreAddress,
    on_open: Callable[[Sweep], None] = lambda _: None,
    on_row: Callable[[Row], None] = lambda _: None,
    dask_scheduler: str | None = None,
) -> Outcome:
    """Run the flow in this process, against the configured Prefect API or a server that ends with the flow.

    Args:
        on_open: called once, before anything is trained.
        on_row: called for each run that has ended.
        dask_scheduler: the address of the Dask cluster that trains; None where this machine does.

    Raises:
        UsageError, ServerError: as `open_sweep` and `find_cluster`.
        WorkerError: processes that train were ended from outside again and again.
    """
    surroundings = Surroundings(address, on_open, on_row, dask_scheduler)
    result = run_here(sweep, spec, surroundings, ("sweep", *spec.variant_list))
    assert isinstance(result, Outcome)
    return result


def _flow_run_name() -> str:
    spec = SweepSpec.model_validate(runtime.flow_run.parameters["spec"])
    return sweep_name(spec, spec.device_list)


def _task_run_name() -> str:
    specs = runtime.task_run.parameters["chunk"].specs
    return f"{specs[0].device}: {name_of(specs)}"


@task(
    name="train chunk",
    task_run_name=_task_run_name,
    persist_result=False,
    **RETRIES,
)
def train_chunk(chunk: Chunk, kit: Kit | None = None) -> State[list[Row]]:
    """Train a chunk's seeds one after the other and write each as an MLflow run.

    The task ends as `state_of` returns: Completed only if every seed was trained.

    Args:
        kit: where this is a worker of a Dask cluster.
    """
    if kit is not None:
        rows = run_elsewhere(chunk, kit, unwanted())
    else:
        rows = run_chunk(chunk) if runtime.task_run.run_count < 2 else go_on(chunk)
    for row in rows:
        get_run_logger().info("%s on %s: %s", name_of([row.spec]), row.spec.device, row.error or row.final_loss)
    return state_of(chunk, rows)


@flow(name="sweep", flow_run_name=_flow_run_name, persist_result=False)
def sweep(spec: SweepSpec) -> State[Outcome]:
    """Train every variant, seed and device asked for, each an MLflow run under one parent run.

    What the store already holds finished is re-used. The flow run fails where one of its runs does.
    """
    around = here(spec.experiment)
    outcome = run_tasks(spec, around, "flows/sweep.py")
    if not outcome.kept:  # else there are no curves yet, and no pages
        leave_report("sweep", outcome.name, lambda: _report(open_store(around.address), outcome))
    verdict = Failed if outcome.failed or outcome.kept else Completed
    return verdict(data=outcome, message=said_of(outcome))


def run_tasks(spec: SweepSpec, around: Surroundings, source: str) -> Outcome:
    """Sweep in the tasks of the flow run that this is called in.

    Args:
        source: the flow's file.
    """
    cluster = _cluster(around)
    with open_sweep(spec, around.address, mlflow_tags(source), cluster.devices if cluster else None) as opened:
        around.on_open(opened)
        get_run_logger().info("%d runs to train, %d re-used", len(opened.pending), len(opened.reused))
        lost_touch = False
        with _asking_nothing(), closing(_train(opened, cluster)) as rows:  # no process writes on when this ends
            for row in rows:
                opened.add(row)
                around.on_row(row)
                lost_touch |= row.status == "KEPT"
        if cluster and lost_touch:  # `finish` delivers what is kept here, the workers what is kept where they work
            cluster.deliver(around.address)
        return opened.finish()


@contextmanager
def _asking_nothing() -> Iterator[None]:
    """Tasks that are submitted inside ask Prefect's server for nothing when they begin.

    Else a pool's process asks for its version, and for a slot of each of the task's tags, once; where no server answers
    then, Prefect 3.8.8 leaves the process by `exit`, and waits for its task for ever.
    """
    with temporary_settings({PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False}), TagsContext(current_tags=set()):
        yield


def said_of(outcome: Outcome) -> str:
    """What a flow run's state says of a sweep."""
    kept = f", {outcome.kept} kept until the server takes them" if outcome.kept else ""
    finished = len(outcome.rows) - outcome.failed - outcome.kept
    return f"{finished} of {len(outcome.rows)} runs finished{kept}"


def _cluster(around: Surroundings) -> Cluster | None:
    """The Dask cluster that is to train, if one is; what it has kept for a server is delivered before."""
    if around.dask_scheduler is None:
        return None
    cluster = find_cluster(around.dask_scheduler, around.address, get_current_settings().api.url or "")
    cluster.deliver(around.address)
    return cluster


def _train(opened: Sweep, cluster: Cluster | None) -> Generator[Row, None, None]:
    """Train what is pending and yield the rows of each chunk as it ends."""
    pending = len(opened.pending)
    if cluster is not None:
        at_once = sum(cluster.slots[device] for device in opened.devices)
        return cluster.rows(train_chunk, opened.chunks(_chunk_size(pending, at_once)))
    chunks = opened.chunks(_chunk_size(pending, opened.slots()))
    if chunks:
        start_server(__name__)  # imports while the templates are made
    templates = templates_of(chunks)
    return outlast(chunks, lambda waiting: _in_pools(waiting, opened, templates))


def _in_pools(
    chunks: Sequence[Chunk], opened: Sweep, templates: Sequence[Template]
) -> Generator[tuple[Chunk, list[Row]], None, None]:
    """Each chunk with its rows as it ends, trained on a pool of processes a device.

    Raises:
        BrokenProcessPool: a process was ended from outside.
    """
    stop = Stop()
    arguments = worker_arguments(stop, templates)
    futures: dict[PrefectFuture[list[Row]], Chunk] = {}
    try:
        with ExitStack() as pools:
            for device, of_device in groupby(chunks, key=lambda chunk: chunk.device):
                queue = list(of_device)
                most = min(slots(device, opened.spec.workers, opened.store.address), len(queue))
                runner = PoolRunner(max_workers=most, initializer=start_worker, initargs=arguments)
                pool = pools.enter_context(runner)
                futures |= {pool.submit(train_chunk, {"chunk": chunk}): chunk for chunk in queue}
            pools.callback(stop.set)
            for future in as_completed(list(futures)):
                yield futures[future], rows_of(future)
    except BrokenProcessPool:
        record_cut_short(futures, Crashed(message="its process was ended"))
        raise
    except BaseException:  # Ctrl-C, SIGTERM, or the end of this generator: the pools have ended the rest
        record_cut_short(futures, Cancelled(message="the sweep was told to end"))
        raise


def _chunk_size(specs: int, at_once: int) -> int:
    """Seeds a task: some tasks for every process, so that all end together, but neither tiny ones nor too many."""
    even = math.ceil(specs / (2 * at_once))
    return max(1, min(even, _MOST_SEEDS), math.ceil(specs / _MOST_TASKS))


def _report(store: Store, outcome: Outcome) -> str:
    """The sweep's note with a picture that it carries itself, and links that lead to MLflow's pages from elsewhere."""
    base, parent = pages_base(store), outcome.parent_run_id
    picture = inline_picture(read_figure(store, parent))
    note = outcome.note.replace("(#/", f"({base}#/").replace(picture_url("", parent, CURVES_FILE), picture)
    link = f"[The sweep on MLflow's pages]({run_url(base, outcome.experiment_id, parent)}){pages_hint(store)}"
    return f"{link}\n\n{note}"
