"""Measure the overhead of a Dask cluster: a sweep on a cluster compared with the same sweep in local processes.

    python benchmarks/machines.py

Both are `paramshare flow sweep` with the engine gram, in a new folder with a new SQLite store and a new Prefect server.
One trains in a pool with one process per core. The other trains on a scheduler with one Dask worker per core, all on
this machine, which start before the command and end after it. In every round each sweep runs once, in random order. The
result is the median over the rounds of the ratio of a round, as in `beside_by_hand.py`: of the time of a seed after
start-up, and of the time of the whole command.

Covered: chunks through the scheduler, their tasks in Prefect, workers that write their own runs.
Not covered: a network between machines, a store on a server (see `tracking.py --server`), more workers than cores.

The exit code is 2 if Dask is not installed.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from measuring import (
    ENGINE,
    PROGRAM,
    Line,
    Measured,
    free_port,
    interleaved,
    measured,
    parser,
    show,
    surroundings,
    tell,
    unwind_on_sigterm,
)


def main() -> int:
    """Measure and print the lines."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3, help="how often each runs (default: 3)")
    arguments.add_argument("--seeds", type=int, default=200, help="seeds of a sweep (default: 200)")
    options = arguments.parse_args()
    unwind_on_sigterm()
    if not importlib.util.find_spec("distributed"):
        tell("nothing measured on Dask: it is not installed (make install-dask)")
        return 2
    rounds = interleaved(
        {"pool": lambda: sweep(options.seeds), "dask": lambda: on_dask(options.seeds)}, options.rounds, warm_up=False
    )

    def line(part: str, place: int) -> Line:
        ratios = [dask[place] / pool[place] for dask, pool in zip(rounds["dask"], rounds["pool"], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}, n = {options.rounds}"
        title = f"flow sweep, {options.seeds} seeds, {ENGINE}, on Dask beside own processes, {part}"
        return Line(title, f"{median(ratios):.2f}× the time ({spread})")

    return show([line("a seed after start-up", 0), line("the whole command", 1)], options.json)


def sweep(seeds: int, *options: str) -> Measured:
    """Measure `paramshare flow sweep` once."""
    what = ["--seeds", f"0:{seeds}", "--devices", "cpu", "--engine", ENGINE, *options]
    return measured([PROGRAM, "flow", "sweep", *what], seeds)


def on_dask(seeds: int) -> Measured:
    """Measure `paramshare flow sweep` once, on a new cluster."""
    with tempfile.TemporaryDirectory(prefix="machines-") as folder, cluster(Path(folder)) as scheduler:
        return sweep(seeds, "--dask-scheduler", scheduler)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Start a scheduler and one worker per core, wait for all of them, and yield the address of the scheduler."""
    from distributed import Client

    port = free_port()
    address, cores = f"tcp://127.0.0.1:{port}", len(os.sched_getaffinity(0))
    commands = (
        ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        ["worker", address, "--nworkers", str(cores), "--nthreads", "1", "--no-dashboard"],
    )
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with (folder / "log").open("wb") as log:
            for command in commands:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "dask", *command],
                        cwd=folder,
                        env=surroundings(folder),
                        stdout=log,
                        stderr=log,
                    )
                )
        with Client(address, timeout="120s") as client:
            client.wait_for_workers(cores, timeout=120)
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
