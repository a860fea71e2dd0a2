"""A worker: a wrapper of Prefect's worker, one for the CPU or one for each GPU, that loses no run when it ends.

    python -m paramshare.flows.worker --pool cpu
    python -m paramshare.flows.worker --pool gpu

A worker needs PREFECT_API_URL, and its flows need PARAMSHARE_TRACKING_URI, on this machine as on any other.

When the worker is told to end, it ends its flows first, which close their runs in MLflow; then it schedules the
interrupted flow runs again. When it starts, it does the same for the runs of killed workers of its folder; while it
runs, for its own crashed runs and for the runs of workers without a heartbeat for minutes. No process outlives the
worker, however it ends.
"""

import argparse
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

from paramshare.errors import DeviceError, ParamshareError, SettingsError, UsageError, WorkerError, in_a_line
from paramshare.flows.api.server import check_api
from paramshare.flows.operations.deployments import check_versions
from paramshare.flows.operations.health import health_page
from paramshare.flows.operations.prefect_worker import GRACE
from paramshare.flows.operations.recovery import lost_workers, reschedule_interrupted
from paramshare.flows.operations.worker_names import WorkerNames, claimed_names
from paramshare.home import prepare_home
from paramshare.parser import Parser
from paramshare.processes import children, end, kill, orphans, terminate
from paramshare.progress_lines import no_foreign_bars

if TYPE_CHECKING:
    from paramshare.tracking.write.lost_sweeps import LostSweeps

__all__ = ["main"]

_log: Final = logging.getLogger(__name__)

_PREFECT_WORKER: Final = "paramshare.flows.operations.prefect_worker"
_NAMES: Final = Path("mlruns/workers")
_RESCHEDULE_SECONDS: Final = 20.0  # maximum, when the worker ends
_EXIT_SECONDS: Final = 10.0  # until a Prefect worker without flows is killed
_RECOVERY_INTERVAL: Final = 30.0  # seconds
_FIRST_RECOVERY: Final = 5.0  # seconds after the start: a lost sweep is watched for a minute before it is closed
_STEADY: Final = 180.0  # seconds without an outage: before, other workers are silent only because Prefect was down

# Settings of the user take precedence. Eight retries bridge an outage of a server of 75 s.
_DEFAULTS: Final = {
    "DO_NOT_TRACK": "1",
    "PREFECT_CLIENT_MAX_RETRIES": "8",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PYTHONWARNINGS": "ignore:Failed to create the Prefect home directory",  # a worker keeps nothing there
}

# The GPUs that CUDA shows, by the names that CUDA_VISIBLE_DEVICES accepts.
_FIND_GPUS: Final = """
import os, torch
shown, count = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
print(",".join((shown.split(",") if shown else [str(one) for one in range(count)])[:count]))
"""


@dataclass(frozen=True, slots=True)
class _PrefectWorker:
    """A running worker of Prefect.

    Args:
        name: the name in Prefect, which also labels its runs.
        process: the process of the worker; its children are flows.
        port: the port on this machine alone where it reports whether it polls.
    """

    name: str
    process: subprocess.Popen[bytes]
    port: int

    @property
    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self.process.poll() is None

    @property
    def polls(self) -> bool:
        """Return whether the worker asks Prefect for runs."""
        with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/health", timeout=3) as response:
            return self.is_running and response.status == 200
        return False

    def flows(self) -> set[int]:
        """Return the process ids of the flows that have not ended."""
        return children(self.process.pid)


