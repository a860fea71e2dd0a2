"""The stages of `gpu.py`, and functions that run, watch and end the commands of a stage.

Each stage takes a `Place` and returns its result in words. It raises `StageError` if its claim does not hold, if its
command fails, and if its command exceeds its time limit.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from measuring import LOOK_EVERY, look, peak_mib, rate, surroundings

ROOT = Path(__file__).resolve().parents[1]
MAIN = "import sys; from paramshare.cli import main; sys.exit(main())"  # the console script may not be installed
PROCESSES = 4  # maximum number per GPU
CARD_EVERY = 0.5  # seconds between two readings of the GPU's memory
GRACE = 5.0  # seconds between SIGTERM and SIGKILL


class StageError(Exception):
    """The failure of a stage.

    Attributes:
        details: the end of its command's output; empty if there is nothing to add.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True, slots=True)
class Place:
    """The place and the size of the work of stages.

    Args:
        folder: the folder of the stores of all stages.
        until: the `time.monotonic()` at which the stage's commands are ended.
        device: the device, see `--devices`. Defaults to `cuda:0`.
        seeds: the number of seeds of each sweep whose rate is measured. Defaults to 512.
        many: the number of seeds of the sweep whose memory is measured. Defaults to 1024.
        options: further options of each sweep. Defaults to none.
    """

    folder: Path
    until: float
    device: str = "cuda:0"
    seeds: int = 512
    many: int = 1024
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: its name, its claim in words, its time limit in seconds, and the function that runs it."""

    name: str
    claim: str
    budget: float
    run: Callable[[Place], str]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The training seconds of each seed of a sweep, and the times at which its runs were first seen finished."""

    trained: list[float]
    ends: list[float]


@dataclass(slots=True)
class Memory:
    """The maximum observed memory of the processes of a session and of the card, in MiB."""

    card: bool
    processes: dict[int, float] = field(default_factory=dict)
    before: float = 0.0
    peak: float = 0.0
    _next: float = 0.0

    def look(self, session: int) -> None:
        """Read the memory of both, at most once every `CARD_EVERY` seconds."""
        if time.monotonic() < self._next:
            return
        for pid in members(session):
            with suppress(OSError, AssertionError):  # the process has ended
                self.processes[pid] = peak_mib(pid)
        if self.card:
            used = card_mib()
            self.before = self.before or used
            self.peak = max(self.peak, used)
        self._next = time.monotonic() + CARD_EVERY


def members(session: int) -> list[int]:
    """Return the ids of the processes of a session."""
    pids = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after_name = file.read_text().rpartition(")")[2].split()
            if int(after_name[3]) == session:
                pids.append(int(file.parent.name))
    return pids


def card_mib() -> float:
    """Return the memory in use on the first GPU, by all processes, in MiB."""
    query = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise StageError(f"nvidia-smi does not print the GPU's memory: {error}") from None


def run(command: Sequence[str], place: Place, cwd: Path, watch: Callable[[int], None] = lambda _: None) -> str:
    """Run a command of this interpreter in a session of its own and return its standard output.

    Args:
        watch: called with the command's process id every `LOOK_EVERY` seconds.

    Raises:
        StageError: if it fails, or if it runs at `place.until`, when all of its processes are ended.
    """
    environment = {**surroundings(place.folder), "PYTHONPATH": os.pathsep.join([str(ROOT), str(metadata(place))])}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=cwd, env=environment, stdout=output, stderr=errors, start_new_session=True
        )
        try:
            while process.poll() is None and time.monotonic() < place.until:
                watch(process.pid)
                time.sleep(LOOK_EVERY)
            code = process.poll()
        finally:
            end(process)
        output.seek(0)
        errors.seek(0)
        printed, logged = output.read(), errors.read()
    tail = (printed + logged)[-2000:].strip()
    if code is None:
        raise StageError("ended: it exceeded its time limit", tail)
    if code:
        raise StageError(f"exit code {code}", tail)
    return printed


def end(process: subprocess.Popen[str]) -> None:
    """End all processes of a command's session: SIGTERM, and SIGKILL after `GRACE` seconds."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        latest = time.monotonic() + GRACE
        for pid in members(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signum)
        while (process.poll() is None or members(process.pid)) and time.monotonic() < latest:
            time.sleep(LOOK_EVERY)


def metadata(place: Place) -> Path:
    """Return a folder with paramshare's version, in the form of an installed package."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    folder = place.folder / "metadata"
    file = folder / f"paramshare-{version[1]}.dist-info" / "METADATA"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"Metadata-Version: 2.1\nName: paramshare\nVersion: {version[1]}\n")
    return folder


