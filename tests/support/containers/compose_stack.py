"""The stack, brought up for real from the images that are there: under a project's name, ports, secrets and backups of
its own, from a copy of the sources. It ends with its containers, networks and volumes.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

from httpx import TransportError
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectHTTPStatusError

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import Store, StoreAddress, open_store
from support import ROOT
from support.command_line import SIZES
from support.ports import free_port
from support.tracking.sweep_checks import check_parent, check_runs, trained
from support.waiting import wait_until

IMAGE, MLFLOW_IMAGE = f"paramshare:{version('paramshare')}-cpu", f"paramshare-mlflow:{version('paramshare')}"
IMAGES = (IMAGE, MLFLOW_IMAGE, "postgres:17")
SERVICES = ("postgres", "mlflow", "prefect", "worker")
KILL = """
import os, sys, time
for pid in sys.argv[1:]:
    os.kill(int(pid), 9)
    time.sleep(1)
"""
PATIENCE = 900.0  # seconds that anything may take: a minute is usual, a busy machine takes many


def why_no_stack() -> str | None:
    """Return why no stack can be started here; None if one can."""
    if not shutil.which("docker"):
        return "no docker here"
    for image in IMAGES:
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode:
            return f"no engine that has the image {image} answers: `make image VARIANT=cpu` makes ours"
    return None


@dataclass
class Stack:
    """A running stack.

    Args:
        folder: a copy of the sources, in which every command is run.
        project: compose's name for it.
    """

    folder: Path
    project: str
    settings: dict[str, str] = field(default_factory=dict)
    mlflow_port: int = field(default_factory=free_port)
    prefect_port: int = field(default_factory=free_port)

    @property
    def host(self) -> str:
        """Return the address on which the stack is published."""
        return self.settings.get("STACK_BIND", "127.0.0.1")

    @property
    def mlflow(self) -> str:
        """Return the address of MLflow for a browser or a client outside of the stack."""
        return f"http://{self.host}:{self.mlflow_port}"

    @property
    def prefect(self) -> str:
        """Return the address of Prefect's pages."""
        return f"http://{self.host}:{self.prefect_port}"

    @property
    def auth(self) -> str | None:
        """Return the user and password of Prefect's API, if it requires them."""
        return self.secret("prefect_auth") if self.settings.get("STACK_PREFECT_PASSWORD") == "on" else None

    @property
    def tracking_uri(self) -> str:
        """Return the address of MLflow for a client, with the password if it requires one."""
        if self.settings.get("STACK_MLFLOW_PASSWORD") != "on":
            return self.mlflow
        return self.mlflow.replace("//", f"//admin:{self.secret('mlflow_admin_password')}@")

    def secret(self, name: str) -> str:
        """Return a secret that `make secrets` has created."""
        return (self.folder / "docker" / "secrets" / name).read_text()

    def run(self, *command: str, **settings: str) -> str:
        """Run a command in the stack's folder, and return its stdout."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("STACK_", "COMPOSE_"))}
        own = {
            "COMPOSE_PROJECT_NAME": self.project,
            "STACK_MLFLOW_PORT": str(self.mlflow_port),
            "STACK_PREFECT_PORT": str(self.prefect_port),
            "STACK_TORCH": "cpu",
            "STACK_WORKER_MEMORY": "4g",
        }
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**kept, **own, **self.settings, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def compose(self, *arguments: str, **settings: str) -> str:
        """Run `docker compose`."""
        return self.run("docker", "compose", *arguments, **settings)

    def up(self, *services: str, **settings: str) -> None:
        """Start the stack, or the given services, and wait until it is healthy."""
        try:
            self.compose("up", "--detach", "--wait", "--no-build", *services, **settings)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('logs', '--tail=30')[-6000:]}") from None

    def down(self, *options: str) -> None:
        """Remove its containers and networks."""
        self.compose("--profile", "*", "down", "--timeout", "60", "--remove-orphans", *options)

    def container(self, service: str) -> dict[str, Any]:
        """Return the engine's description of the container of a service."""
        (name,) = self.compose("--profile", "*", "ps", "--all", "--quiet", service).split()
        return dict(json.loads(self.run("docker", "inspect", name))[0])

    def inside(self, service: str, *command: str) -> str:
        """Run a command in the container of a service, and return its stdout."""
        return self.compose("exec", "-T", service, *command)

    def kill(self, *services: str) -> None:
        """Kill the first process of each service, a second apart, and wait until the engine has restarted all of them.

        The processes are killed by their ids, since the engine restarts nothing after `docker kill`.
        """
        killer = [
            "docker",
            "run",
            "--rm",
            "--pid=host",
            "--network=none",
            "--user=0",
            "--cap-drop=ALL",
            "--cap-add=KILL",
        ]
        before = {service: self.container(service) for service in services}
        pids = [str(container["State"]["Pid"]) for container in before.values()]
        self.run(*killer, "--entrypoint=python3", MLFLOW_IMAGE, "-c", KILL, *pids)

        def started(service: str) -> bool:
            now = self.container(service)
            return now["RestartCount"] > before[service]["RestartCount"] and now["State"]["Running"]

        event = f"{', '.join(services)}: started again"
        wait_until(lambda: all(started(service) for service in services) or None, event, PATIENCE, 0.5)

    def query(self, database: str, sql: str) -> list[str]:
        """Return the rows of an SQL query, without the servers."""
        psql = [
            "psql",
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--host=/tmp",
            "--username=postgres",
            f"--dbname={database}",
        ]
        return self.inside("postgres", *psql, f"--command={sql}").split()

    def finished(self, experiment: str) -> int:
        """Count the FINISHED runs of seeds of an experiment."""
        sql = (
            "SELECT count(*) FROM runs JOIN experiments USING (experiment_id) JOIN tags USING (run_uuid) "
            f"WHERE experiments.name = '{experiment}' AND runs.status = 'FINISHED' "
            "AND tags.key = 'paramshare.kind' AND tags.value = 'seed'"
        )
        return int(self.query("mlflow", sql)[0])

    def store(self, experiment: str) -> Store:
        """Open MLflow as a client outside of the stack."""
        return open_store(StoreAddress(self.tracking_uri, experiment))

    @contextmanager
    def client(self, auth: str | None = None) -> Iterator[SyncPrefectClient]:
        """A client of Prefect's API, as a laptop has it; with the password that it asks for unless another is given."""
        with SyncPrefectClient(f"{self.prefect}/api", auth_string=auth or self.auth) as client:
            yield client

    def start_flow(self, deployment: str, spec: dict[str, Any]) -> UUID:
        """Ask Prefect's API for a run of a deployment."""
        with self.client() as client:
            found = client.read_deployment_by_name(deployment)
            return client.create_flow_run_from_deployment(found.id, parameters={"spec": spec}).id

    def ended(self, flow_run: UUID) -> FlowRun:
        """Wait for the end of a flow run, and return it."""

        def look() -> FlowRun | None:
            try:
                with self.client() as client:
                    found = client.read_flow_run(flow_run)
            except PrefectHTTPStatusError as error:
                if error.response.status_code < 500:
                    raise
                return None  # Prefect is there, its database is not
            except TransportError:  # nor is Prefect yet
                return None
            return found if found.state and found.state.is_final() else None

        return wait_until(look, f"the flow run {flow_run} has ended", PATIENCE, 1)


def copy_sources(folder: Path) -> None:
    """Copy the files that git knows or would know."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)


@contextmanager
def running_stack(folder: Path, project: str) -> Iterator[Stack]:
    """Make a copy of the sources and secrets, bring the stack up; at the end take all away."""
    copy_sources(folder)
    stack = Stack(folder, project)
    stack.run("make", "secrets")
    try:
        stack.up()
        yield stack
    finally:
        stack.down("--volumes")


def spec_of(experiment: str, seeds: int) -> dict[str, object]:
    return {**SIZES, "seeds": f"0:{seeds}", "devices": "cpu", "experiment": experiment}


def check_sweep(stack: Stack, experiment: str, seeds: int) -> None:
    """Check that each seed has one FINISHED run with the bits of this machine, and that the parent is complete."""
    specs = SweepSpec.model_validate(spec_of(experiment, seeds)).train_specs(("cpu",))
    store = stack.store(experiment)
    check_parent(store, list(check_runs(store, trained(specs)).values()))


def request(
    port: int, method: str, path: str, headers: dict[str, str], body: str | None = None, host: str = "127.0.0.1"
) -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
