"""A sweep may be killed at any moment, as a whole or in part: the same command goes on where it stopped,
and what is there in the end is what a sweep leaves that nobody touched, to the bit.

Real processes are killed at moments drawn from a seed, in each phase of a sweep. A phase is seen in the database: the
sweep's run is there; some seeds are FINISHED; all are.
"""

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import cycle
from pathlib import Path

import pytest

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.training.result import Result
from support.command_line import PROGRAM, SIZES, clean_environment, run_here, without_progress
from support.processes import fork_servers, pool_processes
from support.repetitions import DRAWS
from support.tracking.mlflow_server import MlflowServer
from support.tracking.sweep_checks import check_database, check_parent, check_runs, runs_of, trained
from support.waiting import wait_until

SEEDS = 40
SPEC = {**SIZES, "seeds": f"0:{SEEDS}", "variant": "shared,untied", "devices": "cpu", "workers": 2}
PLANNED = 2 * SEEDS
WRITING = ("plan", *("train",) * DRAWS, "aggregate")  # the phases from the parent run's first write on
PHASES = ("start", *WRITING)
PATIENCE = 600.0  # seconds for anything that must happen, on a busy machine too
AT_ONCE = 60.0  # seconds after which a sweep that is told to end hangs; 10 are usual, 23 were seen at a load of 7

COUNTED = rf"\d+ of {PLANNED} runs are finished and kept"
FINISHED = "SELECT count(*) FROM runs JOIN tags USING (run_uuid) WHERE status = 'FINISHED' AND value = 'seed'"
SWEEPING = "SELECT count(*) FROM runs JOIN tags USING (run_uuid) WHERE status = 'RUNNING' AND value = 'sweep'"


def command(*words: str, **given: object) -> list[str]:
    """Return a command of the command line without the name of the program."""
    spec = SweepSpec.model_validate({**SPEC, **given}).model_dump(exclude_unset=True, exclude_none=True)
    spec |= spec.pop("options", {})  # of the recipe
    return [
        *(words or ("train",)),
        "--json",
        *(f"--{name.replace('_', '-')}={value}" for name, value in spec.items()),
    ]


@pytest.fixture(scope="module")
def expected() -> dict[str, Result]:
    return trained(SweepSpec.model_validate(SPEC).train_specs(("cpu",)))


