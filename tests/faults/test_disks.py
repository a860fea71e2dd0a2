"""A locked database is waited for, and a full disk is said in a line and takes nothing of what was
finished.

With another process's real lock, a real small file system, and the system's own limit on the size of files. Sweeps run
by the real command line in processes of their own.
"""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.read.curves import read_losses
from paramshare.tracking.read.runs import FINISHED_SEEDS, search
from paramshare.tracking.read.weights import read_weights
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.tags import KEY
from paramshare.training.engines import train
from support.command_line import PROGRAM, SIZES, SMALL, clean_environment, run_here, without_progress
from support.processes import opens
from support.repetitions import DRAWS
from support.tracking.run_counts import finished_runs
from support.tracking.sweep_checks import check_parent, check_runs, trained

LOCKED = 30.0  # seconds
ROOM = "24m"


def command(seeds: int) -> list[str]:
    return ["train", "--json", "--seeds", f"0:{seeds}", "--workers", "2", *SMALL]


def sweep(folder: Path, seeds: int, limit: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *command(seeds)],
        cwd=folder,
        env=clean_environment(folder / "prefect-home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def check_whole(address: StoreAddress, seeds: int) -> Store:
    """Check that each FINISHED run has every loss to the bit, picture, model and data, and no key is there twice."""
    store = open_store(address)
    spec = SweepSpec.model_validate({**SIZES, "seeds": f"0:{seeds}", "devices": "cpu"})
    expected = {one.key(): one for one in spec.train_specs(("cpu",))}
    runs = list(search(store, FINISHED_SEEDS))
    keys = [run.data.tags[KEY] for run in runs]
    assert len(set(keys)) == len(keys)
    for run in runs:
        losses = read_losses(store, run.info.run_id)
        np.testing.assert_array_equal(losses, train(expected[run.data.tags[KEY]]).losses)
        files = [file.path for file in store.client.list_artifacts(run.info.run_id)]
        assert files == ["loss.png"]
        assert read_weights(store, run.info.run_id)
        assert len(run.inputs.dataset_inputs) == 1
    assert address.database is not None
    with closing(sqlite3.connect(address.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return store


def check_completes(address: StoreAddress, seeds: int, at_least_reused: int) -> None:
    """Run the same command again, and check that it completes the sweep and its parent run."""
    code, out, said = run_here(*command(seeds))
    assert code == 0, said
    outcome = json.loads(out)
    assert len(outcome["runs"]) == seeds
    assert sum(run["reused"] for run in outcome["runs"]) >= at_least_reused
    store = check_whole(address, seeds)
    specs = SweepSpec.model_validate({**SIZES, "seeds": f"0:{seeds}", "devices": "cpu"}).train_specs(("cpu",))
    check_parent(store, list(check_runs(store, trained(specs)).values()))


@pytest.mark.parametrize("moment", ("while it trains", "before it starts", "when it ends")[:DRAWS])
def test_a_sweep_waits_for_a_database_locked_for_half_a_minute(
    moment: str, address: StoreAddress, tmp_path: Path
) -> None:
    database, seeds = address.database, 20
    assert database is not None
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as other:
        if moment == "before it starts":
            other.execute("BEGIN IMMEDIATE")
            process = sweep(tmp_path, seeds)
            wait_for(lambda: opens(process.pid, database), process)  # it waits for the lock from here on
        else:
            process = sweep(tmp_path, seeds)
            finished = 3 if moment == "while it trains" else seeds
            wait_for(lambda: finished_runs(database) >= finished, process)
            other.execute("BEGIN IMMEDIATE")
        held_from = finished_runs(database)
        time.sleep(LOCKED)
        assert process.poll() is None
        assert finished_runs(database) == held_from
        other.execute("ROLLBACK")
    out, said = process.communicate(timeout=120)
    assert (process.returncode, without_progress(said)) == (0, "")
    assert {run["status"] for run in json.loads(out)["runs"]} == {"FINISHED"}
    assert len(list(search(check_whole(address, seeds), FINISHED_SEEDS))) == seeds


@pytest.fixture
def small_disk(address: StoreAddress, tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system for `mlruns/`."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system of little room")
    folder, aside = tmp_path / "mlruns", tmp_path / "aside"
    folder.rename(aside)
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "paramshare-test", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine lets nobody mount a file system: {mounted.stderr.strip()}")
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("left", (2_000_000, 0, 300_000)[:DRAWS])
def test_a_full_disk_is_reported_in_one_line_and_finished_runs_are_complete(
    left: int, small_disk: Path, address: StoreAddress, tmp_path: Path
) -> None:
    """Full at once, after some runs, after some more; then there is room again."""
    seeds, ballast = 60, small_disk / "ballast"
    open_store(address)
    _fill(small_disk, ballast, left)
    process = sweep(tmp_path, seeds)
    out, said = process.communicate(timeout=600)
    assert (process.returncode, out) == (1, ""), said
    said = without_progress(said)
    assert said.startswith(f"paramshare: the store sqlite:///{address.database} failed: ")
    assert said.endswith("finished runs are kept; make room, then rerun the command to resume\n")
    assert said.count("\n") == 1
    ballast.unlink()
    finished = len(list(search(check_whole(address, seeds), FINISHED_SEEDS)))
    assert finished < seeds
    assert finished > 0 or left < 2_000_000
    check_completes(address, seeds, finished)


def _fill(folder: Path, ballast: Path, left: int) -> None:
    """Fill a disk up to `left` free bytes."""
    room = shutil.disk_usage(folder).free - left
    with ballast.open("wb") as file:
        file.truncate(0)
        file.write(b"\0" * max(room - room % 4096, 0))


def test_a_database_that_cannot_grow_is_reported_in_one_line_and_finished_runs_are_complete(
    address: StoreAddress, tmp_path: Path
) -> None:
    """The system's own limit on the size of files, as of a quota: it meets the database and not the small files."""
    open_store(address)
    assert address.database is not None
    most, seeds = address.database.stat().st_size + 150_000, 60

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    process = sweep(tmp_path, seeds, limit)
    out, said = process.communicate(timeout=600)
    assert (process.returncode, out) == (1, ""), said
    said = without_progress(said)
    assert said.startswith(f"paramshare: the store sqlite:///{address.database} failed: ")
    assert said.count("\n") == 1
    finished = len(list(search(check_whole(address, seeds), FINISHED_SEEDS)))
    assert finished < seeds
    check_completes(address, seeds, finished)
