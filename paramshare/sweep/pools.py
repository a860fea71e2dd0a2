"""The pools of processes that run chunks on this machine.

Processes are forked from a server that has imported what a worker needs (`preload`): importing torch and MLflow takes
seconds in each process, a fork takes milliseconds. The server has run no operation of torch, whose threads do not
survive a fork. The server ends when this process and its workers have ended.
"""

import errno
import gc
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from paramshare.errors import WorkerError
from paramshare.sweep.chunks import Chunk, Row, slots

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from paramshare.training.export import Template

__all__ = [
    "Stop",
    "outlast",
    "run_chunks",
    "start_server",
    "start_worker",
    "starting_processes",
    "worker_arguments",
]

_PRELOADED: Final = "paramshare.sweep.preload"
_DEFERRED: Final = (signal.SIGINT, signal.SIGTERM)
_CLOSED: Final = (None, errno.EBADF, errno.EPIPE)
"""What an OSError about a closed pipe has as its errno; multiprocessing raises one without."""

_MOST_BREAKS: Final = 3  # in a row: more is no accident


def start_server(*more: str) -> "BaseContext":
    """Start the process that workers are forked from, unless it runs already, and return how processes are started.

    The function returns at once; the server imports meanwhile. The server starts with SIGINT blocked, and so do the
    processes forked from it: Ctrl-C reaches the whole group of a terminal, and only the parent handles it. If no server
    can be started (no forkserver on this platform, no room for its socket, a path too long for one), processes are
    spawned.

    Args:
        more: the names of modules that workers need beside the library's own.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    multiprocessing.resource_tracker.ensure_running()  # first: whoever starts it unblocks SIGINT again
    server = multiprocessing.forkserver
    try:
        with signals_deferred():
            server.set_forkserver_preload([_PRELOADED, *more])
            server.ensure_running()
    except OSError:
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")


def start_worker(stop: "Stop", templates: "Sequence[Template]", environment: Mapping[str, str]) -> None:
    """Begin a process of a pool; see `worker.become_worker`.

    Args:
        environment: the parent's environment variables now; the server may have been started with others.
    """
    gc.freeze()  # a collection would otherwise copy every page that this process shares with the server
    gc.enable()
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    from paramshare.sweep.worker import become_worker

    become_worker(stop, templates)


def worker_arguments(stop: "Stop", templates: "Sequence[Template]") -> tuple[Any, ...]:
    """Return the arguments of `start_worker` for processes that this one starts."""
    return stop, templates, dict(os.environ)


class Stop:
    """The signal to stop that a parent gives to the processes of its pools, passed to each when it starts.

    It is the end of a pipe. A lock could stay held after the process that holds it was killed; a pipe cannot.
    """

    def __init__(self) -> None:
        self._told, self._teller = multiprocessing.Pipe(duplex=False)

    def __getstate__(self) -> object:
        return self._told

    def __setstate__(self, told: Any) -> None:
        self._told = told

    def set(self) -> None:
        """Tell the processes to stop. The death of the parent tells them, too."""
        self._teller.close()

    def is_set(self) -> bool:
        """Return whether the processes have been told to stop."""
        return self._told.poll()

    def wait(self) -> None:
        """Wait until the processes are told to stop."""
        self._told.poll(None)


def run_chunks(chunks: Sequence[Chunk], workers: int | None = None) -> Generator[Row, None, None]:
    """Run chunks on this machine, as many at once as their devices have room for, and yield rows as they end.

    If only one chunk can run at a time, all run in this process. Else each device has a pool of processes, which end
    with this one. If one of them is killed, new pools train what is not written yet.

    Raises:
        WorkerError: that happened again and again, and nothing was trained in between.
    """
    if not chunks:
        return  # and import nothing
    at_once = _at_once(chunks, workers)
    if sum(at_once.values()) > 1:
        start_server()  # imports what is imported here at the same time
    from paramshare.sweep.worker import run_chunk, templates_of

    templates = templates_of(chunks)
    if sum(at_once.values()) == 1:
        for chunk in chunks:
            yield from run_chunk(chunk)
        return
    yield from outlast(chunks, lambda waiting: _in_pools(waiting, at_once, templates))


def outlast(
    chunks: Sequence[Chunk], in_pools: Callable[[Sequence[Chunk]], Iterable[tuple[Chunk, list[Row]]]]
) -> Generator[Row, None, None]:
    """Yield the rows of chunks; if a process of a pool is killed, new pools train what is not written yet.

    Args:
        in_pools: runs chunks in processes and gives each with its rows as it ends.

    Raises:
        WorkerError: that happened again and again, and nothing was trained in between.
    """
    waiting, breaks = list(chunks), 0
    while waiting:
        try:
            for chunk, rows in in_pools(tuple(waiting)):
                waiting.remove(chunk)
                breaks = 0
                yield from rows
        except BrokenProcessPool:
            breaks += 1
            if breaks > _MOST_BREAKS:
                raise WorkerError(
                    f"a process that trains was ended from outside {breaks} times in a row, as it is when there is too "
                    "little memory; finished runs are kept; rerun the command to resume, or with fewer --workers"
                ) from None
            from paramshare.sweep.worker import not_written

            waiting, rows = not_written(waiting)
            yield from rows


def _at_once(chunks: Sequence[Chunk], workers: int | None) -> dict[str, int]:
    """Return the number of processes of each device."""
    queues = ((device, list(queue)) for device, queue in groupby(chunks, key=lambda chunk: chunk.device))
    return {device: min(slots(device, workers, queue[0].address), len(queue)) for device, queue in queues}


def _in_pools(
    chunks: Sequence[Chunk], at_once: Mapping[str, int], templates: "Sequence[Template]"
) -> Iterator[tuple[Chunk, list[Row]]]:
    """Yield each chunk with its rows as it ends; the processes end within seconds of the end of this generator.

    Raises:
        BrokenProcessPool: a process was ended from outside.
    """
    from paramshare.sweep.worker import run_chunk

    stop, processes = Stop(), start_server()
    with ExitStack() as stack:
        futures: dict[Future[list[Row]], Chunk] = {}
        for device, queue in groupby(chunks, key=lambda chunk: chunk.device):
            arguments = worker_arguments(stop, templates)
            pool = ProcessPoolExecutor(at_once[device], processes, start_worker, arguments)
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            stack.callback(stop.set)
            with starting_processes():
                futures |= {pool.submit(run_chunk, chunk): chunk for chunk in queue}
        for future in as_completed(futures):
            yield futures[future], future.result()


@contextmanager
def starting_processes() -> Iterator[None]:
    """Defer signals while tasks are submitted to a pool, which starts its processes.

    If a process of the pool is killed meanwhile, the pool closes its pipes while `submit` uses them.

    Raises:
        BrokenProcessPool: so.
    """
    with signals_deferred():
        try:
            yield
        except OSError as error:
            if error.errno not in _CLOSED:
                raise
            raise BrokenProcessPool("a process ended while others were started") from error


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer SIGINT and SIGTERM while processes start, until the end of the block.

    An exception between the start of a worker and the pool's note of it would leave a worker that nobody ends; the
    worker would find the pool's semaphores removed, and print a traceback. Blocking the signals is not enough: any
    other thread can receive them, and Python then runs the handler in the main thread. SIGINT is blocked as well, since
    a spawned process inherits that: it would print a traceback for a SIGINT that arrives before `start_worker`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread alone
        return
    arrived: list[int] = []
    former = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in _DEFERRED}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in former.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None if the handler is not Python's
        for deferred in arrived:
            signal.raise_signal(deferred)
