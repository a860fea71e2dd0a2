"""A worker: Prefect's own, one for a CPU or one for each GPU, so wrapped that no run is lost when it ends.

    python -m paramshare.flows.worker --pool cpu
    python -m paramshare.flows.worker --pool gpu

It needs PREFECT_API_URL and, for what it runs, PARAMSHARE_TRACKING_URI; so does one on any other machine.

What it adds to `prefect worker start`: told to end, it ends its flows first, which close their runs in MLflow, and has
Prefect schedule them anew. When it starts, it does so for what killed workers of the same folder have left; while it
runs, for its runs that have crashed, and for those of workers that have been silent for minutes. No process outlives
it, however it ends.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Final
from urllib.request import urlopen

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

from paramshare.errors import DeviceError, ParamshareError, SettingsError, UsageError, WorkerError, in_a_line
from paramshare.flows.api.server import check_api
from paramshare.flows.operations.deployments import check_versions
from paramshare.flows.operations.prefect_worker import GRACE
from paramshare.flows.operations.recovery import gone_workers, take_up_again
from paramshare.flows.operations.worker_names import Names, claimed_names
from paramshare.processes import children, end, kill, orphans, terminate

__all__ = ["main"]

_PREFECT_WORKER: Final = "paramshare.flows.operations.prefect_worker"
_NAMES: Final = Path("mlruns/workers")
_TELL: Final = 20.0  # seconds that telling Prefect of the end may take
_LEAVE: Final = 10.0  # seconds in which a Prefect worker without flows must have ended
_LOOK_EVERY: Final = 30.0
_STEADY: Final = 180.0  # seconds without an outage: before, others are silent only because Prefect was gone

# What a user has set wins. Eight retries ride out a server that is gone for 75 s.
_DEFAULTS: Final = {
    "DO_NOT_TRACK": "1",
    "PREFECT_CLIENT_MAX_RETRIES": "8",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
}

# The GPUs that CUDA shows, by the names under which one of them can be chosen.
_FIND_GPUS: Final = """
import os, torch
shown, count = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
print(",".join((shown.split(",") if shown else [str(one) for one in range(count)])[:count]))
"""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A worker of Prefect's.

    Args:
        name: by which Prefect knows it, and labels its runs.
        process: itself; its children are flows.
        port: of this machine alone, where it says whether it polls.
    """

    name: str
    process: subprocess.Popen[bytes]
    port: int

    @property
    def is_there(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def polls(self) -> bool:
        """Whether it asks for work."""
        with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/health", timeout=3) as answer:
            return self.is_there and answer.status == 200
        return False

    def flows(self) -> set[int]:
        """Its flows that have not ended."""
        return children(self.process.pid)


class Worker:
    """The Prefect workers of a pool on this machine, from the start of the first to the end of the last.

    Args:
        devices: for each worker what CUDA shows it.
        limit: runs at once of each.
    """

    def __init__(self, pool: str, devices: Sequence[str], limit: int, names: Names) -> None:
        self.stop = threading.Event()
        self._pool = pool
        self._devices = devices
        self._limit = limit
        self._names = names
        self._workers: list[Wrapped] = []
        self._looking = threading.Lock()
        self._steady_since: float | None = None

    def is_well(self) -> bool:
        """Whether every Prefect worker polls."""
        return len(self._workers) == len(self._devices) and all(one.polls for one in self._workers)

    def run(self) -> None:
        """Work until `stop` is set, and end everything truthfully then.

        Raises:
            WorkerError: a Prefect worker has ended by itself.
        """
        if not self._begin():
            return
        try:
            for name, device in zip(self._names.mine, self._devices, strict=True):
                self._workers.append(self._started(name, device))
            self._watch()
        finally:
            self._end()

    def _begin(self) -> bool:
        """Wait for Prefect, and take up what former workers have left; False where there was no time for it."""
        former = (*self._names.mine, *self._names.left)
        told: set[str] = set()
        while not self.stop.is_set():
            said, well = check_api()
            if well:
                try:
                    check_versions()
                    end(orphans(former), GRACE)
                    self._take_up(former)
                    self._names.release()
                    return True
                except SettingsError as error:
                    said = str(error)
                except Exception as error:  # whatever a server says that is just coming up
                    said = in_a_line(error)
            if said not in told:
                _say(f"waiting for Prefect: {said}")
                told.add(said)
            self.stop.wait(2)
        return False

    def _started(self, name: str, device: str) -> Wrapped:
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
            stdin=subprocess.PIPE,  # never written to: its end tells that this process is gone
            env=environment,
            start_new_session=True,  # a Ctrl-C is for this process, which ends the flows first
        )
        _say(f"{name} works for the pool {self._pool}{f' on GPU {device}' if device else ''}")
        return Wrapped(name, process, port)

    def _watch(self) -> None:
        """Until `stop`: see that all are there, and look for runs that were cut short."""
        next_look = time.monotonic() + _LOOK_EVERY
        while not self.stop.wait(0.5):
            for one in self._workers:
                if not one.is_there:
                    raise WorkerError(f"Prefect's worker {one.name} has ended by itself; see its output above")
            if time.monotonic() > next_look:
                next_look = time.monotonic() + _LOOK_EVERY
                threading.Thread(target=self._look, name="look", daemon=True).start()

    def _look(self) -> None:
        """Take up runs of ours that have crashed, and what workers elsewhere have left."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            now = time.monotonic()
            self._take_up((), elsewhere=self._steady_since is not None and now - self._steady_since > _STEADY)
            self._steady_since = self._steady_since or now
        except Exception:  # Prefect is gone: the next look will do
            self._steady_since = None
        finally:
            self._looking.release()

    def _take_up(self, former: Collection[str], *, elsewhere: bool = False) -> None:
        """Have runs that were cut short scheduled anew: of `former` workers, and of ours that crashed.

        Args:
            elsewhere: those of other machines' workers, too, where they are silent.
        """
        mine = {one.name for one in self._workers if one.is_there}
        running = {str(pid) for one in self._workers for pid in one.flows()}
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}), get_client(sync_client=True) as client:
            gone = {*former, *(gone_workers(client, self._pool, mine) if elsewhere else ())}
            for line in take_up_again(client, self._pool, gone, mine, running):
                _say(line)

    def _end(self) -> None:
        """End the flows first, then the workers; then have Prefect schedule anew what was cut short."""
        deadline = time.monotonic() + GRACE
        told: set[int] = set()
        while there := [one for one in self._workers if one.is_there]:
            for one in there:
                flows = one.flows()
                terminate((flows or {one.process.pid}) - told)  # a worker without flows could begin another
                told |= flows or {one.process.pid}
            if time.monotonic() > deadline:
                kill({pid for one in there for pid in one.flows()})
            if time.monotonic() > deadline + _LEAVE:
                kill({one.process.pid for one in there})
            time.sleep(0.1)
        end(orphans(self._names.mine), max(1.0, deadline - time.monotonic()))
        teller = threading.Thread(target=self._tell, name="tell", daemon=True)
        teller.start()
        teller.join(_TELL)

    def _tell(self) -> None:
        try:
            self._take_up(self._names.mine)
        except Exception as error:  # Prefect is gone: the next start does it
            _say(
                f"Prefect could not be told what was cut short; the next start of this worker does: {in_a_line(error)}"
            )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _health(port: int, is_well: Callable[[], bool]) -> Iterator[None]:
    """Answer `/health` on this machine alone: 200 if `is_well`, else 503."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/health"
            self.send_response((200 if is_well() else 503) if known else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Health)
    except OSError as error:
        _say(f"no health page on port {port}: {error}; choose another with --health-port")
        yield
        return
    with server:
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def _devices(pool: str, asked: str | None) -> list[str]:
    """For each Prefect worker what CUDA shows it: nothing for one of the CPU, a GPU for each of the others.

    Raises:
        DeviceError: there is no GPU.
    """
    if pool == "cpu":
        return [""]
    found = asked or subprocess.run([sys.executable, "-c", _FIND_GPUS], stdout=subprocess.PIPE, text=True).stdout
    devices = [device.strip() for device in found.split(",") if device.strip()]
    if not devices:
        raise DeviceError("a worker of the pool gpu needs a GPU and torch sees none: see `paramshare doctor`")
    return devices


def _say(line: str) -> None:
    sys.stderr.write(f"paramshare: {line}\n")
    sys.stderr.flush()


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m paramshare.flows.worker", description="Work for a pool of Prefect's."
    )
    parser.add_argument("--pool", required=True, choices=["cpu", "gpu"])
    parser.add_argument("--limit", type=int, default=1, help="runs at once; a sweep takes every core by itself")
    parser.add_argument("--devices", help="the GPUs, such as 0,1; all that are there unless given")
    parser.add_argument("--health-port", type=int, default=8080, help="of this machine alone, for GET /health")
    options = parser.parse_args(arguments)
    if options.limit < 1:
        parser.error("--limit must be 1 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Work until SIGTERM or SIGINT; the exit status."""
    options = _parsed(arguments)
    limit = 1 if options.pool == "gpu" else options.limit  # one run has all of a GPU's memory
    try:
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
            with _health(options.health_port, worker.is_well):
                worker.run()
    except (ParamshareError, OSError) as error:
        _say(str(error))
        return 2 if isinstance(error, UsageError) and not isinstance(error, DeviceError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
