"""Process pools of Prefect's task runner, forked from the same server as the library's own pools."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Self

from prefect import Task
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Cancelled, Crashed
from prefect.task_runners import ProcessPoolTaskRunner

from paramshare.flows.tasks.states import record_interrupted, rows_of
from paramshare.sweep.chunks import Chunk, Row
from paramshare.sweep.workers.forkserver import start_server, starting_processes

__all__ = ["WORKER_MODULE", "TaskBackend"]

WORKER_MODULE = "paramshare.flows.tasks.training"
"""The module that worker processes import before they run a task."""


class TaskBackend:
    """The pools in which chunks run as tasks of a Prefect flow. See `paramshare.sweep.workers.pools.Backend`.

    Args:
        task: the task that runs a chunk.
    """

    modules: tuple[str, ...] = (WORKER_MODULE,)

    def __init__(self, task: Task[Any, State[list[Row]]]) -> None:
        self._task = task

    @contextmanager
    def open_pool(
        self, workers: int, start_worker: Callable[..., None], arguments: tuple[Any, ...]
    ) -> Iterator[Callable[[Chunk], PrefectFuture[Any]]]:
        """Yield the function that submits a chunk as a task."""
        with _ForkingTaskRunner(workers, initializer=start_worker, initargs=arguments) as runner:
            yield lambda chunk: runner.submit(self._task, {"chunk": chunk})

    def as_completed(self, futures: Sequence[PrefectFuture[Any]]) -> Iterator[PrefectFuture[Any]]:
        """Yield each task as it ends."""
        return as_completed(list(futures))

    def rows_of(self, future: PrefectFuture[Any]) -> list[Row]:
        """Return the rows of a task that has ended."""
        return rows_of(future)

    def record_interruption(self, futures: Sequence[PrefectFuture[Any]], error: BaseException) -> None:
        """Record in Prefect's history which tasks were ended, since their processes can no longer."""
        if isinstance(error, BrokenProcessPool):
            record_interrupted(futures, Crashed(message="its process was ended"))
        else:
            record_interrupted(futures, Cancelled(message="the sweep was told to end"))


class _ForkingTaskRunner(ProcessPoolTaskRunner):
    """Prefect's task runner of processes, which Prefect 3.8 can only spawn.

    A pool starts its processes with the first task: the pool that Prefect has made is replaced before it has any.
    """

    def __enter__(self) -> Self:
        super().__enter__()
        spawning: Any = self._executor
        processes = start_server(WORKER_MODULE)
        self._executor = _GuardedPool(self._max_workers, processes, spawning._initializer, spawning._initargs)
        return self


class _GuardedPool(ProcessPoolExecutor):
    """A process pool that is broken if a process is killed while another one starts.

    Prefect submits to the pool in a thread of its own, so that the caller of `submit` cannot see the error.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call, see `starting_processes`."""
        with starting_processes():
            return super().submit(fn, *args, **kwargs)
