"""Measure the cost of writing runs to MLflow, and the rate of a tracked sweep from start to end.

    python benchmarks/tracking.py                        # in the embedded store
    python benchmarks/tracking.py --server postgresql    # against `mlflow server` on PostgreSQL, both started here

Covered, embedded:
- The cost of one complete run (500 steps) in an open store, by its parts, in core-ms: the processor time of all
  threads, the median over runs of different seeds, after the common parts of pictures are drawn. Files are the
  artifacts that are written to disk. The cost of the database, which includes the creation of the record, is the cost
  of the run minus the costs of model, picture and files of the same seed.
- Sweeps of several sizes by `run_sweep`, each in its own process and store, once per round, in random order: the seeds
  per second of the whole call and after start-up (the slope of a line fitted to the times at which runs end, which
  excludes imports, the first export and the parent run at the end); the peak memory of the process that runs the sweep
  and of the largest process of its pool. The steadiness is the median over the rounds of the ratio of the largest
  sweep's rate after start-up to the smallest one's.
Covered, on a server: the same for one size, on a new database with PostgreSQL's defaults and two processes of MLflow's
server, configured by `docker/gunicorn_conf.py`, all on this machine.
Not covered: flows (`beside_by_hand.py`), reading, other machines, several sweeps at once.

The exit code is 1 if a claim of docs/speed.md does not hold, and 2 if the server is not available.
"""

import importlib.util
import json
import multiprocessing
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from measuring import (
    ENGINE,
    Line,
    free_port,
    interleaved,
    parser,
    peak_mib,
    rate,
    show,
    surroundings,
    tell,
    unwind_on_sigterm,
)

CLAIMED = {"embedded": 15.0, "postgresql": 6.0}  # seeds a second
CLAIMED_ITEMS = {"picture": 10.0, "database": 6.0}  # core-ms
CLAIMED_SIZE = 200  # seeds, of the sweep that the claim is about
CLAIMED_STEADY = 0.9  # the largest sweep's rate over the smallest one's
START_SECONDS = 120.0
PROJECT = Path(__file__).resolve().parents[1]
SERVER_FILES = ("docker/gunicorn_conf.py", "paramshare/tracking/page_defaults.py")  # as in MLflow's image


@dataclass(frozen=True, slots=True)
class Swept:
    """The measurement of a sweep: seeds per second after start-up and of the whole call, MiB of its processes."""

    rate: float
    whole: float
    parent: float
    pool: float


