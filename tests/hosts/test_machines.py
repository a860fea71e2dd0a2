"""A sweep on several machines loses nothing with one of them: on a Dask cluster, whose other workers go on
with the chunks, and on Prefect workers, of which another takes the flow run up.

Each machine has a network, processes, a host name and a folder of its own; see `machines`. A machine is killed as a
whole, in the middle of training and writing.
"""

import json
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.training.result import Result
from support.command_line import PROGRAM, SIZES, clean_environment
from support.hosts.network_namespaces import HUB, Machine, network, why_no_namespaces
from support.tracking.sweep_checks import check_parent, check_runs, runs_of, trained
from support.waiting import PATIENCE, wait_until

if why := why_no_namespaces():
    pytest.skip(why, allow_module_level=True)
pytest.importorskip("prefect_dask", reason="the extra `dask` is not installed: make install-dev")

SEEDS = 40
SPEC = {**SIZES, "seeds": f"0:{SEEDS}", "variant": "shared,untied", "devices": "cpu"}
PLANNED = 2 * SEEDS
API = f"http://{HUB}:4200/api"
SCHEDULER = f"tcp://{HUB}:8786"


@dataclass
class Site:
    """The servers on the hub, and the settings of the machines around it."""

    machines: dict[str, Machine]
    environment: Mapping[str, str]
    store: Store
    scheduler: subprocess.Popen[bytes] | None = None

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start one of our Python programs on a machine."""
        own = {"PREFECT_HOME": str(self.machines[name].folder / "prefect-home")}
        return self.machines[name].start([sys.executable, *command], {**self.environment, **own})

    def dask_worker(self, name: str) -> None:
        """Start one Dask worker on a machine and wait for it."""
        before = self.machines["hub"].said().count("Register worker addr")
        options = ("--nworkers", "1", "--nthreads", "1", "--dashboard-address", ":0")
        self.start(name, "-m", "dask", "worker", SCHEDULER, *options)
        wait_until(lambda: self.machines["hub"].said().count("Register worker addr") > before, "the worker's start")

    def sweep(self, **given: object) -> subprocess.Popen[str]:
        """Start `paramshare flow sweep` on the hub, on the Dask cluster."""
        spec = SweepSpec.model_validate({**SPEC, **given}).model_dump(exclude_unset=True, exclude_none=True)
        spec |= spec.pop("options", {})  # of the recipe
        options = [f"--{key.replace('_', '-')}={value}" for key, value in spec.items() if key != "force"]
        options += ["--force"] if spec.get("force") else []
        return subprocess.Popen(
            [*PROGRAM, "flow", "sweep", "--json", *options, f"--dask-scheduler={SCHEDULER}"],
            cwd=self.machines["hub"].folder,
            env={**self.environment, "PREFECT_HOME": str(self.machines["hub"].folder / "prefect-home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def both_dask_workers(self) -> None:
        """Start a Dask worker on each machine that has none."""
        for name in "ab":
            if not self.machines[name].processes:
                self.dask_worker(name)

    def finished(self) -> int:
        return len(runs_of(self.store, "seed", "FINISHED"))

    def reach(self, count: int) -> None:
        wait_until(lambda: self.finished() >= count, f"{count} runs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Site]:
    """Start an MLflow server, a Prefect server and a Dask scheduler on the hub, with machines a and b around it."""
    folder = tmp_path_factory.mktemp("site")
    environment = {
        **clean_environment(folder),
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_API_URL": API,
        "PARAMSHARE_TRACKING_URI": f"http://{HUB}:5000",
    }
    with network(folder, ["a", "b"]) as machines:
        hub = machines["hub"]
        (hub.folder / "mlflow.db").write_bytes(migrated.read_bytes())
        site = Site(machines, environment, None)  # type: ignore[arg-type]
        site.scheduler = start_scheduler(site)
        mlflow = ["--backend-store-uri", f"sqlite:///{hub.folder / 'mlflow.db'}", "--workers", "1", "--host", HUB]
        mlflow += ["--artifacts-destination", str(hub.folder / "artifacts"), "--allowed-hosts", f"{HUB}:5000"]
        site.start("hub", "-m", "mlflow", "server", *mlflow, "--port", "5000")
        site.start("hub", "-m", "prefect", "server", "start", "--host", HUB, "--port", "4200", "--no-ui")
        wait_until(lambda: answers(f"http://{HUB}:5000/health"), "MLflow's start")
        wait_until(lambda: answers(f"{API}/health"), "Prefect's start")
        yield site


def start_scheduler(site: Site) -> subprocess.Popen[bytes]:
    return site.start("hub", "-m", "dask", "scheduler", "--host", HUB, "--port", "8786", "--dashboard-address", ":0")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture
def store(site: Site, request: pytest.FixtureRequest) -> Store:
    """Open an experiment of the test's own."""
    site.store = open_store(StoreAddress(f"http://{HUB}:5000", request.node.name))
    return site.store


@pytest.fixture(scope="module")
def expected() -> dict[str, Result]:
    return trained(SweepSpec.model_validate(SPEC).train_specs(("cpu",)))


def whole(store: Store, expected: dict[str, Result]) -> None:
    """Check that each run exists once with its bits, the newest sweep is complete, and none is RUNNING."""
    check_parent(store, list(check_runs(store, expected).values()))


