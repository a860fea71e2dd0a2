"""A Dask cluster in place of this machine's processes: Prefect's task runner for Dask, on a configured scheduler.

Before training starts, the versions, the store and the Prefect API of every worker are compared with those of this
process. A worker that would give other numbers or fail later is refused in one line.

Dask moves the chunks of a lost worker to other workers; `paramshare.sweep.workers.remote` resumes them, so that nothing
is trained twice. A chunk whose sweep has ended stops before it writes the next run.

Dask is an optional extra, so it is imported only in the functions that use it.
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
from paramshare.flows.tasks.states import rows_of
from paramshare.sweep.chunks import Chunk, Row
from paramshare.sweep.workers.remote import WorkerInfo, WorkerPayload, deliver_spool, describe_differences
from paramshare.tracking.store import StoreAddress, redacted
from paramshare.training.environment.devices import Device

if TYPE_CHECKING:
    from distributed import Client, Future, Worker

__all__ = ["Cluster", "find_cluster", "result_is_unwanted"]

_INSTALL: Final = "pip install --no-deps --require-hashes -r requirements-dask.lock"
_CONNECT_SECONDS: Final = 10.0
_API_SECONDS: Final = 5.0
_END_SECONDS: Final = 10.0  # maximum wait for running chunks when the sweep ends
_GPU: Final = "GPU"  # the resource of a worker with a GPU, named as in Dask's examples


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Dask cluster whose workers were checked.

    Args:
        scheduler: the address of the scheduler.
        devices: the devices of the workers.
        max_workers: maximum number of chunks that run at the same time on each device, by its name.
    """

    scheduler: str
    devices: tuple[Device, ...]
    max_workers: Mapping[str, int]

    def rows(self, task: Task[Any, State[list[Row]]], chunks: Sequence[Chunk]) -> Generator[Row, None, None]:
        """Run a task for each chunk on the cluster, and yield the rows of each as it ends.

        Args:
            task: the task that runs a chunk with the payload of all chunks.

        Raises:
            WorkerError: several workers of one chunk were lost.
            ServerError: the scheduler was lost.
        """
        from prefect_dask import DaskTaskRunner

        if not chunks:
            return
        payload = WorkerPayload.of(chunks)
        with _quiet(), DaskTaskRunner(address=self.scheduler, client_kwargs={"timeout": _CONNECT_SECONDS}) as runner:
            futures = []
            try:
                with _losses(self.scheduler):
                    for device, queue in groupby(chunks, key=lambda chunk: chunk.device):
                        with _needs(device):
                            futures += [runner.submit(task, {"chunk": chunk, "payload": payload}) for chunk in queue]
                    for future in as_completed(list(futures)):
                        yield from rows_of(future)
            finally:
                _end(runner.client, [future.wrapped_future for future in futures])

    def deliver(self, address: StoreAddress) -> None:
        """Deliver the spools of all workers to the store, as far as the store accepts them now."""
        if address.database is None:
            with _client(self.scheduler) as client:
                client.run(deliver_spool, address, on_error="ignore")


def find_cluster(scheduler: str, address: StoreAddress, api: str = "") -> Cluster:
    """Return the cluster of a scheduler after a check of each worker. Nothing is written.

    Args:
        scheduler: the address of the scheduler, such as `tcp://10.0.0.1:8786`.
        address: the store, which every worker must reach.
        api: the address of Prefect's API, which every worker must reach; empty if it is not known yet.

    Raises:
        UsageError: Dask is not installed here, or a worker would not train as this process does.
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
                    f"start workers with {start}, where N is the number of trainings at the same time"
                )
        reports = client.run(_report, address, api, on_error="return")
    own = WorkerInfo.of_this_process(address)
    for name, report in reports.items():
        _check(name, report, own, address)
    gpus = [name for name, worker in workers.items() if worker["resources"].get(_GPU, 0) >= 1 and name in reports]
    for name in gpus:
        if "cuda:0" not in reports[name][0].devices:
            raise UsageError(f"the Dask worker {name} was started with {_GPU}=1, and torch sees no GPU there")
    devices = [Device("cpu", "the workers' own", "always there")]
    devices += [Device("cuda:0", "the workers' own", f"workers were started with {_GPU}=1")] if gpus else []
    return Cluster(scheduler, tuple(devices), {"cpu": len(reports), "cuda:0": len(gpus)})


def result_is_unwanted() -> Callable[[], bool]:
    """Return a function that tells whether the result of the current Dask task is no longer needed.

    It is no longer needed if the sweep has cancelled the task, if the process of the sweep has ended, or if the
    scheduler has given up this worker.
    """
    from distributed import get_worker

    worker: Worker = get_worker()
    key = worker.get_current_task()

    def is_unwanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state != "executing"

    return is_unwanted


def _report(address: StoreAddress, api: str) -> tuple[WorkerInfo, str]:
    """Return, on a worker, its properties and the error of Prefect's API there; empty if the API answers."""
    return WorkerInfo.of_this_process(address), _api_error(api) if api else ""


