"""Proves that a flow whose processes are killed goes on with others, as `paramshare train` does, and that Prefect's
history says so.
"""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from program import PROGRAM, SIZES, clean_environment, history
from wholeness import check_database, check_parent, check_runs, runs_of, trained

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress, open_store

SPEC = {**SIZES, "seeds": "0:60", "devices": "cpu", "workers": 2}
PATIENCE = 600.0  # seconds


def processes_that_train(process: int) -> list[int]:
    """The pool's processes of a flow."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")  # a thread starts them
    children = [child for file in tasks for child in file.read_text().split()]
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.parametrize("draw", range(2))
def test_a_flow_whose_process_is_killed_goes_on_with_others(draw: int, address: StoreAddress) -> None:
    rng = random.Random(draw)
    home = Path("prefect-home").resolve()
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SPEC.items()]
    flow = subprocess.Popen(
        [*PROGRAM, "flow", "sweep", "--json", *options],
        env=clean_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    store, deadline = open_store(address), time.monotonic() + PATIENCE
    try:
        while len(runs_of(store, "seed", "FINISHED")) < rng.randrange(2, 30):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(rng.choice(processes_that_train(flow.pid)), signal.SIGKILL)
        out, err = flow.communicate(timeout=PATIENCE)
    finally:
        flow.kill()
        flow.wait()
    assert flow.returncode == 0, err
    assert {run["status"] for run in json.loads(out)["runs"]} == {"FINISHED"}
    expected = trained(SweepSpec.model_validate(SPEC).train_specs(("cpu",)))
    check_parent(store, list(check_runs(store, expected).values()))
    assert address.database is not None
    check_database(address.database)
    assert history(home, "SELECT state_type FROM flow_run") == [("COMPLETED",)]
    states = {state for (state,) in history(home, "SELECT state_type FROM task_run")}
    assert {"COMPLETED"} < states <= {"COMPLETED", "CRASHED", "RUNNING"}  # of the one killed it can come out of order
