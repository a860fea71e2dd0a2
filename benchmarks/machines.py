"""What a Dask cluster costs: the same sweep on one beside this machine's own processes.

    python benchmarks/machines.py

Both are `paramshare flow sweep` with the engine gram, in a fresh folder with a fresh SQLite store and a Prefect server
of its own. One trains in its own pool of a process a core; the other on a scheduler and a Dask worker a core, all on
this machine, which are there before the command starts and end after it. In every round each runs once, in a new order;
what is printed is the median over the rounds of that round's ratio, as in `beside_by_hand.py`: a seed's time after
start-up, and the whole command's.

Covered: chunks through the scheduler, their tasks in Prefect, workers that write their own runs.
Not covered: a network between machines, a store on a server (see `tracking.py --server`), more workers than cores.

It ends with exit code 2 where Dask is not installed.
"""

import importlib.util
import os
import socket
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
    asked = arguments.parse_args()
    unwind_on_sigterm()
    if not importlib.util.find_spec("distributed"):
        tell("nothing measured on Dask: it is not installed (make install-dask)")
        return 2
    found = interleaved(
        {"pool": lambda: sweep(asked.seeds), "dask": lambda: on_dask(asked.seeds)}, asked.rounds, warm_up=False
    )

    def line(what: str, place: int) -> Line:
        ratios = [dask[place] / pool[place] for dask, pool in zip(found["dask"], found["pool"], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}, n = {asked.rounds}"
        title = f"flow sweep, {asked.seeds} seeds, {ENGINE}, on Dask beside own processes, {what}"
        return Line(title, f"{median(ratios):.2f}× the time ({spread})")

    return show([line("a seed after start-up", 0), line("the whole command", 1)], asked.json)


def sweep(seeds: int, *options: str) -> Measured:
    """A round of `paramshare flow sweep`."""
    what = ["--seeds", f"0:{seeds}", "--devices", "cpu", "--engine", ENGINE, *options]
    return measured([PROGRAM, "flow", "sweep", *what], seeds)


def on_dask(seeds: int) -> Measured:
    """The same on a cluster of its own."""
    with tempfile.TemporaryDirectory(prefix="machines-") as folder, cluster(Path(folder)) as scheduler:
        return sweep(seeds, "--dask-scheduler", scheduler)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A scheduler and a worker a core, all of them there; its address."""
    from distributed import Client

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
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
