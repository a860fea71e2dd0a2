"""Whatever ends a worker, its flow or Prefect's server in the middle of a sweep loses nothing: the same
flow run is taken up again and ends with every run once, whole and to the bit. And that a schedule really fires.

Each with a real Prefect server, real workers (`python -m paramshare.flows.worker`) and a real store; kills are kills.
"""

import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress, open_store
from support.command_line import SIZES
from support.flows.prefect_server import PrefectServer
from support.flows.prefect_worker import Worker, running_worker
from support.processes import parents
from support.tracking.sweep_checks import check_database, check_parent, check_runs, runs_of, trained
from support.waiting import wait_until

SPEC: dict[str, Any] = {**SIZES, "seeds": "0:40", "devices": "cpu", "workers": 2, "steps": 60}
FINISHED = "SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE status = 'FINISHED' AND value = 'seed'"


@pytest.fixture
def environment(server: PrefectServer, address: StoreAddress) -> dict[str, str]:
    """Return all that a worker needs, here or on another machine: two settings."""
    return {**server.environment, "PARAMSHARE_TRACKING_URI": address.uri}


def finished(address: StoreAddress) -> set[str]:
    assert address.database is not None
    with closing(sqlite3.connect(address.database, timeout=60)) as database:
        return {run_id for (run_id,) in database.execute(FINISHED)}


def wait_for_middle(server: PrefectServer, address: StoreAddress, run_id: str, at_least: int = 5) -> set[str]:
    """Wait until some seeds are written; their runs."""

    def begun() -> set[str] | None:
        assert server.state(run_id) not in ("Completed", "Failed"), "the sweep was too short"
        found = finished(address)
        return found if len(found) >= at_least else None

    found: set[str] = wait_until(begun, "seeds are written")
    return found


def check(server: PrefectServer, address: StoreAddress, run_id: str, kept: set[str]) -> None:
    """Check that the flow run completes, that each run exists once, and that finished runs were not trained again."""
    wait_until(lambda: server.state(run_id) in ("Completed", "Failed"), f"{run_id} ends")
    assert server.state(run_id) == "Completed", server.run(run_id)["state"]
    store = open_store(address)
    run_ids = check_runs(store, trained(SweepSpec.model_validate(SPEC).train_specs(("cpu",))))
    assert kept <= set(run_ids.values())
    check_parent(store, list(run_ids.values()))
    assert address.database is not None
    check_database(address.database)


