"""Sweeps which run at once over the same seeds do not get in each other's way, in an embedded store and on
a server: no error, every run once, and a sound database, even where the store is new.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress, open_store
from support.command_line import PROGRAM, SIZES, clean_environment, without_progress
from support.repetitions import DRAWS
from support.tracking.mlflow_server import MlflowServer
from support.tracking.sweep_checks import check_database, check_runs, runs_of, trained

SPEC = {**SIZES, "devices": "cpu", "workers": 2}
PATIENCE = 600.0  # seconds, on a busy machine too


def together(commands: Sequence[Sequence[str]]) -> list[str]:
    """Start commands at once, check that none fails or prints an error, and return their outputs."""
    environment = clean_environment(Path("prefect-home").resolve())
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        ended = [process.communicate(timeout=PATIENCE) for process in started]
    finally:
        for process in started:
            process.kill()
    codes = [process.returncode for process in started]
    said = [without_progress(err) for _, err in ended]
    assert (codes, said) == ([0] * len(commands), [""] * len(commands))
    return [out for out, _ in ended]


def sweeps(seeds: Sequence[str], *options: str) -> list[dict[str, Any]]:
    """Return the outcomes of simultaneous sweeps over these seeds."""
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in SPEC.items()]
    return [
        json.loads(out)
        for out in together([[*PROGRAM, "train", "--json", *sizes, f"--seeds={one}", *options] for one in seeds])
    ]


def check(address: StoreAddress, said: Sequence[dict[str, Any]], seeds: str) -> None:
    """Check that each seed has one complete run, which each sweep names."""
    store = open_store(address)
    expected = trained(SweepSpec.model_validate({**SPEC, "seeds": seeds}).train_specs(("cpu",)))
    run_ids = check_runs(store, expected)
    by_seed = {expected[key].spec.seed: run_id for key, run_id in run_ids.items()}
    for sweep in said:
        assert [run["run_id"] for run in sweep["runs"]] == [by_seed[run["seed"]] for run in sweep["runs"]]
    assert {run.info.status for run in runs_of(store, "sweep")} == {"FINISHED"}


@pytest.mark.parametrize(("seeds", "other"), (("0:40", "20:60"), ("0:40", "0:40"))[:DRAWS])
def test_two_simultaneous_sweeps_in_an_embedded_store_write_each_run_once(
    seeds: str, other: str, address: StoreAddress
) -> None:
    check(address, sweeps([seeds, other]), f"{seeds},{other}")
    assert address.database is not None
    check_database(address.database)


@pytest.mark.parametrize("others", (2, 1)[:DRAWS])
def test_simultaneous_sweeps_on_a_server_keep_one_run_for_each_seed(
    others: int, own_mlflow_server: MlflowServer
) -> None:
    remote = own_mlflow_server.remote("remote")
    open_store(remote)
    said = sweeps(["0:20"] + ["10:30"] * others, f"--tracking-uri={remote.uri}", "--experiment=remote")
    check(remote, said, "0:30")
    own_mlflow_server.stop()
    check_database(own_mlflow_server.folder / "mlflow.db")


def test_two_simultaneous_sweeps_create_their_common_store() -> None:
    said = sweeps(["0:4", "2:6"])
    check(StoreAddress.of(None, "paramshare"), said, "0:6")
