"""Pools of worker processes that run the chunks of a sweep on this machine."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import groupby
from typing import Any, Final, Protocol, TypeVar

from paramshare.errors import WorkerError
from paramshare.signals import raise_received
from paramshare.sweep.chunks import Chunk, Row, max_workers
from paramshare.sweep.workers.forkserver import start_server, start_worker, starting_processes, worker_arguments
from paramshare.sweep.workers.stop_signal import StopSignal
from paramshare.sweep.workers.templates import make_chunk_templates
from paramshare.training.choice import Choice
from paramshare.training.export.templates import Template

__all__ = ["Backend", "engine_modules", "run_chunks", "run_in_pools", "run_with_restarts"]

_MAX_BREAKS: Final = 3  # in a row: more are not an accident

AFuture = TypeVar("AFuture")


class Backend(Protocol[AFuture]):
    """The kind of pools that run chunks. `train` uses processes of its own, a flow those of a Prefect task runner."""

    modules: tuple[str, ...]
    """The names of modules that workers need beside the library's own."""

    def open_pool(
        self, workers: int, start_worker: Callable[..., None], arguments: tuple[Any, ...]
    ) -> AbstractContextManager[Callable[[Chunk], AFuture]]:
        """Return a pool whose block gives the function that submits a chunk. All processes end with the block.

        Args:
            workers: the number of processes.
            start_worker, arguments: the function that each process calls first, and its arguments.
        """

    def as_completed(self, futures: Sequence[AFuture]) -> Iterator[AFuture]:
        """Yield each future as it completes."""

    def rows_of(self, future: AFuture) -> list[Row]:
        """Return the rows of a future that has completed.

        Raises:
            BrokenProcessPool: a process of the pool was killed.
        """

    def record_interruption(self, futures: Sequence[AFuture], error: BaseException) -> None:
        """Record which tasks an error has interrupted. All processes have ended."""


class _ProcessBackend:
    """Process pools of the standard library."""

    modules: tuple[str, ...] = ()

    @contextmanager
    def open_pool(
        self, workers: int, start_worker: Callable[..., None], arguments: tuple[Any, ...]
    ) -> Iterator[Callable[[Chunk], Future[list[Row]]]]:
        pool = ProcessPoolExecutor(workers, start_server(), start_worker, arguments)
        try:
            yield lambda chunk: pool.submit(_run_in_worker, chunk)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def as_completed(self, futures: Sequence[Future[list[Row]]]) -> Iterator[Future[list[Row]]]:
        return as_completed(futures)

    def rows_of(self, future: Future[list[Row]]) -> list[Row]:
        return future.result()

    def record_interruption(self, futures: Sequence[Future[list[Row]]], error: BaseException) -> None:
        pass  # nothing keeps a history of these tasks


def run_chunks(chunks: Sequence[Chunk], workers: int | None = None) -> Generator[Row, None, None]:
    """Run chunks on this machine, as many at the same time as its devices have room for, and yield rows as runs end.

    If only one chunk can run at a time, all chunks run in this process, else in `run_in_pools`.

    Args:
        workers: see `max_workers`.

    Raises:
        WorkerError: see `run_with_restarts`.
    """
    if not chunks:
        return  # and import nothing
    if sum(_pool_size(queue, workers) for queue in _queues(chunks)) > 1:
        yield from run_in_pools(chunks, workers, _ProcessBackend())
        return
    from paramshare.sweep.workers.execution import run_chunk
    from paramshare.training.export.archives import adopt_templates

    adopt_templates(make_chunk_templates(chunks))
    for chunk in chunks:
        yield from run_chunk(chunk)


def run_in_pools(chunks: Sequence[Chunk], workers: int | None, backend: Backend[AFuture]) -> Generator[Row, None, None]:
    """Run chunks in a pool of processes for each device, and yield rows as chunks end.

    The processes end with this process, and within seconds of the end of this generator.

    Args:
        workers: see `max_workers`.

    Raises:
        WorkerError: see `run_with_restarts`.
    """
    if not chunks:
        return
    modules = engine_modules(chunk.choices[0] for chunk in chunks)
    start_server(*backend.modules, *modules)  # imports at the same time as this process
    templates = make_chunk_templates(chunks)
    yield from run_with_restarts(chunks, lambda waiting: _attempt(waiting, workers, templates, backend))


def engine_modules(choices: Iterable[Choice]) -> list[str]:
    """Return the modules that these engines need beside the library's own.

    The first optimizer of a process imports `torch._dynamo`, which takes seconds.
    """
    return ["torch._dynamo"] if any(choice.engine == "reference" for choice in choices) else []


def run_with_restarts(
    chunks: Sequence[Chunk], attempt: Callable[[Sequence[Chunk]], Iterable[tuple[Chunk, list[Row]]]]
) -> Generator[Row, None, None]:
    """Yield the rows of chunks. If a process of a pool is killed, restart with the specs that are not written yet.

    Args:
        attempt: a function that runs chunks in pools and yields each chunk with its rows as the chunk ends.

    Raises:
        WorkerError: processes were killed several times in a row, and no chunk ended in between.
    """
    waiting, breaks = list(chunks), 0
    while waiting:
        try:
            for chunk, rows in attempt(tuple(waiting)):
                waiting.remove(chunk)
                breaks = 0
                yield from rows
        except BrokenProcessPool:
            breaks += 1
            if breaks > _MAX_BREAKS:
                raise WorkerError(
                    f"a worker process was killed {breaks} times in a row, as happens when there is too little memory; "
                    "finished runs are kept: rerun the command to resume, or use fewer --workers"
                ) from None
            from paramshare.sweep.workers.execution import recover_chunks

            waiting, rows = recover_chunks(waiting)
            yield from rows


def _attempt(
    chunks: Sequence[Chunk], workers: int | None, templates: Sequence[Template], backend: Backend[AFuture]
) -> Iterator[tuple[Chunk, list[Row]]]:
    """Yield each chunk with its rows as it ends.

    Raises:
        BrokenProcessPool: a process was killed.
    """
    stop, futures = StopSignal(), dict[AFuture, Chunk]()
    try:
        with ExitStack() as pools:
            for queue in _queues(chunks):
                size, arguments = _pool_size(queue, workers), worker_arguments(stop, templates, queue[0].gpus)
                submit = pools.enter_context(backend.open_pool(size, start_worker, arguments))
                pools.callback(stop.set)
                for chunk in queue:
                    with starting_processes():
                        futures[submit(chunk)] = chunk
            for future in backend.as_completed(list(futures)):
                raise_received()
                yield futures[future], backend.rows_of(future)
    except BaseException as error:  # Ctrl-C, SIGTERM, a killed process, or the end of this generator
        backend.record_interruption(list(futures), error)
        raise


def _queues(chunks: Sequence[Chunk]) -> list[list[Chunk]]:
    """Return the chunks of each device."""
    return [list(queue) for _, queue in groupby(chunks, key=lambda chunk: chunk.device)]


def _pool_size(queue: Sequence[Chunk], workers: int | None) -> int:
    """Return the number of processes for the chunks of one device."""
    return min(max_workers(queue[0].device, workers, queue[0].address, queue[0].gpus), len(queue))


def _run_in_worker(chunk: Chunk) -> list[Row]:
    """Run a chunk in a worker process, until the pool stops."""
    from paramshare.sweep.workers.execution import run_chunk
    from paramshare.sweep.workers.stop_signal import stop_requested

    return run_chunk(chunk, stop_requested)