class Worker:
    """The Prefect workers of a pool on this machine, from the start of the first to the end of the last.

    Args:
        devices: the CUDA_VISIBLE_DEVICES of each worker.
        limit: maximum number of runs at the same time of each worker.
        names: the names of the workers.
    """

    def __init__(self, pool: str, devices: Sequence[str], limit: int, names: WorkerNames) -> None:
        self.stop = threading.Event()
        self._pool = pool
        self._devices = devices
        self._limit = limit
        self._names = names
        self._workers: list[_PrefectWorker] = []
        self._recovering = threading.Lock()
        self._steady_since: float | None = None
        self._watched: LostSweeps | None = None

    def is_healthy(self) -> bool:
        """Return whether every Prefect worker asks for runs."""
        return len(self._workers) == len(self._devices) and all(worker.polls for worker in self._workers)

    def run(self) -> None:
        """Run until `stop` is set; then end the flows, close their runs and schedule them again.

        Raises:
            WorkerError: a Prefect worker ended unexpectedly.
        """
        if not self._begin():
            return
        try:
            for name, device in zip(self._names.own, self._devices, strict=True):
                self._workers.append(self._start(name, device))
            self._watch()
        finally:
            self._end()

    def _begin(self) -> bool:
        """Wait for Prefect, and schedule the runs of former workers again. Return False if `stop` was set before."""
        former = (*self._names.own, *self._names.orphaned)
        reported: set[str] = set()
        while not self.stop.is_set():
            status, works = check_api()
            if works:
                try:
                    check_versions()
                    end(orphans(former), GRACE)
                    self._reschedule(former)
                    self._names.release()
                    return True
                except SettingsError as error:
                    status = str(error)
                except Exception as error:  # any error of a server that is starting
                    status = in_a_line(error)
            if status not in reported:
                _report(f"waiting for Prefect: {status}")
                reported.add(status)
            self.stop.wait(2)
        return False

    def _start(self, name: str, device: str) -> _PrefectWorker:
        port = _free_port()
        environment = {
            **_DEFAULTS,
            **os.environ,
            "CUDA_VISIBLE_DEVICES": device,
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_WEBSERVER_PORT": str(port),
            "STACK_FOLDER": str(Path.cwd()),
        }
        options = ["--pool", self._pool, "--type", "process", "--name", name, "--limit", str(self._limit)]
        process = subprocess.Popen(
            [sys.executable, "-m", _PREFECT_WORKER, "worker", "start", *options, "--with-healthcheck"],
            stdin=subprocess.PIPE,  # without content: its end tells that this process has ended
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the flows first
        )
        _report(f"{name} runs for the pool {self._pool}{f' on GPU {device}' if device else ''}")
        return _PrefectWorker(name, process, port)

    def _watch(self) -> None:
        """Check until `stop` that all workers run, and reschedule interrupted runs at intervals."""
        next_recovery = time.monotonic() + _FIRST_RECOVERY
        while not self.stop.wait(0.5):
            for worker in self._workers:
                if not worker.is_running:
                    raise WorkerError(f"Prefect's worker {worker.name} ended unexpectedly; see its output above")
            if time.monotonic() > next_recovery:
                next_recovery = time.monotonic() + _RECOVERY_INTERVAL
                threading.Thread(target=self._recover, name="recover", daemon=True).start()

    def _recover(self) -> None:
        """Reschedule own crashed runs, and the runs of lost workers of other machines."""
        if not self._recovering.acquire(blocking=False):
            return
        try:
            now = time.monotonic()
            self._reschedule((), remote=self._steady_since is not None and now - self._steady_since > _STEADY)
            self._steady_since = self._steady_since or now
        except Exception:  # Prefect is down: the next recovery does it
            self._steady_since = None
        try:
            for line in self._lost_sweeps():
                _report(line)
        except Exception as error:  # MLflow is down: the next recovery does it
            _log.debug("lost sweeps are not closed: %s", in_a_line(error))
        finally:
            self._recovering.release()

    def _lost_sweeps(self) -> list[str]:
        """Close the sweeps of an MLflow server whose process is gone, in every experiment. Return a line for each."""
        from paramshare.settings import StoreSettings  # these take seconds, and starting does not need them
        from paramshare.tracking.store import StoreAddress
        from paramshare.tracking.write.lost_sweeps import LostSweeps

        settings = StoreSettings()
        address = StoreAddress.of(settings.tracking_uri, settings.experiment)
        if address.database is not None:
            return []  # the next sweep checks the processes of this machine
        self._watched = self._watched or LostSweeps(address)
        return self._watched.close()

    def _reschedule(self, former: Collection[str], *, remote: bool = False) -> None:
        """Reschedule the runs of former workers, and own crashed runs.

        Args:
            former: the names of workers that have ended.
            remote: whether to reschedule the runs of silent workers of other machines, too.
        """
        own = {worker.name for worker in self._workers if worker.is_running}
        running = {str(pid) for worker in self._workers for pid in worker.flows()}
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}), get_client(sync_client=True) as client:
            lost = {*former, *(lost_workers(client, self._pool, own) if remote else ())}
            for line in reschedule_interrupted(client, self._pool, lost, own, running):
                _report(line)

    def _end(self) -> None:
        """End the flows first, then the workers; then reschedule the interrupted runs."""
        deadline = time.monotonic() + GRACE
        terminated: set[int] = set()
        while running := [worker for worker in self._workers if worker.is_running]:
            for worker in running:
                flows = worker.flows()
                terminate((flows or {worker.process.pid}) - terminated)  # a worker without flows could begin another
                terminated |= flows or {worker.process.pid}
            if time.monotonic() > deadline:
                kill({pid for worker in running for pid in worker.flows()})
            if time.monotonic() > deadline + _EXIT_SECONDS:
                kill({worker.process.pid for worker in running})
            time.sleep(0.1)
        end(orphans(self._names.own), max(1.0, deadline - time.monotonic()))
        rescheduler = threading.Thread(target=self._reschedule_own, name="reschedule", daemon=True)
        rescheduler.start()
        rescheduler.join(_RESCHEDULE_SECONDS)

    def _reschedule_own(self) -> None:
        try:
            self._reschedule(self._names.own)
        except Exception as error:  # Prefect is down: the next start does it
            _report(f"interrupted runs are rescheduled at the next start of this worker: {in_a_line(error)}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _devices(pool: str, asked: str | None) -> list[str]:
    """Return the CUDA_VISIBLE_DEVICES of each Prefect worker: one without a GPU for the pool cpu, else one per GPU.

    Args:
        asked: the GPUs that the user asked for. Defaults to all GPUs.

    Raises:
        DeviceError: there is no GPU.
    """
    if pool == "cpu":
        return [""]
    gpus = asked or subprocess.run([sys.executable, "-c", _FIND_GPUS], stdout=subprocess.PIPE, text=True).stdout
    devices = [device.strip() for device in gpus.split(",") if device.strip()]
    if not devices:
        raise DeviceError("a worker of the pool gpu needs a GPU and torch finds none; see `paramshare doctor`")
    return devices


def _report(line: str) -> None:
    sys.stderr.write(f"paramshare: {line}\n")
    sys.stderr.flush()


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m paramshare.flows.worker", description="Run a worker of a Prefect work pool.", allow_abbrev=False
    )
    parser.add_argument("--pool", required=True, choices=["cpu", "gpu"])
    parser.add_argument(
        "--limit", type=int, default=1, help="maximum number of runs at the same time; one sweep uses every core"
    )
    parser.add_argument("--devices", help="the GPUs, such as 0,1; defaults to all GPUs")
    parser.add_argument("--health-port", type=int, default=8080, help="the port for GET /health, on this machine alone")
    options = parser.parse_args(arguments)
    if options.limit < 1:
        parser.error(f"--limit is {options.limit}; expected at least 1")
    if not 0 < options.health_port < 65536:
        parser.error(f"--health-port is {options.health_port}; expected a port from 1 to 65535")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, and return the exit code."""
    prepare_home()
    no_foreign_bars()
    try:
        options = _parsed(arguments)
        limit = 1 if options.pool == "gpu" else options.limit  # one run uses all of a GPU's memory
        if not get_current_settings().api.url:
            raise SettingsError(
                "a worker needs PREFECT_API_URL, the address of Prefect's API, such as http://host:4200/api"
            )
        devices = _devices(options.pool, options.devices)
        with claimed_names(_NAMES, options.pool, len(devices)) as names:
            worker = Worker(options.pool, devices, limit, names)

            def stop(_signum: int, _frame: FrameType | None) -> None:
                worker.stop.set()

            signal.signal(signal.SIGTERM, stop)
            signal.signal(signal.SIGINT, stop)
            with health_page(options.health_port, worker.is_healthy, _report):
                worker.run()
    except (ParamshareError, OSError) as error:
        _report(str(error))
        return 2 if isinstance(error, UsageError) and not isinstance(error, DeviceError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
