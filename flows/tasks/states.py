"""Names and final states, in Prefect's history, of a sweep's flow run and of the tasks that train its chunks.

A task is Completed only if every seed of its chunk was trained.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Completed, Failed

from paramshare.recipes.spec import Spec
from paramshare.sweep.chunks import Chunk, Row
from paramshare.sweep.result import SweepResult

__all__ = ["name_of", "record_interrupted", "rows_of", "state_of", "summary_of"]


def name_of(specs: Sequence[Spec]) -> str:
    """Return the variants and seeds of a chunk, such as `shared seed 3` or `shared seeds 0 to 7`."""
    first, last = specs[0], specs[-1]
    if len(specs) == 1:
        return f"{first.variant} seed {first.seed}"
    if first.variant == last.variant:
        return f"{first.variant} seeds {first.seed} to {last.seed}"
    return f"{first.variant} seed {first.seed} to {last.variant} seed {last.seed}"


def state_of(chunk: Chunk, rows: list[Row]) -> State[list[Row]]:
    """Return the state in which a chunk's task ends.

    Args:
        rows: the rows of the trained specs. Fewer rows than specs mean that the sweep was told to end.

    Returns:
        A state with the rows: Cancelled, if seeds were not trained; Failed, if the training of a seed failed; else
        Completed.
    """
    seeds = f"{len(chunk.specs)} {'run' if len(chunk.specs) == 1 else 'runs'}"
    if len(rows) < len(chunk.specs):
        return Cancelled(data=rows, message=f"the sweep was told to end; {len(rows)} of {seeds} trained")
    if failed := [name_of([row.spec]) for row in rows if row.status == "FAILED"]:
        return Failed(data=rows, message=f"{len(failed)} of {seeds} failed: {', '.join(failed)}")
    return Completed(data=rows, message=f"{seeds} trained")


def summary_of(result: SweepResult) -> str:
    """Return the summary of a sweep for the state of its flow run."""
    kept = f", {result.kept} kept until the server takes them" if result.kept else ""
    finished = len(result.rows) - result.failed - result.kept
    return f"{finished} of {len(result.rows)} runs finished{kept}"


def rows_of(future: PrefectFuture[Any]) -> list[Row]:
    """Return the rows of a chunk's task that has ended, in whichever state.

    Raises:
        BaseException: the exception that the task raised.
    """
    result: object = future.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    assert isinstance(result, list)
    return result


def record_interrupted(futures: Iterable[PrefectFuture[Any]], state: State[Any]) -> None:
    """Record that the processes of tasks were ended in the middle of the tasks. Best effort: no run depends on it.

    Args:
        futures: the tasks of a pool that has ended. A task that was never begun is not in Prefect's history.
        state: the state of the tasks whose processes were ended.
    """
    interrupted = [future for future in futures if _was_interrupted(future)]
    if not interrupted:
        return
    once = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})
    with suppress(Exception), once, get_client(sync_client=True) as client:
        for future in interrupted:
            with suppress(ObjectNotFound):
                client.set_task_run_state(future.task_run_id, state, force=True)


def _was_interrupted(future: PrefectFuture[Any]) -> bool:
    """Return whether the process of a task was ended before the task could."""
    if not isinstance(future, PrefectConcurrentFuture):
        return False
    wrapped = future.wrapped_future
    return wrapped.done() and not wrapped.cancelled() and wrapped.exception() is not None
