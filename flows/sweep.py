"""The sweep as a Prefect flow: one task a chunk, each task one call into the library.

It writes the same runs as `paramshare train`; the flow adds history, a report, schedules and workers elsewhere. It is
what deployments run, and `paramshare flow sweep`.
"""

import math
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from itertools import groupby
from typing import Final

from prefect import flow, runtime, tags, task
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed
from prefect.task_runners import ProcessPoolTaskRunner

from flows.surroundings import Surroundings, here, inline_picture, leave_report, mlflow_tags, pages_hint, run_here
from paramshare.sweep.chunks import Chunk, Row, Stop, run_chunk, slots, start_worker, templates_of
from paramshare.sweep.report import sweep_name
from paramshare.sweep.run import Outcome, Sweep, open_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.pages import picture_url, run_url, server_url
from paramshare.tracking.store import Store, StoreAddress
from paramshare.tracking.sweeps import CURVES_FILE, read_curves

__all__ = ["run_flow", "sweep", "train_chunk"]

_MOST_TASKS: Final = 200  # a flow run: Prefect's server takes some hundreds in its stride, not thousands
_MOST_SEEDS: Final = 16  # a task: about ten seconds of the reference on a core


def run_flow(
    spec: SweepSpec,
    address: StoreAddress,
    on_open: Callable[[Sweep], None] = lambda _: None,
    on_row: Callable[[Row], None] = lambda _: None,
) -> Outcome:
    """Run the flow in this process, against the configured Prefect API or a server that ends with the flow.

    Args:
        on_open: called once, before anything is trained.
        on_row: called for each run that has ended.

    Raises:
        UsageError, ServerError: as `open_sweep`.
    """
    surroundings = Surroundings(address, on_open, on_row)
    result = run_here(sweep, spec, surroundings, ("sweep", *spec.variant_list))
    assert isinstance(result, Outcome)
    return result


def _flow_run_name() -> str:
    spec = SweepSpec.model_validate(runtime.flow_run.parameters["spec"])
    return sweep_name(spec, spec.device_list)


def _task_run_name() -> str:
    specs = runtime.task_run.parameters["chunk"].specs
    first, last = specs[0], specs[-1]
    return f"{first.device}: {first.variant} seed {first.seed} to {last.variant} seed {last.seed}"


@task(name="train chunk", task_run_name=_task_run_name, persist_result=False)
def train_chunk(chunk: Chunk) -> list[Row]:
    """Train a chunk's seeds one after the other and write each as an MLflow run."""
    rows = run_chunk(chunk)
    for row in rows:
        get_run_logger().info("seed %d on %s: %s", row.spec.seed, row.spec.device, row.error or row.final_loss)
    return rows


@flow(name="sweep", flow_run_name=_flow_run_name, persist_result=False)
def sweep(spec: SweepSpec) -> State[Outcome]:
    """Train DynamicNet for every variant, seed and device asked for, each an MLflow run under one parent run.

    What the store already holds finished is re-used. The flow run fails where one of its runs does.
    """
    around = here(spec.experiment)
    with open_sweep(spec, around.address, mlflow_tags("flows/sweep.py")) as opened:
        around.on_open(opened)
        get_run_logger().info("%d runs to train, %d re-used", len(opened.pending), len(opened.reused))
        with closing(_train(opened)) as rows:  # no process writes on when this ends
            for row in rows:
                opened.add(row)
                around.on_row(row)
        outcome = opened.finish()
    if not outcome.kept:  # else there are no curves yet, and no pages
        leave_report("sweep", outcome.name, lambda: _report(opened.store, outcome))
    verdict = Failed if outcome.failed or outcome.kept else Completed
    kept = f", {outcome.kept} kept until the server takes them" if outcome.kept else ""
    finished = len(outcome.rows) - outcome.failed - outcome.kept
    return verdict(data=outcome, message=f"{finished} of {len(outcome.rows)} runs finished{kept}")


def _train(opened: Sweep) -> Generator[Row, None, None]:
    """Train what is pending, on a pool of processes a device, and yield the rows of each chunk as it ends."""
    chunks = opened.chunks(_chunk_size(len(opened.pending), opened.slots()))
    stop, templates = Stop(), templates_of(chunks)
    with ExitStack() as pools:
        futures: list[PrefectFuture[list[Row]]] = []
        for device, of_device in groupby(chunks, key=lambda chunk: chunk.device):
            queue = list(of_device)
            most = min(slots(device, opened.spec.workers, opened.store.address), len(queue))
            runner = ProcessPoolTaskRunner(max_workers=most, initializer=start_worker, initargs=(stop, templates))
            pool = pools.enter_context(runner)
            with tags(f"device:{device}"):
                futures += [pool.submit(train_chunk, {"chunk": chunk}) for chunk in queue]
        pools.callback(stop.set)
        for future in as_completed(futures):
            yield from future.result()


def _chunk_size(specs: int, at_once: int) -> int:
    """Seeds a task: some tasks for every process, so that all end together, but neither tiny ones nor too many."""
    even = math.ceil(specs / (2 * at_once))
    return max(1, min(even, _MOST_SEEDS), math.ceil(specs / _MOST_TASKS))


def _report(store: Store, outcome: Outcome) -> str:
    """The sweep's note with a picture that it carries itself, and links that lead to MLflow's pages from elsewhere."""
    base, parent = server_url(store), outcome.parent_run_id
    picture = inline_picture(read_curves(store, parent))
    note = outcome.note.replace("(#/", f"({base}#/").replace(picture_url("", parent, CURVES_FILE), picture)
    link = f"[The sweep on MLflow's pages]({run_url(base, outcome.experiment_id, parent)}){pages_hint(store)}"
    return f"{link}\n\n{note}"
