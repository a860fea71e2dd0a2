"""A Prefect server that can be killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support import ROOT
from support.command_line import clean_environment
from support.ports import free_port
from support.waiting import PATIENCE, wait_until


class PrefectServer:
    """A server with its database in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment for a client of the server."""
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
        """Stop the server in order, or kill it."""
        try:
            self.kill(signal.SIGTERM)
        finally:
            self.kill()

    def ask(self, path: str, body: object = None, method: str | None = None) -> Any:
        """Send a request, and return its JSON answer. Repeat it while the server answers that SQLite is busy."""
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
        """Send a request that must be refused, and return the status and the text."""
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
        """Return the names of the states of a run in the order of time."""
        return [state["name"] for state in self.ask(f"flow_run_states/?flow_run_id={run_id}")]


@contextmanager
def running_prefect_server(home: Path) -> Iterator[PrefectServer]:
    server = PrefectServer(home)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def register(server: PrefectServer, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paramshare.flows.register"],
        env={**server.environment, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
    )