def _api_error(api: str) -> str:
    try:
        with urllib.request.urlopen(f"{api.rstrip('/')}/health", timeout=_API_SECONDS):  # noqa: S310 - the address of Prefect's API
            return ""
    except urllib.error.HTTPError:  # it is there, and wants a password that Prefect's client has
        return ""
    except OSError as error:
        return str(getattr(error, "reason", error))


def _check(name: str, report: tuple[WorkerInfo, str] | Exception, own: WorkerInfo, address: StoreAddress) -> None:
    """Check that a worker would train as this process does.

    Args:
        name: the name of the worker.
        report: the result of `_report` there, or the exception that it raised.
        own: the properties of this process.

    Raises:
        UsageError: the worker would not, and why.
    """
    if isinstance(report, Exception):
        raise UsageError(
            f"the Dask worker {name} cannot run paramshare ({type(report).__name__}: {report}); install the same "
            "version there and restart the worker"
        )
    info, api_error = report
    if differences := describe_differences(info.versions, own.versions):
        raise UsageError(f"the Dask worker {name} has {differences}; install the same lock files on every machine")
    if info.disk != own.disk:
        raise UsageError(
            f"the Dask worker {name} does not share the file {address.database} with this process; for workers on "
            "other machines start an MLflow server and set PARAMSHARE_TRACKING_URI"
        )
    if info.store_error:
        raise UsageError(f"at the Dask worker {name}: {info.store_error}")
    if api_error:
        raise UsageError(
            f"Prefect's API does not answer at the Dask worker {name} ({api_error}); start a server that every machine "
            "reaches and set PREFECT_API_URL to its address"
        )


@contextmanager
def _client(scheduler: str) -> Iterator["Client"]:
    """Connect to the scheduler while the block runs.

    Raises:
        ServerError: no scheduler answers.
    """
    from distributed import Client

    with _quiet():
        try:
            client = Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ServerError(
                f"no Dask scheduler answers at {redacted(scheduler)}; start one with `dask scheduler`, or unset "
                "PARAMSHARE_DASK_SCHEDULER to train on this machine"
            ) from error
        with client:
            yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask's reports of lost connections and different versions; this module reports the relevant ones."""
    import distributed  # noqa: F401 - sets the levels of its loggers

    names = [f"distributed{part}" for part in ("", ".client", ".comm", ".core", ".utils")]
    names.append("prefect.task_runner.dask")  # names a dashboard, even if the scheduler has none
    loggers = [logging.getLogger(name) for name in names]
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
    """Raise an error of one line for a loss of workers or of the scheduler.

    Raises:
        WorkerError, ServerError: see `Cluster.rows`.
    """
    from concurrent.futures import CancelledError

    from distributed import CancelledError as DaskCancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    resume = "finished runs are kept; rerun the command to resume"
    try:
        yield
    except KilledWorker as error:
        raise WorkerError(f"several Dask workers of one chunk were lost; {resume}") from error
    except (CancelledError, DaskCancelledError, CommClosedError) as error:
        raise ServerError(f"the Dask scheduler at {scheduler} was lost; {resume}") from error


def _needs(device: str) -> AbstractContextManager[object]:
    """Send the tasks that are submitted in the block to workers with the device, one task at a time for each."""
    import dask

    return dask.annotate(resources={_GPU: 1}) if device.startswith("cuda") else nullcontext()


def _end(client: "Client", futures: Sequence["Future[Any]"]) -> None:
    """Cancel all chunks and wait for the running ones to end. A seed that takes longer is not written."""
    keys = [future.key for future in futures if not future.done()]
    if not keys or client.status != "running":
        return
    client.cancel([future for future in futures if future.key in keys])
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline and any(client.run(_runs_any, keys, on_error="ignore").values()):
        time.sleep(0.2)


def _runs_any(keys: Sequence[str], dask_worker: "Worker") -> bool:
    """Return, on a worker, whether it runs one of the tasks."""
    return any(task.key in keys for task in dask_worker.state.executing)
