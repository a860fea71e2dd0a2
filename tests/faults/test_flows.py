"""A flow whose processes are killed goes on with others, as `paramshare train` does, Prefect's history
says so, and a flow goes on while Prefect itself is gone.
"""

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import Store, StoreAddress, open_store
from support.command_line import PROGRAM, SIZES, clean_environment
from support.flows.flow_records import history
from support.flows.prefect_server import running_prefect_server
from support.processes import pool_processes
from support.repetitions import DRAWS
from support.tracking.run_counts import finished_runs
from support.tracking.sweep_checks import check_database, check_parent, check_runs, runs_of, trained
from support.waiting import wait_until

SPEC = {**SIZES, "seeds": "0:60", "devices": "cpu", "workers": 2}
PATIENCE = 600.0  # seconds
RUNNING = "SELECT id FROM task_run WHERE state_type = 'RUNNING'"


def started(environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start the flow of SPEC."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SPEC.items()]
    command = [*PROGRAM, "flow", "sweep", "--json", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check_ended(flow: subprocess.Popen[str], out: str, err: str, store: Store) -> None:
    """Check that the flow has completed with the same runs and parent as without a fault."""
    assert flow.returncode == 0, err
    assert {run["status"] for run in json.loads(out)["runs"]} == {"FINISHED"}
    expected = trained(SweepSpec.model_validate(SPEC).train_specs(("cpu",)))
    check_parent(store, list(check_runs(store, expected).values()))


@pytest.mark.parametrize("draw", range(DRAWS))
def test_a_flow_replaces_its_killed_training_processes(draw: int, address: StoreAddress) -> None:
    rng = random.Random(draw)
    home = Path("prefect-home").resolve()
    flow = started(clean_environment(home))
    store, moment = open_store(address), rng.randrange(2, 14)  # in the first two tasks, of 15 seeds each
    assert address.database is not None
    database = address.database
    try:
        wait_until(lambda: finished_runs(database) >= moment, f"{moment} seeds are trained", every=0.05)
        wait_until(lambda: history(home, RUNNING), "Prefect's history has a running task", every=0.05)
        os.kill(rng.choice(pool_processes(flow.pid)), signal.SIGKILL)
        out, err = flow.communicate(timeout=PATIENCE)
    finally:
        flow.kill()
        flow.wait()
    check_ended(flow, out, err, store)
    check_database(database)
    assert history(home, "SELECT state_type FROM flow_run") == [("COMPLETED",)]
    states = {state for (state,) in history(home, "SELECT state_type FROM task_run")}
    assert {"COMPLETED"} < states <= {"COMPLETED", "CRASHED", "RUNNING"}  # of the one killed it can come out of order


def test_a_flow_survives_an_outage_of_its_prefect_server(address: StoreAddress) -> None:
    store = open_store(address)
    assert address.database is not None
    database = address.database
    with running_prefect_server(Path("prefect-home").resolve()) as server:
        wait_until(server.answers, "Prefect answers")
        flow = started({**server.environment, "PREFECT_CLIENT_MAX_RETRIES": "8"})  # as a worker's flows have
        try:
            wait_until(lambda: runs_of(store, "sweep", "RUNNING"), "the sweep begins")  # its processes take seconds
            server.kill()
            wait_until(lambda: finished_runs(database) >= 60, "every seed is trained")
            server.start()
            out, err = flow.communicate(timeout=PATIENCE)
        finally:
            flow.kill()
            flow.wait()
    check_ended(flow, out, err, store)
