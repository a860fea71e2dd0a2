"""A Dask cluster in place of this machine's processes: Prefect's own task runner, on a scheduler that a setting names.

Before anything is trained, every worker is asked what it has in common with this process: the versions, the store,
Prefect's API. What would give other numbers or fail later is refused in a line.

Dask hands the chunks of a lost worker to others; `paramshare.sweep.elsewhere` sees to it that nothing is trained twice.
A chunk that nobody wants any more, as its sweep was told to end or has died, ends before it writes the next run.

Dask is an optional extra, so it is imported only where it is used.
"""

import logging
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from prefect import Task
from prefect.client.schemas.objects import State
from prefect.futures import as_completed

from paramshare.errors import ServerError, UsageError, WorkerError
from paramshare.flows.ends import rows_of
from paramshare.sweep.chunks import Chunk, Row
from paramshare.sweep.elsewhere import Kit, Place, deliver_here, different
from paramshare.tracking.store import StoreAddress, redacted
from paramshare.training.devices import Device

if TYPE_CHECKING:
    from distributed import Client, Future, Worker

__all__ = ["Cluster", "find_cluster", "unwanted"]

_INSTALL: Final = "pip install --no-deps --require-hashes -r requirements-dask.lock"
_CONNECT_SECONDS: Final = 10.0
_API_SECONDS: Final = 5.0
_END_SECONDS: Final = 10.0  # the most that chunks in hand are waited for
_GPU: Final = "GPU"  # the resource that a worker says it has, by Dask's own examples


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Dask cluster as it was found.

    Args:
        scheduler: its address.
        devices: those that a sweep can train on there.
        slots: how many chunks can run at once on each, by its name.
    """

    scheduler: str
    devices: tuple[Device, ...]
    slots: Mapping[str, int]

    def rows(self, task: Task[Any, State[list[Row]]], chunks: Sequence[Chunk]) -> Generator[Row, None, None]:
        """Run `task` for each chunk on the cluster, and yield the rows of each as it ends.

        Args:
            task: takes a chunk and the kit of all.

        Raises:
            WorkerError: the workers of one chunk were lost again and again.
            ServerError: the scheduler was lost.
        """
        from prefect_dask import DaskTaskRunner

        if not chunks:
            return
        kit = Kit.of(chunks)
        with _quiet(), DaskTaskRunner(address=self.scheduler, client_kwargs={"timeout": _CONNECT_SECONDS}) as runner:
            futures = []
            try:
                with _losses(self.scheduler):
                    for device, queue in groupby(chunks, key=lambda chunk: chunk.device):
                        with _needs(device):
                            futures += [runner.submit(task, {"chunk": chunk, "kit": kit}) for chunk in queue]
                    for future in as_completed(list(futures)):
                        yield from rows_of(future)
            finally:
                _end(runner.client, [future.wrapped_future for future in futures])

    def deliver(self, address: StoreAddress) -> None:
        """Let every worker deliver what it has kept for the store, if the store takes it now."""
        if address.database is None:
            with _client(self.scheduler) as client:
                client.run(deliver_here, address, on_error="ignore")


def find_cluster(scheduler: str, address: StoreAddress, api: str = "") -> Cluster:
    """Look at the cluster whose scheduler is at `scheduler`, and at each of its workers. Writes nothing.

    Args:
        scheduler: such as `tcp://10.0.0.1:8786`.
        address: the store, which every worker must reach.
        api: the address of Prefect's API, which every worker must reach, too, if it is known already.

    Raises:
        UsageError: Dask is not installed here, or a worker cannot train what this process would.
        ServerError: the scheduler does not answer, or has no worker.
    """
    if find_spec("prefect_dask") is None:
        raise UsageError(f"a Dask cluster needs the extra `dask`, which is not installed here: {_INSTALL}")
    start = f"`dask worker {scheduler} --nworkers N --nthreads 1`"
    with _client(scheduler) as client:
        workers: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise ServerError(f"the Dask scheduler at {scheduler} has no worker; start some with {start}")
        for name, worker in workers.items():
            if worker["nthreads"] != 1:
                raise UsageError(
                    f"the Dask worker {name} has {worker['nthreads']} threads; a training needs a process of its own: "
                    f"start workers with {start}, N being how many shall train at once"
                )
        looks = client.run(_look, address, api, on_error="return")
    here = Place.here(address)
    for name, look in looks.items():
        _check(name, look, here, address)
    gpus = [name for name, worker in workers.items() if worker["resources"].get(_GPU, 0) >= 1 and name in looks]
    for name in gpus:
        if "cuda:0" not in looks[name][0].devices:
            raise UsageError(f"the Dask worker {name} was started with {_GPU}=1, and torch sees no GPU there")
    devices = [Device("cpu", "the workers' own", "always there")]
    devices += [Device("cuda:0", "the workers' own", f"workers were started with {_GPU}=1")] if gpus else []
    return Cluster(scheduler, tuple(devices), {"cpu": len(looks), "cuda:0": len(gpus)})


def unwanted() -> Callable[[], bool]:
    """On a Dask worker, in a task: what tells whether its result is wanted no longer.

    It is where the sweep has cancelled it, where the sweep's process is gone, and where this worker was taken for lost.
    """
    from distributed import get_worker

    worker: Worker = get_worker()
    key = worker.get_current_task()

    def is_unwanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state != "executing"

    return is_unwanted


def _look(address: StoreAddress, api: str) -> tuple[Place, str]:
    """On a worker: what it is, and why Prefect's API does not answer there."""
    return Place.here(address), _no_answer(api) if api else ""