def main() -> int:
    """Measure, print the lines, and return the exit code."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3, help="how often each sweep runs (default: 3)")
    arguments.add_argument(
        "--runs", type=int, default=100, help="how many runs are written item by item (default: 100)"
    )
    arguments.add_argument("--seeds", type=int, nargs="+", help="sizes of the sweeps (default: 100 200 1000)")
    arguments.add_argument("--server", choices=("postgresql",), help="a server, in place of the embedded store")
    arguments.add_argument("--sweep", nargs=2, metavar=("URI", "SEEDS"), help="only run a sweep and print what it took")
    options = arguments.parse_args()
    unwind_on_sigterm()
    if options.sweep:
        print(json.dumps(one_sweep(options.sweep[0], int(options.sweep[1]))))
        return 0
    if options.server:
        if missing := what_is_missing():
            tell(f"nothing measured on PostgreSQL: {missing}")
            return 2
        return show(on_postgresql(options.seeds or [100], options.rounds), options.json)
    return show([*items(options.runs), *embedded(options.seeds or [100, 200, 1000], options.rounds)], options.json)


# One run, item by item


def items(runs: int) -> list[Line]:
    """Measure the cost of a run and of its parts; return a line for each."""
    from paramshare.plots import LossPlot
    from paramshare.provenance import provenance_tags
    from paramshare.recipes.dynamicnet.recipe import TrainSpec
    from paramshare.recipes.metrics import DEPTH
    from paramshare.tracking.store import StoreAddress, open_store
    from paramshare.tracking.write.kinds.model import model_files
    from paramshare.tracking.write.kinds.seeds import run_name, seed_record, write_run
    from paramshare.tracking.write.record import Record, save_files
    from paramshare.training.engines import train
    from paramshare.training.result import Result

    tell(f"tracking.py: {runs} runs, item by item")
    results = [train(TrainSpec(seed=seed), ENGINE) for seed in range(runs + 1)]
    turn: dict[str, int] = dict.fromkeys(("run", "model", "picture", "files"), 0)
    tags, plot = provenance_tags(), LossPlot()

    def picture(result: Result) -> bytes:
        return plot.picture(result.losses, result.curves[DEPTH], run_name(result.spec))

    def save(record: Record, place: Path) -> None:
        assert record.model is not None
        save_files(record.files, place / "run")
        save_files(record.model.files, place / "model")

    with tempfile.TemporaryDirectory(prefix="tracking-") as name:
        folder = Path(name)
        store = open_store(StoreAddress(f"sqlite:///{folder / 'mlflow.db'}", "bench"))
        records = [seed_record(result, tags) for result in results]
        for result in results:
            picture(result)  # draws the common parts of pictures, which the records already have
        todo: dict[str, Callable[[int], object]] = {
            "run": lambda n: write_run(store, results[n], tags),
            "model": lambda n: model_files(results[n]),
            "picture": lambda n: picture(results[n]),
            "files": lambda n: save(records[n], folder / "files" / str(n)),
        }

        def spent(item: str) -> float:
            number, turn[item] = turn[item], turn[item] + 1
            start = time.process_time()
            todo[item](number)
            return (time.process_time() - start) * 1000

        costs = interleaved({item: lambda item=item: spent(item) for item in todo}, runs)
    of_each_run = zip(*(costs[item] for item in ("run", "model", "picture", "files")), strict=True)
    costs["database"] = [run - sum(parts) for run, *parts in of_each_run]
    whole = median(costs["run"])
    return [item_line(item, median(figures), whole, runs) for item, figures in costs.items()]


def item_line(item: str, cost: float, whole: float, runs: int) -> Line:
    """Return the line of a part of a run, or of the whole run."""
    if item == "run":
        return Line("tracking, a whole run", f"{cost:.1f} core-ms (n = {runs})")
    claim = CLAIMED_ITEMS.get(item)
    measured = f"{cost:.1f} core-ms, {cost / whole:.0%}"
    return Line(f"tracking, its {item}", measured, f"≤ {claim:.0f} core-ms" if claim else "", cost <= (claim or cost))


# Whole sweeps


def embedded(sizes: list[int], rounds: int) -> list[Line]:
    """Measure sweeps in embedded stores; return a line for each size, and one for the steadiness of the rate."""

    def sweep(seeds: int) -> Swept:
        with tempfile.TemporaryDirectory(prefix="tracking-") as folder:
            return in_a_process(f"sqlite:///{Path(folder).resolve() / 'mlflow.db'}", seeds, Path(folder))

    sweeps = interleaved({str(seeds): lambda seeds=seeds: sweep(seeds) for seeds in sizes}, rounds, warm_up=False)
    lines = [sweep_line("embedded", seeds, sweeps[str(seeds)], claimed=seeds == CLAIMED_SIZE) for seeds in sizes]
    if len(sizes) > 1:
        smallest, largest = min(sizes), max(sizes)
        pairs = zip(sweeps[str(smallest)], sweeps[str(largest)], strict=True)
        steady = median(many.rate / few.rate for few, many in pairs)
        title = f"tracked sweep, embedded, the rate at {largest} seeds over that at {smallest}"
        lines.append(Line(title, f"{steady:.2f} (n = {rounds})", f"≥ {CLAIMED_STEADY}", steady >= CLAIMED_STEADY))
    return lines


def sweep_line(store: str, seeds: int, sweeps: list[Swept], *, claimed: bool) -> Line:
    """Return the line of sweeps of one size."""
    middle = median(sweep.rate for sweep in sweeps)
    whole, parent, pool = (
        median(figures) for figures in zip(*((sweep.whole, sweep.parent, sweep.pool) for sweep in sweeps), strict=True)
    )
    return Line(
        f"tracked sweep, {store}, {seeds} seeds, {ENGINE}",
        f"{middle:.1f} seeds/s after start-up, {whole:.1f} in all; {parent:.0f} MiB and {pool:.0f} MiB a process "
        f"(n = {len(sweeps)})",
        f"≥ {CLAIMED[store]:.0f} seeds/s" if claimed else "",
        middle >= CLAIMED[store] or not claimed,
    )


def in_a_process(uri: str, seeds: int, folder: Path) -> Swept:
    """Run a sweep into the store at `uri` in a new process with the working directory `folder`."""
    command = [sys.executable, __file__, "--sweep", uri, str(seeds)]
    done = subprocess.run(command, cwd=folder, env=surroundings(folder), stdout=subprocess.PIPE, text=True, check=True)
    swept = Swept(**json.loads(done.stdout.splitlines()[-1]))
    tell(f"tracking.py: {seeds} seeds, {swept.rate:.1f} seeds/s")
    return swept


def one_sweep(uri: str, seeds: int) -> dict[str, float]:
    """Run a sweep in this process and its pool."""
    from paramshare.sweep.run import run_sweep
    from paramshare.sweep.spec import SweepSpec
    from paramshare.tracking.store import StoreAddress

    times: list[float] = []
    pool = 0.0

    def on_row(_: object) -> None:
        nonlocal pool
        times.append(time.perf_counter())
        pool = max([pool, *(peak_mib(child.pid) for child in multiprocessing.active_children() if child.pid)])

    spec = SweepSpec(seeds=f"0:{seeds}", devices="cpu", engine=ENGINE)
    address = StoreAddress(uri, f"bench {time.time_ns()}")  # a new experiment, which has no runs to reuse
    start = time.perf_counter()
    result = run_sweep(spec, address, {}, on_row=on_row)
    whole = seeds / (time.perf_counter() - start)
    assert not result.failed
    return {"rate": rate(times), "whole": whole, "parent": peak_mib(), "pool": pool}


# A server


def what_is_missing() -> str:
    """Return a message about the missing parts of a server on PostgreSQL; empty if nothing is missing."""
    if importlib.util.find_spec("psycopg") is None:
        return "its driver is not installed: .venv/bin/pip install 'psycopg[binary]'"
    if not (shutil.which("initdb") and shutil.which("postgres")):
        return "initdb and postgres are not on the PATH: install PostgreSQL's server"
    return ""


def on_postgresql(sizes: list[int], rounds: int) -> list[Line]:
    """Measure sweeps on one server; return a line for each size."""
    with tempfile.TemporaryDirectory(prefix="tracking-") as name, ExitStack() as running:
        folder = Path(name)
        database = running.enter_context(postgresql(folder))
        uri = running.enter_context(mlflow_server(database, folder))
        sweeps = {str(seeds): lambda seeds=seeds: in_a_process(uri, seeds, folder) for seeds in sizes}
        measured = interleaved(sweeps, rounds, warm_up=False)
    return [sweep_line("postgresql", seeds, measured[str(seeds)], claimed=True) for seeds in sizes]


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a new PostgreSQL below `folder` during the block and yield its address. It runs as nobody if this is root."""
    import psycopg

    data, port = folder / "postgresql", free_port()
    data.mkdir()
    whose: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        whose = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(data, nobody.pw_uid, nobody.pw_gid)
        folder.chmod(0o755)
    make = ["initdb", "--pgdata", str(data), "--username", "bench", "--auth", "trust", "--encoding", "UTF8"]
    subprocess.run(make, cwd=data, capture_output=True, check=True, **whose)
    serve = ["postgres", "-D", str(data), "-k", str(data), "-h", "127.0.0.1", "-p", str(port)]
    address = f"bench@127.0.0.1:{port}/postgres"
    with process(serve, data, whose):
        wait_for(lambda: psycopg.connect(f"postgresql://{address}").close(), psycopg.OperationalError)
        yield f"postgresql+psycopg://{address}"


@contextmanager
def mlflow_server(database: str, folder: Path) -> Iterator[str]:
    """Run MLflow's server on `database` during the block and yield its address."""
    config, _ = (shutil.copy(PROJECT / file, folder) for file in SERVER_FILES)
    uri = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "2"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", uri[17:]]
    command += ["--gunicorn-opts", f"-c {shlex.quote(str(config))}"]
    without_jobs = {"env": {**surroundings(folder), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}}
    with process(command, folder, without_jobs):
        wait_for(lambda: urllib.request.urlopen(f"{uri}/health", timeout=5).close(), OSError)
        yield uri


@contextmanager
def process(command: list[str], folder: Path, options: dict[str, Any]) -> Iterator[None]:
    """Run a process during the block, and end it with all of its children."""
    started = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )
    try:
        yield
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def wait_for(attempt: Callable[[], None], failure: type[Exception]) -> None:
    """Call `attempt` until it raises no `failure`, for at most 120 seconds."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return attempt()
        except failure:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