def cuda_tests(place: Place) -> str:
    """Run the tests that need CUDA. A skipped test counts as failed."""
    tests = ["tests/training/dynamicnet/test_lanes.py", "-k", "on_cuda", "-q", "-p", "no:cacheprovider"]
    printed = run(["-m", "pytest", *tests], place, ROOT)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|skipped)", printed)}
    result = f"{counts.get('passed', 0)} passed, {counts.get('skipped', 0)} skipped"
    if counts.get("skipped") or not counts.get("passed"):
        raise StageError(result, printed[-2000:].strip())
    return result


def beside_the_plain_loop(place: Place) -> str:
    """Compare the training of many seeds at once with the plain loop, both on the GPU."""
    program = str(ROOT / "benchmarks" / "training.py")
    try:
        (line,) = json.loads(run([program, "--device", place.device, "--json"], place, place.folder))
    except StageError as error:
        raise StageError(measured_of(error.details) or str(error), error.details) from None
    return str(line["measured"])


def measured_of(printed: str) -> str:
    """Return the measurement in the output of `training.py`; empty if there is none."""
    match = re.search(r'"measured": ("(?:[^"\\]|\\.)*")', printed)
    return str(json.loads(match[1])) if match else ""


def sweep(command: Sequence[str], seeds: int, place: Place, folder: Path, memory: Memory | None = None) -> Sweep:
    """Run a sweep with several processes into a new store in `folder`, and record the times at which its runs end."""
    folder.mkdir()
    (folder / "mlruns").mkdir()
    database, ends = folder / "mlruns" / "mlflow.db", list[float]()

    def watch(pid: int) -> None:
        if memory:
            memory.look(pid)
        elif database.exists():
            ends.extend([time.monotonic()] * (min(look(database), seeds) - len(ends)))

    options = ["--seeds", f"0:{seeds}", "--devices", place.device, "--workers", str(PROCESSES), "--json"]
    rows = json.loads(run(["-c", MAIN, *command, *options, *place.options], place, folder, watch))["runs"]
    finished = [float(row["seconds"]) for row in rows if row["status"] == "FINISHED"]
    if len(finished) != seeds:
        raise StageError(f"{len(finished)} of {seeds} runs finished")
    return Sweep(finished, ends)


def rates(measured: Sweep) -> str:
    """Return the rates of training and of writing of a sweep, in words."""
    trained = len(measured.trained) / sum(measured.trained)
    text = f"{len(measured.trained)} runs finished; one process trains {trained:.0f} seeds/s"
    if len(set(measured.ends)) < 2:
        return f"{text}; too few for a rate of writing"
    written = rate(measured.ends)
    return f"{text}, {PROCESSES} processes write {written:.1f} seeds/s after start-up: ratio {trained / written:.1f}"


def train(place: Place) -> str:
    """Measure the rates of `paramshare train`."""
    return rates(sweep(["train"], place.seeds, place, place.folder / "train"))


def flow_sweep(place: Place) -> str:
    """Measure the rates of `paramshare flow sweep`."""
    return rates(sweep(["flow", "sweep"], place.seeds, place, place.folder / "flow"))


def reproduce(place: Place) -> str:
    """Train a run of the stage `train` again and compare it bit by bit."""
    database = place.folder / "train" / "mlruns" / "mlflow.db"
    if not database.exists():
        raise StageError("there is no run to reproduce: `train` left no store")
    a_seed = """SELECT run_uuid FROM runs JOIN tags USING (run_uuid)
                WHERE key = 'paramshare.kind' AND value = 'seed' AND status = 'FINISHED' LIMIT 1"""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        row = connection.execute(a_seed).fetchone()
    if row is None:
        raise StageError("there is no run to reproduce: `train` finished no run")
    result = json.loads(run(["-c", MAIN, "reproduce", row[0], "--json"], place, database.parents[1]))
    if not result["equal"]:
        raise StageError(str(result["verdict"]), json.dumps(result, indent=1))
    return f"a run by {result['run_engine']}: {result['verdict']}"


def memory(place: Place) -> str:
    """Measure the memory of the card and of each process while many seeds are trained and written."""
    peak = Memory(card=place.device.startswith("cuda"))
    sweep(["train"], place.many, place, place.folder / "memory", peak)
    sizes = sorted(peak.processes.values())
    text = f"{place.many} seeds: {sizes[-1]:.0f} MiB in the largest process, {sum(sizes):.0f} MiB in total"
    return f"{text}; {peak.peak:.0f} MiB on the card, {peak.before:.0f} before" if peak.card else text


STAGES = (
    Stage("the CUDA tests", "all pass, none is skipped", 100, cuda_tests),
    Stage("256 seeds beside the plain loop", "≥ 100×", 75, beside_the_plain_loop),
    Stage("`train` by several processes", "every run finished", 100, train),
    Stage("`flow sweep` by several processes", "every run finished", 110, flow_sweep),
    Stage("`reproduce` of a run of `train`", "bitwise equal", 45, reproduce),
    Stage("memory at 1,024 seeds", "every run finished", 150, memory),
)