class Started:
    """A sweep in processes of its own, and the database that it writes to, from outside."""

    def __init__(self, arguments: list[str], database: Path) -> None:
        environment = clean_environment(Path("prefect-home").resolve())
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.database = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)

    def count(self, query: str) -> int:
        return int(self.database.execute(query).fetchone()[0])

    def wait_until(self, met: Callable[[], bool]) -> bool:
        """Wait for a condition; return false if the sweep ended before."""
        begin = time.monotonic()
        while not met():
            assert time.monotonic() - begin < PATIENCE, self.kill()
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def wait_for(self, phase: str, rng: random.Random) -> bool:
        """Wait for a moment of a phase, drawn by `rng`; whether the sweep was still there."""
        if phase == "start":
            time.sleep(rng.uniform(0.1, 4))
            return self.process.poll() is None
        if phase == "plan":
            met, spread = self.wait_until(lambda: self.count(SWEEPING) == 1), 2.0
        elif phase == "train":
            at_least = rng.randrange(min(self.count(FINISHED), PLANNED - 1), PLANNED)
            met, spread = self.wait_until(lambda: self.count(FINISHED) > at_least), 0.1
        else:
            met, spread = self.wait_until(lambda: self.count(FINISHED) == PLANNED), 0.6
        time.sleep(rng.uniform(0, spread))
        return met and self.process.poll() is None

    def workers(self) -> list[int]:
        """Return the processes of the pool."""
        return pool_processes(self.process.pid)

    def kill(self) -> str:
        """Kill all that is left of it, and return its stderr."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.ended()[1]

    def ended(self) -> tuple[str, str]:
        """Wait until no process of it is there; what it printed."""
        out, err = self.process.communicate(timeout=PATIENCE)
        begin = time.monotonic()
        with suppress(ProcessLookupError):
            while True:
                os.killpg(self.process.pid, 0)
                assert time.monotonic() - begin < AT_ONCE, "a process of a killed sweep is still there"
                time.sleep(0.02)
        return out, without_progress(err)


@contextmanager
def started(arguments: list[str], address: StoreAddress) -> Iterator[Started]:
    assert address.database is not None
    sweep = Started(arguments, address.database)
    try:
        yield sweep
    finally:
        if sweep.process.poll() is None:
            sweep.kill()
        sweep.database.close()


def finish(arguments: list[str]) -> None:
    """Run the same command once more without a fault."""
    code, out, err = run_here(*arguments)
    assert (code, err) == (0, "")
    assert {run["status"] for run in json.loads(out)["runs"]} == {"FINISHED"}


def check(address: StoreAddress, expected: dict[str, Result], database: Path | None = None) -> None:
    store = open_store(address)
    run_ids = check_runs(store, expected)
    check_parent(store, list(run_ids.values()))
    assert {run.info.status for run in runs_of(store, "sweep")[1:]} <= {"KILLED", "FAILED"}
    found = database or address.database
    assert found is not None
    check_database(found)


@pytest.mark.parametrize("draw", range(DRAWS))
def test_a_sweep_killed_in_any_phase_resumes_and_ends_like_an_unkilled_one(
    draw: int, address: StoreAddress, expected: dict[str, Result]
) -> None:
    rng = random.Random(draw)
    kills = 0
    for phase in PHASES:
        with started(command(), address) as sweep:
            if sweep.wait_for(phase, rng):
                if rng.random() < 0.5:
                    os.killpg(sweep.process.pid, signal.SIGKILL)  # all of it at once
                else:
                    sweep.process.kill()  # its workers have to see to themselves
                kills += 1
            sweep.ended()
    assert kills >= len(PHASES) - 1  # the last may come too late
    finish(command())
    check(address, expected)


@pytest.mark.parametrize("draw", range(DRAWS))
def test_a_sweep_replaces_its_killed_workers(draw: int, address: StoreAddress, expected: dict[str, Result]) -> None:
    rng = random.Random(draw)
    with started(command(), address) as sweep:
        for at_least in sorted(rng.sample(range(PLANNED - 5), 2)):
            assert sweep.wait_until(lambda at_least=at_least: sweep.count(FINISHED) > at_least)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.1))
            workers = wait_until(sweep.workers, "workers run")  # those of a broken pool end before others start
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
        out, err = sweep.ended()
        assert (sweep.process.returncode, err) == (0, "")
    assert [run["status"] for run in json.loads(out)["runs"]] == ["FINISHED"] * PLANNED
    check(address, expected)


def test_a_sweep_whose_workers_are_always_killed_stops_with_one_line_and_can_be_resumed(
    address: StoreAddress, expected: dict[str, Result]
) -> None:
    with started(command(), address) as sweep:
        while sweep.process.poll() is None:
            for worker in sweep.workers():
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            time.sleep(0.05)
        _, err = sweep.ended()
    assert sweep.process.returncode == 1
    assert err.startswith("paramshare: a worker process was killed 4 times in a row")
    assert err.count("\n") == 1
    assert [run.info.status for run in runs_of(open_store(address), "sweep")] == ["FAILED"]
    finish(command())
    check(address, expected)


@pytest.mark.parametrize("moment", ["while it imports", "while its workers train"])
def test_a_sweep_replaces_its_killed_fork_server(
    moment: str, address: StoreAddress, expected: dict[str, Result]
) -> None:
    with started(command(), address) as sweep:
        assert sweep.wait_until(lambda: bool(fork_servers(sweep.process.pid)))
        if moment == "while its workers train":
            assert sweep.wait_until(lambda: sweep.count(FINISHED) > 2)
        (server,) = fork_servers(sweep.process.pid)
        os.kill(server, signal.SIGKILL)
        out, err = sweep.ended()
        assert (sweep.process.returncode, err) == (0, "")
    assert [run["status"] for run in json.loads(out)["runs"]] == ["FINISHED"] * PLANNED
    check(address, expected)


@pytest.mark.parametrize("numbers", ((signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM))[:DRAWS])
def test_a_terminated_sweep_ends_within_seconds_and_can_be_resumed(
    numbers: tuple[signal.Signals, ...], address: StoreAddress, expected: dict[str, Result]
) -> None:
    rng = random.Random(numbers[0])
    phases = ("plan", "train", "train", "aggregate")
    ended = 0
    for phase, number in zip(phases, cycle(numbers), strict=False):
        with started(command(), address) as sweep:
            if sweep.wait_for(phase, rng):
                ended += 1
                if number == signal.SIGTERM:
                    sweep.process.terminate()
                else:
                    os.killpg(sweep.process.pid, number)  # as a terminal does
                begin = time.monotonic()
                _, err = sweep.ended()
                assert time.monotonic() - begin < AT_ONCE
                if sweep.process.returncode in (0, -number):  # the signal came at its end
                    assert sweep.count(FINISHED) == PLANNED
                else:
                    assert sweep.process.returncode == 128 + number, err
                    assert err.count("\n") == 1
                    assert re.search(rf"({COUNTED}|finished runs are kept); rerun the command to resume", err)
            else:
                sweep.ended()
        store = open_store(address)
        assert runs_of(store, "sweep", "RUNNING") == runs_of(store, "seed", "RUNNING") == []
    assert ended >= len(phases) - 1  # the last may come too late
    finish(command())
    check(address, expected)


@pytest.mark.parametrize("words", [("train",), ("flow", "sweep")], ids=" ".join)
def test_a_terminated_sweep_does_not_wait_for_the_end_of_long_seeds(
    words: tuple[str, ...], address: StoreAddress
) -> None:
    with started(command(*words, seeds="0:4", steps=5_000_000), address) as sweep:
        assert sweep.wait_until(lambda: sweep.count(SWEEPING) == 1 and len(sweep.workers()) == 2)
        time.sleep(3)
        sweep.process.terminate()
        begin = time.monotonic()
        _, err = sweep.ended()
    assert time.monotonic() - begin < AT_ONCE
    assert sweep.process.returncode == 128 + signal.SIGTERM
    if words == ("train",):  # a flow has a log
        assert err.count("\n") == 1
    last_line = err.splitlines()[-1]
    assert last_line.startswith(
        "paramshare: terminated; 0 of 8 runs are finished and kept; rerun the command to resume"
    )
    assert [run.info.status for run in runs_of(open_store(address), "sweep")] == ["KILLED"]


def test_a_sweep_killed_while_it_writes_to_a_server_resumes_without_incomplete_runs(
    address: StoreAddress, own_mlflow_server: MlflowServer, expected: dict[str, Result]
) -> None:
    rng = random.Random(0)
    assert address.database is not None
    remote = own_mlflow_server.remote("remote")
    open_store(remote)
    arguments = [*command(experiment="remote"), f"--tracking-uri={remote.uri}"]
    for phase in WRITING:
        with started(arguments, address) as sweep:
            if sweep.wait_for(phase, rng):
                sweep.process.kill()
            sweep.ended()
    finish(arguments)
    check(remote, expected, address.database)
    own_mlflow_server.stop()
    with closing(sqlite3.connect(address.database)) as connection:
        assert connection.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone() == (0,)