def sweeps(address: StoreAddress) -> list[str]:
    return [run.info.status for run in runs_of(open_store(address), "sweep")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_terminated_worker_leaves_consistent_states_and_the_next_worker_resumes_its_flow_run(
    number: int, server: PrefectServer, address: StoreAddress, environment: dict[str, str], tmp_path: Path
) -> None:
    with running_worker(tmp_path / "w", environment) as first:
        run_id = server.start_run("sweep/sweep-cpu", SPEC)
        wait_for_middle(server, address, run_id)
        first.process.send_signal(number)
        assert first.process.wait(90) == 0, first.log.read_text()
        assert first.flows() == []
    assert server.state(run_id) in ("AwaitingRetry", "Late")
    assert sweeps(address) == ["KILLED"]
    kept = finished(address)
    with running_worker(tmp_path / "w", environment):
        check(server, address, run_id, kept)
    assert sweeps(address) == ["FINISHED", "KILLED"]


@pytest.mark.parametrize("what", ["everything", "the worker alone", "Prefect's worker alone"])
def test_a_flow_run_of_a_killed_worker_is_resumed_by_the_next_worker_of_the_folder(
    what: str, server: PrefectServer, address: StoreAddress, environment: dict[str, str], tmp_path: Path
) -> None:
    with running_worker(tmp_path / "w", environment) as first:
        run_id = server.start_run("sweep/sweep-cpu", SPEC)
        kept = wait_for_middle(server, address, run_id)
        if what == "everything":
            first.kill()
        elif what == "the worker alone":
            first.process.kill()
            first.process.wait()
        else:
            (parent,) = parents(first.flows())
            os.kill(parent, signal.SIGKILL)
            assert first.process.wait(90) == 1  # it does not go on with half of its workers
        wait_until(lambda: not first.flows(), "no process is left", 90)
    with running_worker(tmp_path / "w", environment):
        check(server, address, run_id, kept)


def test_a_killed_flow_process_is_resumed_by_the_same_worker(
    server: PrefectServer, address: StoreAddress, environment: dict[str, str], tmp_path: Path
) -> None:
    with running_worker(tmp_path / "w", environment) as only:
        run_id = server.start_run("sweep/sweep-cpu", SPEC)
        kept = wait_for_middle(server, address, run_id)
        (flow,) = only.flows()
        os.kill(flow, signal.SIGKILL)
        wait_until(lambda: "Crashed" in server.history(run_id), "the run is said to have crashed")
        check(server, address, run_id, kept)
    assert sweeps(address) == ["FINISHED", "KILLED"]


@pytest.mark.parametrize("seconds", [3, 75])
def test_an_outage_of_the_prefect_server_fails_no_flow_run(
    seconds: int, server: PrefectServer, address: StoreAddress, environment: dict[str, str], tmp_path: Path
) -> None:
    with running_worker(tmp_path / "w", environment) as only:
        run_id = server.start_run("sweep/sweep-cpu", SPEC)
        kept = wait_for_middle(server, address, run_id)
        server.kill()
        time.sleep(seconds)
        server.start()
        check(server, address, run_id, kept)
        assert server.history(run_id).count("Running") == 1
        wait_until(lambda: only.health() == 200, "the worker is well again")
        again = server.start_run("sweep/sweep-cpu", SPEC)
        wait_until(lambda: server.state(again) == "Completed", "the worker works on")
    assert sweeps(address) == ["FINISHED"]


def test_two_workers_share_flow_runs_and_those_of_a_killed_worker_complete(
    server: PrefectServer, address: StoreAddress, environment: dict[str, str], tmp_path: Path
) -> None:
    with (
        running_worker(tmp_path / "here", environment) as here,
        running_worker(tmp_path / "there", environment) as there,
    ):
        wait_until(lambda: here.health() == there.health() == 200, "both are well")
        parts = [server.start_run("sweep/sweep-cpu", {**SPEC, "seeds": seeds}) for seeds in ("0:20", "20:40")]
        wait_until(lambda: here.flows() and there.flows(), "both work")
        wait_for_middle(server, address, parts[0])
        there.kill()
        # Its heartbeats would be missed after some minutes: let them have gone by.
        with closing(sqlite3.connect(server.home / "prefect.db", timeout=60)) as database, database:
            database.execute(
                "UPDATE worker SET last_heartbeat_time = '2026-01-01 00:00:00' WHERE name LIKE ?", [_name(there)]
            )
        for part in parts:
            wait_until(lambda part=part: server.state(part) == "Completed", "each part completes", 480)  # type: ignore[misc]
    whole = server.start_run("sweep/sweep-cpu", SPEC)
    with running_worker(tmp_path / "here", environment):
        check(server, address, whole, finished(address))


def _name(of: Worker) -> str:
    (file,) = (of.folder / "mlruns" / "workers").glob("*")
    return file.read_text()


def test_a_schedule_starts_flow_runs_one_at_a_time(
    server: PrefectServer, address: StoreAddress, environment: dict[str, str], tmp_path: Path
) -> None:
    deployment = server.ask("deployments/name/sweep/sweep-nightly")
    small = {"spec": {**SPEC, "seeds": "0:4", "experiment": "nightly"}}
    every_minute = {"schedule": {"cron": "* * * * *", "timezone": "Europe/Berlin"}, "active": True, "parameters": small}
    (made,) = server.ask(f"deployments/{deployment['id']}/schedules", [{**every_minute, "slug": "often"}])
    try:
        with running_worker(tmp_path / "w", environment, "--pool", "cpu", "--limit", "2"):

            def runs(*states: str) -> list[Any]:
                found = {"deployments": {"id": {"any_": [deployment["id"]]}}}
                return [run for run in server.ask("flow_runs/filter", found) if run["state_name"] in states]

            wait_until(lambda: len(runs("Completed")) >= 2, "two runs were started by the schedule", 400)
            assert all(run["auto_scheduled"] for run in runs("Completed"))
            held = server.start_run("sweep/sweep-nightly", {**SPEC, "seeds": "0:4000", "experiment": "nightly"})
            wait_until(lambda: server.state(held) == "Running", "a long one runs")
            wait_until(lambda: runs("AwaitingConcurrencySlot"), "the next waits for it", 200)
            assert [run["id"] for run in runs("Running", "Pending")] == [held]
    finally:
        server.ask(f"deployments/{deployment['id']}/schedules/{made['id']}", method="DELETE")
    shutil.rmtree(tmp_path / "w")
