"""What the benchmarks share: how they run rounds, take a rate, read memory, and print what they found. Linux."""

import argparse
import json
import os
import random
import re
import signal
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

Measured = tuple[float, float]  # seconds a seed after start-up, seconds of the whole command


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: what was measured, what came out, what is claimed, whether that holds."""

    what: str
    measured: str
    claim: str = ""
    holds: bool = True


def parser(description: str | None) -> argparse.ArgumentParser:
    """The start of every program's command line."""
    begun = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    begun.add_argument("--json", action="store_true", help="print the lines as JSON instead of a table")
    return begun


def show(lines: Sequence[Line], as_json: bool) -> int:
    """Print the lines and give the exit code: 1 where a claim does not hold."""
    if as_json:
        print(json.dumps([asdict(line) for line in lines]))
    else:
        print(f"{machine()}\n\n{table(lines)}\n\n{verdict(lines)}")
    return 0 if all(line.holds for line in lines) else 1


def table(lines: Sequence[Line]) -> str:
    """The lines in Markdown."""
    rows = [f"| {line.what} | {line.measured} | {line.claim}{'' if line.holds else ' **no**'} |" for line in lines]
    return "\n".join(["| what | measured | claim |", "| :-- | :-- | :-- |", *rows])


def verdict(lines: Sequence[Line]) -> str:
    """Whether all claims hold, and which do not."""
    broken = [line.what for line in lines if not line.holds]
    return f"NOT all claims hold: {'; '.join(broken)}" if broken else "All claims hold."


def tell(progress: str) -> None:
    """Say what is going on to whoever waits."""
    print(progress, file=sys.stderr, flush=True)


def interleaved(jobs: Mapping[str, Callable[[], T]], rounds: int, warm_up: bool = True) -> dict[str, list[T]]:
    """Each job's figures, one a round; in every round each job runs once, in a new order.

    Args:
        warm_up: whether there is a round before the first, which does not count.
    """
    found: dict[str, list[T]] = {name: [] for name in jobs}
    for _ in range(rounds + warm_up):
        for name in random.sample(list(jobs), len(jobs)):
            found[name].append(jobs[name]())
    return {name: figures[int(warm_up) :] for name, figures in found.items()}


def rate(times: Sequence[float]) -> float:
    """Seeds a second after start-up: the slope of the line through the number of seeds done against time.

    Neither what comes before the first seed's end nor what comes after the last one's has a part in it. Where several
    processes hand in their seeds in batches, the first batch and the last one count no more than those between.
    """
    import numpy as np  # all else here needs the standard library alone, as gpu.py does before it has looked

    return float(np.polyfit(np.asarray(times) - times[0], np.arange(1, len(times) + 1), 1)[0])


def peak_mib(pid: int | str = "self") -> float:
    """The most memory that a process has had. (`getrusage` would hand down the parent's.)"""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 2**10


def surroundings(folder: Path) -> dict[str, str]:
    """The environment for a command that runs in `folder`: no setting from outside, no history, no telemetry."""
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


def unwind_on_sigterm() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that what was started is ended."""
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))


def machine() -> str:
    """The machine and the versions, in a line."""
    from paramshare.provenance import provenance

    found = provenance()
    parts = [found["hardware.cpu"], f"{found['hardware.cores']} cores", found.get("hardware.accelerators", "")]
    versions = [f"{name} {found[f'version.{name}']}" for name in ("torch", "mlflow", "prefect")]
    return ", ".join(part for part in (*parts, *versions) if part)


def seconds(command: list[str], folder: Path) -> float:
    """How long a command takes."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=surroundings(folder), capture_output=True, check=True)
    return time.perf_counter() - start


def measured(command: list[str], seeds: int) -> Measured:
    """Run a command that leaves `seeds` runs in `mlruns/mlflow.db`, in a fresh folder."""
    with tempfile.TemporaryDirectory(prefix="beside-") as name, tempfile.TemporaryFile() as output:
        folder = Path(name)
        (folder / "mlruns").mkdir()
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, env=surroundings(folder), stdout=output, stderr=output) as process:
            try:
                ends = watch(process, folder / "mlruns" / "mlflow.db", seeds)
            finally:
                process.send_signal(signal.SIGINT)  # where it still runs: it ends what it has started
        whole = time.perf_counter() - start
        if process.returncode != 0 or len(ends) < seeds:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read()[-3000:].decode(errors='replace')}")
    tell(f"{Path(command[0]).name}: {seeds} seeds, {1 / rate(ends):.3f} s a seed, {whole:.1f} s in all")
    return 1 / rate(ends), whole


def watch(process: subprocess.Popen[bytes], database: Path, seeds: int) -> list[float]:
    """The moments at which the first `seeds` runs are seen FINISHED, until the process ends."""
    ends: list[float] = []
    while process.poll() is None:
        time.sleep(LOOK_EVERY)
        if len(ends) < seeds and database.exists():
            finished = min(look(database), seeds)
            ends += [time.perf_counter()] * (finished - len(ends))
    return ends


def look(database: Path) -> int:
    """How many runs stand FINISHED in the store; none where it is not made yet or is being written to."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
