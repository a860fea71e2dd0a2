"""Common functions of the benchmarks: run rounds, measure a rate, read memory, and print results. For Linux."""

import argparse
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PROGRAM = str(Path(sys.executable).with_name("paramshare"))
ENGINE = "gram"  # of the sweeps that are measured
LOOK_EVERY = 0.02  # seconds

Measured = tuple[float, float]  # seconds per seed after start-up, seconds of the whole command


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: the measured quantity, its value, the claim, and whether the claim holds."""

    what: str
    measured: str
    claim: str = ""
    holds: bool = True


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every program has."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print the lines as JSON instead of a table")
    return arguments


def show(lines: Sequence[Line], as_json: bool) -> int:
    """Print the lines and return the exit code: 1 if a claim does not hold."""
    if as_json:
        print(json.dumps([asdict(line) for line in lines]))
    else:
        print(f"{machine()}\n\n{table(lines)}\n\n{verdict(lines)}")
    return 0 if all(line.holds for line in lines) else 1


def table(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    rows = [f"| {line.what} | {line.measured} | {line.claim}{'' if line.holds else ' **no**'} |" for line in lines]
    return "\n".join(["| what | measured | claim |", "| :-- | :-- | :-- |", *rows])


def verdict(lines: Sequence[Line]) -> str:
    """Return a sentence that names the claims that do not hold."""
    broken = [line.what for line in lines if not line.holds]
    return f"NOT all claims hold: {'; '.join(broken)}" if broken else "All claims hold."


def tell(progress: str) -> None:
    """Print a line of progress to stderr."""
    print(progress, file=sys.stderr, flush=True)


def interleaved(jobs: Mapping[str, Callable[[], T]], rounds: int, warm_up: bool = True) -> dict[str, list[T]]:
    """Run each job once per round, in random order, and return the results of each job, one per round.

    Args:
        jobs: the jobs by name.
        rounds: the number of rounds.
        warm_up: whether there is an additional first round that does not count. Defaults to True.
    """
    results: dict[str, list[T]] = {name: [] for name in jobs}
    for _ in range(rounds + warm_up):
        for name in random.sample(list(jobs), len(jobs)):
            results[name].append(jobs[name]())
    return {name: figures[int(warm_up) :] for name, figures in results.items()}


def rate(times: Sequence[float]) -> float:
    """Return the seeds per second after start-up: the slope of a line fitted to the number of finished seeds over time.

    The time before the end of the first seed and after the end of the last one does not count. If several processes
    finish their seeds in batches, the first and the last batch count as much as the others.

    Args:
        times: the time in seconds at which each seed ended, in order.
    """
    import numpy as np  # the rest needs only the standard library, as gpu.py does before it has found a GPU

    return float(np.polyfit(np.asarray(times) - times[0], np.arange(1, len(times) + 1), 1)[0])


def peak_mib(pid: int | str = "self") -> float:
    """Return the peak memory of a process in MiB. (`getrusage` would include the peak of the parent.)"""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) / 2**10


def surroundings(folder: Path) -> dict[str, str]:
    """Return the environment of a command in `folder`: without settings of this process, history and telemetry."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PARAMSHARE_", "MLFLOW_", "PREFECT_"))
    }
    return {
        **kept,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def unwind_on_sigterm() -> None:
    """Raise an exception on SIGTERM, as Ctrl-C does, so that the stack unwinds and child processes are ended."""
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))


def machine() -> str:
    """Return the machine and the versions in one line."""
    from paramshare.provenance import provenance

    origin = provenance()
    parts = [origin["hardware.cpu"], f"{origin['hardware.cores']} cores", origin.get("hardware.accelerators", "")]
    versions = [f"{name} {origin[f'version.{name}']}" for name in ("torch", "mlflow", "prefect")]
    return ", ".join(part for part in (*parts, *versions) if part)


def seconds(command: list[str], folder: Path) -> float:
    """Run a command in `folder` and return its duration in seconds."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=surroundings(folder), capture_output=True, check=True)
    return time.perf_counter() - start


def measured(command: list[str], seeds: int) -> Measured:
    """Run a command that writes `seeds` runs to `mlruns/mlflow.db`, in a new folder, and measure it."""
    with tempfile.TemporaryDirectory(prefix="beside-") as name, tempfile.TemporaryFile() as output:
        folder = Path(name)
        (folder / "mlruns").mkdir()
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, env=surroundings(folder), stdout=output, stderr=output) as process:
            try:
                ends = watch(process, folder / "mlruns" / "mlflow.db", seeds)
            finally:
                process.send_signal(signal.SIGINT)  # if it still runs, so that it ends its child processes
        whole = time.perf_counter() - start
        if process.returncode != 0 or len(ends) < seeds:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read()[-3000:].decode(errors='replace')}")
    tell(f"{Path(command[0]).name}: {seeds} seeds, {1 / rate(ends):.3f} s per seed, {whole:.1f} s in total")
    return 1 / rate(ends), whole


def watch(process: subprocess.Popen[bytes], database: Path, seeds: int) -> list[float]:
    """Return the times at which the first `seeds` runs were FINISHED; wait until the process ends."""
    ends: list[float] = []
    while process.poll() is None:
        time.sleep(LOOK_EVERY)
        if len(ends) < seeds and database.exists():
            finished = min(look(database), seeds)
            ends += [time.perf_counter()] * (finished - len(ends))
    return ends


def look(database: Path) -> int:
    """Return the number of FINISHED runs in the store; 0 if it does not exist yet or is locked."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