def _no_answer(api: str) -> str:
    try:
        with urllib.request.urlopen(f"{api.rstrip('/')}/health", timeout=_API_SECONDS):  # noqa: S310 - Prefect's own
            return ""
    except urllib.error.HTTPError:  # it is there, and wants a password that Prefect's client has
        return ""
    except OSError as error:
        return str(getattr(error, "reason", error))


def _check(name: str, look: tuple[Place, str] | Exception, here: Place, address: StoreAddress) -> None:
    """Refuse a worker that would not do what this process would.

    Raises:
        UsageError: and why.
    """
    if isinstance(look, Exception):
        raise UsageError(
            f"the Dask worker {name} cannot run paramshare ({type(look).__name__}: {look}); install the same version "
            "there, and start it anew"
        )
    place, no_api = look
    if wrong := different(place.versions, here.versions):
        raise UsageError(f"the Dask worker {name} has {wrong}; install the same lock files on every machine")
    if place.disk != here.disk:
        raise UsageError(
            f"the Dask worker {name} does not share the file {address.database} with this process, as it must on one "
            "machine; for workers elsewhere start an MLflow server and set PARAMSHARE_TRACKING_URI"
        )
    if place.trouble:
        raise UsageError(f"at the Dask worker {name}: {place.trouble}")
    if no_api:
        raise UsageError(
            f"Prefect's API does not answer at the Dask worker {name} ({no_api}); start a server that every machine "
            "reaches, and set PREFECT_API_URL to its address"
        )


@contextmanager
def _client(scheduler: str) -> Iterator["Client"]:
    """A client of the scheduler while the block runs.

    Raises:
        ServerError: there is none.
    """
    from distributed import Client

    with _quiet():
        try:
            client = Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ServerError(
                f"no Dask scheduler answers at {redacted(scheduler)}; start one with `dask scheduler`, or leave "
                "PARAMSHARE_DASK_SCHEDULER out to train on this machine"
            ) from error
        with client:
            yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask reports each connection that it loses, and versions that differ; what matters of both is said here."""
    import distributed  # noqa: F401 - sets the levels of its loggers

    loggers = [logging.getLogger(f"distributed{part}") for part in ("", ".client", ".comm", ".core", ".utils")]
    former = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            yield
    finally:
        for logger, level in zip(loggers, former, strict=True):
            logger.setLevel(level)


@contextmanager
def _losses(scheduler: str) -> Iterator[None]:
    """Say in one line what of the cluster was lost.

    Raises:
        WorkerError, ServerError: as of `Cluster.rows`.
    """
    from concurrent.futures import CancelledError

    from distributed import CancelledError as DaskCancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    resume = "finished runs are kept; rerun the command to resume"
    try:
        yield
    except KilledWorker as error:
        raise WorkerError(f"the Dask workers of one chunk were lost one after the other; {resume}") from error
    except (CancelledError, DaskCancelledError, CommClosedError) as error:
        raise ServerError(f"the Dask scheduler at {scheduler} was lost; {resume}") from error


def _needs(device: str) -> AbstractContextManager[object]:
    """What is submitted in this block goes to workers that have the device, one at a time each."""
    import dask

    return dask.annotate(resources={_GPU: 1}) if device.startswith("cuda") else nullcontext()


def _end(client: "Client", futures: Sequence["Future[Any]"]) -> None:
    """Want none of the chunks any more, and wait for those in hand to end; a seed that takes longer is not written."""
    keys = [future.key for future in futures if not future.done()]
    if not keys or client.status != "running":
        return
    client.cancel([future for future in futures if future.key in keys])
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline and any(client.run(_at_work, keys, on_error="ignore").values()):
        time.sleep(0.2)


def _at_work(keys: Sequence[str], dask_worker: "Worker") -> bool:
    """On a worker: whether it still has one of these in hand."""
    return any(task.key in keys for task in dask_worker.state.executing)