def ended(sweep: subprocess.Popen[str]) -> dict[str, object]:
    out, err = sweep.communicate(timeout=PATIENCE)
    assert sweep.returncode == 0, err
    said: dict[str, object] = json.loads(out)
    return said


@pytest.mark.parametrize("draw", range(3))
def test_a_sweep_on_dask_survives_a_host_that_is_killed(
    draw: int, site: Site, store: Store, expected: dict[str, Result]
) -> None:
    rng = random.Random(draw)
    site.both_dask_workers()
    sweep = site.sweep(experiment=store.address.experiment)
    site.reach(rng.randrange(2, PLANNED // 2))
    time.sleep(rng.uniform(0, 0.3))
    site.machines[rng.choice("ab")].kill()
    said = ended(sweep)
    assert len(said["runs"]) == PLANNED  # type: ignore[arg-type]
    whole(store, expected)
    hosts = {run.data.tags["paramshare.host"] for run in runs_of(store, "seed", "FINISHED")}
    assert hosts == {"a", "b"}  # each run says where it was trained


def test_a_terminated_sweep_on_dask_ends_and_its_workers_stop_writing(
    site: Site, store: Store, expected: dict[str, Result]
) -> None:
    site.both_dask_workers()
    sweep = site.sweep(experiment=store.address.experiment)
    site.reach(10)
    sweep.terminate()
    _, err = sweep.communicate(timeout=PATIENCE)
    finished = site.finished()
    assert sweep.returncode == 128 + signal.SIGTERM
    assert f"{finished} of {PLANNED} runs are finished" in err or "finished runs are kept" in err
    assert [run.info.status for run in runs_of(store, "sweep")] == ["KILLED"]
    assert runs_of(store, "seed", "RUNNING") == []
    time.sleep(5)
    assert site.finished() == finished < PLANNED
    ended(site.sweep(experiment=store.address.experiment))
    whole(store, expected)


def test_workers_of_a_killed_sweep_finish_at_most_their_current_run(
    site: Site, store: Store, expected: dict[str, Result]
) -> None:
    site.both_dask_workers()
    sweep = site.sweep(experiment=store.address.experiment)
    site.reach(10)
    sweep.kill()
    sweep.communicate()
    time.sleep(10)
    finished = site.finished()
    time.sleep(5)
    assert site.finished() == finished < PLANNED
    ended(site.sweep(experiment=store.address.experiment))
    whole(store, expected)


def test_a_sweep_that_loses_its_dask_scheduler_reports_it_in_one_line_and_can_be_resumed(
    site: Site, store: Store, expected: dict[str, Result]
) -> None:
    site.both_dask_workers()
    sweep = site.sweep(experiment=store.address.experiment)
    site.reach(10)
    assert site.scheduler is not None
    site.scheduler.kill()
    _, err = sweep.communicate(timeout=PATIENCE)
    assert sweep.returncode == 1
    assert "the Dask scheduler at tcp://10.77.0.1:8786 was lost" in err.splitlines()[-1]
    assert [run.info.status for run in runs_of(store, "sweep")] == ["FAILED"]
    for name in "ab":
        site.machines[name].kill()
    site.scheduler = start_scheduler(site)
    site.both_dask_workers()
    ended(site.sweep(experiment=store.address.experiment))
    whole(store, expected)


def test_a_flow_run_on_a_killed_host_is_resumed_on_another_host(
    site: Site, store: Store, expected: dict[str, Result]
) -> None:
    """Two workers, each told two settings: where Prefect is, and where MLflow is."""
    for name in "ab":
        site.machines[name].kill()
    registered = site.start("hub", "-m", "paramshare.flows.register")
    assert registered.wait(PATIENCE) == 0, site.machines["hub"].said()
    for name in "ab":
        site.start(name, "-m", "paramshare.flows.worker", "--pool", "cpu")
    run_deployment(site)
    site.reach(10)
    (cut,) = runs_of(store, "sweep")
    lost = str(cut.data.tags["paramshare.host"])
    site.machines[lost].kill()
    run_deployment(site)
    wait_until(lambda: runs_of(store, "sweep", "FINISHED"), "the second flow run's end")
    other = runs_of(store, "sweep")[0]
    assert {lost, other.data.tags["paramshare.host"]} == {"a", "b"}
    assert site.finished() == PLANNED
    # From another machine a dead sweep is told from a live one when its lease has run out, after five minutes.
    assert [run.info.run_id for run in runs_of(store, "sweep", "RUNNING")] == [cut.info.run_id]
    store.client.set_tag(cut.info.run_id, "paramshare.alive_until", "0")
    run_deployment(site, variant="shared")
    wait_until(lambda: len(runs_of(store, "sweep", "FINISHED")) == 2, "the third flow run's end")
    wait_until(lambda: not runs_of(store, "seed", "RUNNING"), "the closing of what was left")
    check_runs(store, expected)


def run_deployment(site: Site, **given: object) -> None:
    """Let whatever worker is there run the sweep."""
    spec = {**SPEC, "workers": 2, "experiment": site.store.address.experiment, **given}
    command = ["-m", "prefect", "deployment", "run", "sweep/sweep-cpu", "--params", json.dumps({"spec": spec})]
    assert site.start("hub", *command).wait(PATIENCE) == 0, site.machines["hub"].said()
