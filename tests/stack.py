"""A real Prefect server that can be killed and started again, and real workers beside it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from program import clean_environment, free_port

ROOT = Path(__file__).parents[1]
PATIENCE = 600.0  # seconds for anything that must happen, on a machine that others use, too


def wait_until(met: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
    """What `met` gives as soon as it is true."""
    deadline = time.monotonic() + within
    while not (found := met()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.2)
    return found


class PrefectServer:
    """A server with its database in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For a client of it."""
        return {**clean_environment(self.home / "client"), "PREFECT_API_URL": self.url}

    def start(self) -> None:
        self.home.mkdir(exist_ok=True)
        environment = {
            **clean_environment(self.home),
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_UI_ENABLED": "false",
        }
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.answers, (self.home / "server.log").read_text)

    def answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
            return True
        return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._process.wait(PATIENCE)

    def stop(self) -> None:
        """So that nothing is lost, and surely."""
        try:
            self.kill(signal.SIGTERM)
        finally:
            self.kill()

    def ask(self, path: str, body: object = None, method: str | None = None) -> Any:
        """The answer to a request, from its JSON. A server on SQLite that is busy says so, and is asked again."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    content = answer.read()
                return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def refused(self, path: str, body: object) -> tuple[int, str]:
        """The status and the words with which a request is refused."""
        try:
            answer = self.ask(path, body)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        raise AssertionError(f"not refused: {answer}")

    def deployments(self) -> dict[str, Any]:
        flows = {flow["id"]: flow["name"] for flow in self.ask("flows/filter", {})}
        return {f"{flows[one['flow_id']]}/{one['name']}": one for one in self.ask("deployments/filter", {})}

    def start_run(self, deployment: str, spec: dict[str, Any]) -> str:
        """Start a deployment as a person does; the flow run's id."""
        found = self.ask(f"deployments/name/{deployment}")
        return str(self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": {"spec": spec}})["id"])

    def run(self, run_id: str) -> Any:
        return self.ask(f"flow_runs/{run_id}")

    def state(self, run_id: str) -> str:
        return str(self.run(run_id)["state_name"])

    def history(self, run_id: str) -> list[str]:
        """The names of a run's states, in time."""
        return [state["name"] for state in self.ask(f"flow_run_states/?flow_run_id={run_id}")]


@contextmanager
def prefect_server(home: Path) -> Iterator[PrefectServer]:
    server = PrefectServer(home)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def register(server: PrefectServer, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paramshare.flows.register"],
        env={**server.environment, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


class Worker:
    """A worker of a folder, as a program of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.log = folder / "worker.log"
        with self.log.open("ab") as log:
            given = (*(arguments or ("--pool", "cpu")), f"--health-port={self.port}")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paramshare.flows.worker", *given],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def health(self) -> int:
        """The status that its health page answers with; 0 where nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def flows(self) -> list[int]:
        """The flow processes that workers of this folder have started, whoever their parents are now."""
        from paramshare.processes import orphans

        return sorted(orphans([file.read_text() for file in (self.folder / "mlruns" / "workers").glob("*")]))

    def kill(self) -> None:
        """Kill it and everything that it has started, at once."""
        flows = self.flows()
        for pid in [self.process.pid, *_children(self.process.pid), *flows]:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        wait_until(lambda: not self.flows(), "no flow of a killed worker is there")

    def stop(self) -> None:
        """End it, whatever it takes."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(120)
        self.kill()


def _children(pid: int) -> set[int]:
    from paramshare.processes import children

    return children(pid)


@contextmanager
def worker(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[Worker]:
    started = Worker(folder, environment, *arguments)
    try:
        yield started
    finally:
        started.stop()
