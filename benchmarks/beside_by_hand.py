"""The sweep beside the script that one would write by hand: how many times the seeds in the same time.

    python benchmarks/beside_by_hand.py

Both are commands in processes of their own: `by_hand.py`, and `paramshare flow sweep` with the engine gram. Each has a
fresh folder, a fresh SQLite store and a fresh `$PREFECT_HOME`, so that both make their database and start a Prefect
server of their own; neither has anything else to do on the machine. In every round each runs once, in a new order; what
is printed is the median over the rounds of that round's ratio.

- After start-up: the seeds a second while seeds end. A third process looks into the store every 20 ms and notes when
  a run stands there FINISHED; the rate is the slope of the line through these moments. What comes before the first
  seed's end (imports, migrations, Prefect's server, the first export) and after the last one's (our parent run with
  the curves of all seeds) has no part in it.
- The whole command, from its start to its end. Ours for all the seeds; by hand for a few, carried on at its own rate
  to as many: nobody waits for 200 of them.

Covered: the two cores or more that the machine has, as each side uses them by itself. By hand, torch's own threads
train one seed after the other; ours has a process a core.
Not covered: that ours writes more (see `by_hand.py`), another store than SQLite (see `tracking.py --server`).

It ends with exit code 1 where the claim of the README does not hold.
"""

import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from measuring import ENGINE, PROGRAM, Line, interleaved, parser, rate, show, surroundings, tell, unwind_on_sigterm

CLAIMED = 100.0
LOOK_EVERY = 0.02  # seconds

Measured = tuple[float, float]  # seconds a seed after start-up, seconds of the whole command


def main() -> int:
    """Measure, print the lines, and tell whether the claim holds."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3, help="how often each runs (default: 3)")
    arguments.add_argument("--seeds", type=int, default=200, help="seeds of a sweep (default: 200)")
    arguments.add_argument("--by-hand", type=int, default=3, help="seeds by hand, at least 2 (default: 3)")
    asked = arguments.parse_args()
    unwind_on_sigterm()
    found = interleaved(
        {"ours": lambda: ours(asked.seeds), "by hand": lambda: by_hand(asked.by_hand)}, asked.rounds, warm_up=False
    )
    after, whole = [], []
    for (our_seed, our_whole), (hand_seed, hand_whole) in zip(found["ours"], found["by hand"], strict=True):
        after.append(hand_seed / our_seed)
        whole.append((hand_whole + (asked.seeds - asked.by_hand) * hand_seed) / our_whole)
    what = f"flow sweep, {asked.seeds} seeds, {ENGINE}, beside a script by hand"
    spread = f"{min(after):.0f} to {max(after):.0f}, n = {asked.rounds}"
    return show(
        [
            Line(
                f"{what}, a seed after start-up",
                f"{median(after):.0f}× ({spread})",
                f"≥ {CLAIMED:.0f}×",
                median(after) >= CLAIMED,
            ),
            Line(f"{what}, the whole command", f"{median(whole):.0f}× (n = {asked.rounds})"),
        ],
        asked.json,
    )


def ours(seeds: int) -> Measured:
    """A round of `paramshare flow sweep`."""
    what = ["--seeds", f"0:{seeds}", "--devices", "cpu", "--engine", ENGINE]
    return measured([PROGRAM, "flow", "sweep", *what], seeds)


def by_hand(seeds: int) -> Measured:
    """A round of the script."""
    script = Path(__file__).with_name("by_hand.py")
    return measured([sys.executable, str(script), str(seeds), "sqlite:///mlruns/mlflow.db"], seeds)


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


if __name__ == "__main__":
    sys.exit(main())
