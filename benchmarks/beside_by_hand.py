"""Compare a sweep with a script written by hand: the ratio of the seeds trained and tracked in the same time.

    python benchmarks/beside_by_hand.py

The commands are `by_hand.py`, and `paramshare flow sweep` with the engine gram. Each has a new folder, a new SQLite
store and a new `$PREFECT_HOME`, so that both create their database and start their own Prefect server. Nothing else
runs on the machine. In every round each command runs once, in random order. The result is the median over the rounds of
the ratio of a round.

- After start-up: the seeds per second while seeds end. This process reads the store every 20 ms and records when runs
  are FINISHED; the rate is the slope of a line fitted to these times. So the rate excludes everything before the end of
  the first seed (imports, migrations, Prefect's server, the first export) and after the end of the last one (our parent
  run with the curves of all seeds).
- The whole command, from its start to its end. Ours trains all seeds. The script trains a few seeds, and its time is
  extrapolated at its own rate, since 200 seeds would take too long.

Covered: all cores of the machine, as each side uses them by default. The script trains one seed after another with
torch's threads; the sweep has one process per core.
Not covered: the additional data that the sweep writes (see `by_hand.py`); other stores than SQLite (see
`tracking.py --server`).

The exit code is 1 if the claim of docs/speed.md does not hold.
"""

import sys
from pathlib import Path
from statistics import median

from measuring import ENGINE, PROGRAM, Line, Measured, interleaved, measured, parser, show, unwind_on_sigterm

CLAIMED = 100.0


def main() -> int:
    """Measure, print the lines, and return the exit code."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3, help="how often each runs (default: 3)")
    arguments.add_argument("--seeds", type=int, default=200, help="seeds of a sweep (default: 200)")
    arguments.add_argument("--by-hand", type=int, default=3, help="seeds by hand, at least 2 (default: 3)")
    options = arguments.parse_args()
    unwind_on_sigterm()
    rounds = interleaved(
        {"ours": lambda: ours(options.seeds), "by hand": lambda: by_hand(options.by_hand)},
        options.rounds,
        warm_up=False,
    )
    after, whole = [], []
    for (our_seed, our_whole), (hand_seed, hand_whole) in zip(rounds["ours"], rounds["by hand"], strict=True):
        after.append(hand_seed / our_seed)
        whole.append((hand_whole + (options.seeds - options.by_hand) * hand_seed) / our_whole)
    what = f"flow sweep, {options.seeds} seeds, {ENGINE}, beside a script by hand"
    spread = f"{min(after):.0f} to {max(after):.0f}, n = {options.rounds}"
    return show(
        [
            Line(
                f"{what}, a seed after start-up",
                f"{median(after):.0f}× ({spread})",
                f"≥ {CLAIMED:.0f}×",
                median(after) >= CLAIMED,
            ),
            Line(f"{what}, the whole command", f"{median(whole):.0f}× (n = {options.rounds})"),
        ],
        options.json,
    )


def ours(seeds: int) -> Measured:
    """Measure `paramshare flow sweep` once."""
    what = ["--seeds", f"0:{seeds}", "--devices", "cpu", "--engine", ENGINE]
    return measured([PROGRAM, "flow", "sweep", *what], seeds)


def by_hand(seeds: int) -> Measured:
    """Measure the script once."""
    script = Path(__file__).with_name("by_hand.py")
    return measured([sys.executable, str(script), str(seeds), "sqlite:///mlruns/mlflow.db"], seeds)


if __name__ == "__main__":
    sys.exit(main())
