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

It ends with exit code 1 where the claim of docs/speed.md does not hold.
"""

import sys
from pathlib import Path
from statistics import median

from measuring import ENGINE, PROGRAM, Line, Measured, interleaved, measured, parser, show, unwind_on_sigterm

CLAIMED = 100.0


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


if __name__ == "__main__":
    sys.exit(main())
