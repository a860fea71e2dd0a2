"""The start of worker processes.

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
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from paramshare.processes import end_after
from paramshare.signals import signals_deferred
from paramshare.sweep.workers.stop_signal import StopSignal, adopt_stop_signal
from paramshare.training.export.templates import Template

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

__all__ = ["start_server", "start_worker", "starting_processes", "worker_arguments"]

_PRELOADED: Final = "paramshare.sweep.workers.preload"
_CLOSED: Final = (None, errno.EBADF, errno.EPIPE)
"""The errno of an OSError about a closed pipe; multiprocessing also raises one without an errno."""

_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_hiding: Final = threading.Lock()
_hidden: Final = list[dict[str, Any]]()  # for each block that hides the main module, the attributes to restore

_STOP_SECONDS: Final = 2.0  # for the seed that a process trains when the sweep stops


def start_server(*modules: str) -> "BaseContext":
    """Start the process that workers are forked from, unless it runs already. Return the context that starts processes.

    The function returns at once; the server imports meanwhile. The server starts with SIGINT blocked, and so do the
    processes forked from it: Ctrl-C reaches the whole group of a terminal, and only the parent handles it. If no server
    can be started (no forkserver on this platform, no room for its socket, a path too long for one), processes are
    spawned.

    Args:
        modules: the names of modules that workers need beside the library's own.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    multiprocessing.resource_tracker.ensure_running()  # first: whoever starts it unblocks SIGINT again
    server = multiprocessing.forkserver
    try:
        with _interrupts_deferred():
            server.set_forkserver_preload([_PRELOADED, *modules])
            server.ensure_running()
    except OSError:
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")


def start_worker(
    stop: StopSignal, templates: Sequence[Template], environment: Mapping[str, str], gpus: int = 1
) -> None:
    """Prepare a worker process: leave Ctrl-C to the parent, and end with the parent or when the parent stops the pool.

    Without this, a process whose parent was killed by SIGKILL would wait for work forever.

    Args:
        stop: the signal of the parent after which no spec is begun. A spec that takes seconds longer is cut short.
        templates: the templates of the models, see `make_chunk_templates`.
        environment: the environment variables of the parent now; the server may have been started with others.
        gpus: the number of GPUs among which the processes of the pool are divided: each sees one, as `cuda:0`.
    """
    gc.freeze()  # a collection would otherwise copy every page that this process shares with the server
    gc.enable()
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    if gpus > 1:
        os.environ[_VISIBLE] = _own_gpu(gpus)
    from paramshare.training.export.archives import adopt_templates

    adopt_stop_signal(stop)
    adopt_templates(templates)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_after(stop.wait, _STOP_SECONDS, name="end-when-stopped")
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_after(parent.join, 0, name="end-with-parent")


def _own_gpu(gpus: int) -> str:
    """Return the GPU of this process, as `CUDA_VISIBLE_DEVICES` has it: its parent's processes take turns.

    `multiprocessing` numbers the processes of a parent by their names, such as `ForkServerProcess-3`.
    """
    visible = os.environ.get(_VISIBLE, "")
    names = visible.split(",") if visible else [str(index) for index in range(gpus)]
    number = int(multiprocessing.current_process().name.rpartition("-")[2].rpartition(":")[2])
    return names[number % gpus]


def worker_arguments(stop: StopSignal, templates: Sequence[Template], gpus: int = 1) -> tuple[Any, ...]:
    """Return the arguments of `start_worker` for processes that this process starts."""
    return stop, templates, dict(os.environ), gpus


@contextmanager
def starting_processes() -> Iterator[None]:
    """Defer signals while a chunk is submitted to a pool, which starts its processes; hide the main module from them.

    If a process of the pool is killed meanwhile, the pool closes its pipes while `submit` uses them.

    Raises:
        BrokenProcessPool: the pipes of the pool were closed.
    """
    with _interrupts_deferred(), _main_module_hidden():
        try:
            yield
        except OSError as error:
            if error.errno not in _CLOSED:
                raise
            raise BrokenProcessPool("a process ended while others were started") from error


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Hide the file of the main module until the end of the block.

    A process that starts would import it, so that a script without `if __name__ == "__main__"` would train in every
    worker. Workers load what they need from the specs. Blocks of several threads can overlap: Prefect starts processes
    in threads of its own.
    """
    main = sys.modules["__main__"]
    with _hiding:
        shown: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
        _hidden.append(_hidden[0] if _hidden else shown)
        vars(main).update(dict.fromkeys(_hidden[0]))
    try:
        yield
    finally:
        with _hiding:
            names = _hidden.pop()
            if not _hidden:
                vars(main).update(names)


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Defer SIGINT and SIGTERM while processes start, until the end of the block.

    An exception between the start of a worker and the pool's record of it would leave a worker that no process ends;
    the worker would find the pool's semaphores removed, and print a traceback. SIGINT is blocked as well, since a
    spawned process inherits that: it would print a traceback for a SIGINT that arrives before `start_worker`.
    """
    with signals_deferred():
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
