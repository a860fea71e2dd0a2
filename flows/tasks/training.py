"""The task that trains a chunk, and the run of a whole sweep in such tasks."""

import math
import platform
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Final

from prefect import runtime, task
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED, get_current_settings, temporary_settings

from paramshare.flows.context import FlowContext, log_store, mlflow_tags, store_line
from paramshare.flows.tasks.cluster import Cluster, find_cluster, result_is_unwanted
from paramshare.flows.tasks.pools import TaskBackend
from paramshare.flows.tasks.retries import RETRIES
from paramshare.flows.tasks.states import name_of, state_of
from paramshare.sweep.chunks import Chunk, Row
from paramshare.sweep.result import SweepResult
from paramshare.sweep.run import open_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.sweep.state import Sweep
from paramshare.sweep.workers.pools import run_in_pools
from paramshare.sweep.workers.remote import WorkerPayload, run_remote_chunk
from paramshare.sweep.workers.stop_signal import stop_requested

__all__ = ["run_sweep_tasks", "train_chunk"]

_MAX_TASKS: Final = 200  # of a flow run: Prefect's server copes with some hundreds, not with thousands
_MAX_SEEDS: Final = 16  # of a task: about ten seconds of the reference on a core


def _task_run_name() -> str:
    chunk: Chunk = runtime.task_run.parameters["chunk"]
    return f"{chunk.device}: {name_of(chunk.specs)}"


@task(
    name="train chunk",
    task_run_name=_task_run_name,
    persist_result=False,
    **RETRIES,
)
def train_chunk(chunk: Chunk, payload: WorkerPayload | None = None) -> State[list[Row]]:
    """Train the seeds of a chunk one after the other and write each as an MLflow run.

    The task ends in the state of `state_of`: Completed only if every seed was trained.

    Args:
        payload: the data that a worker of a Dask cluster needs; None in a process of this machine.
    """
    from paramshare.sweep.workers.execution import resume_chunk, run_chunk  # torch, which a flow does not need

    if payload is not None:
        get_run_logger().info("on %s: %s", platform.node(), store_line(chunk.address))
        rows = run_remote_chunk(chunk, payload, result_is_unwanted())
    else:
        run = run_chunk if runtime.task_run.run_count < 2 else resume_chunk
        rows = run(chunk, stop_requested)
    for row in rows:
        get_run_logger().info("%s on %s: %s", name_of([row.spec]), row.spec.device, row.error or row.final_loss)
    return state_of(chunk, rows)


def run_sweep_tasks(spec: SweepSpec, context: FlowContext, source: str) -> SweepResult:
    """Run a sweep in the tasks of the current flow run.

    Args:
        source: the file of the flow.
    """
    log_store(context.address)
    if spec.checkpoint_folder is None:
        spec = spec.model_copy(update={"checkpoint_folder": context.checkpoint_folder})
    cluster = _cluster(context)
    available = cluster.devices if cluster else None
    with open_sweep(spec, context.address, mlflow_tags(source), available) as sweep:
        context.on_open(sweep)
        get_run_logger().info("%d runs to train, %d reused", len(sweep.pending), len(sweep.reused))
        any_kept = False
        with _no_requests_from_tasks(), closing(_train(sweep, cluster)) as rows:  # no process writes after this block
            for row in rows:
                sweep.add(row)
                context.on_row(row)
                any_kept |= row.status == "KEPT"
        if cluster and any_kept:  # `finish` delivers the spool of this machine; the workers deliver theirs
            cluster.deliver(context.address)
        return sweep.finish()


@contextmanager
def _no_requests_from_tasks() -> Iterator[None]:
    """Keep tasks that are submitted inside from sending requests to Prefect's server when they begin.

    Otherwise a process of the pool asks once for the server's version, and for a slot of each of the task's tags; if no
    server answers then, Prefect 3.8.8 leaves the process by `exit`, and waits for its task without end.
    """
    with temporary_settings({PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False}), TagsContext(current_tags=set()):
        yield


def _cluster(context: FlowContext) -> Cluster | None:
    """Return the Dask cluster that trains, if there is one. Deliver the spools of its workers."""
    if context.dask_scheduler is None:
        return None
    cluster = find_cluster(context.dask_scheduler, context.address, get_current_settings().api.url or "")
    cluster.deliver(context.address)
    return cluster


def _train(sweep: Sweep, cluster: Cluster | None) -> Generator[Row, None, None]:
    """Train the pending specs and yield the rows of each chunk as it ends."""
    pending = len(sweep.pending)
    if cluster is not None:
        workers = sum(cluster.max_workers[device] for device in sweep.plan.devices)
        return cluster.rows(train_chunk, sweep.chunks(_chunk_size(pending, workers)))
    chunks = sweep.chunks(_chunk_size(pending, sweep.workers))
    return run_in_pools(chunks, sweep.spec.workers, TaskBackend(train_chunk))


def _chunk_size(specs: int, workers: int) -> int:
    """Return the number of seeds of a task.

    Every process gets a few tasks, so that all processes end at about the same time. Tasks are neither tiny nor too
    many.
    """
    even = math.ceil(specs / (2 * workers))
    return max(1, min(even, _MAX_SEEDS), math.ceil(specs / _MAX_TASKS))
