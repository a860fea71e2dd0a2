"""How long one waits for a command, beside what Python itself needs.

    python benchmarks/startup.py

Covered: `paramshare --help` as a multiple of `python -c pass`; `paramshare train` with one seed, in a store that it has
to make and in one that is there, as a multiple of `python -c "import torch, mlflow"`, without which nobody trains and
tracks. In every round each command runs once, in a new order, with the files of all in the disk cache; what is printed
is the median over the rounds of that round's ratio. The seed is another one in every round, so that it is trained.
Not covered: the first start after an install (Python compiles then); flows, whose Prefect server is
`beside_by_hand.py`'s matter.
"""

import sys
import tempfile
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from measuring import PROGRAM, Line, interleaved, parser, seconds, show, tell

PASS, IMPORTS = [sys.executable, "-c", "pass"], [sys.executable, "-c", "import torch, mlflow"]


def main() -> int:
    """Measure and print the lines."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=5, help="how often each command runs (default: 5)")
    asked = arguments.parse_args()
    tell(f"startup.py: {asked.rounds} rounds")
    seeds = count()
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        kept = Path(folder)
        seconds(train(next(seeds)), kept)  # makes the store
        jobs = {
            "pass": partial(seconds, PASS, kept),
            "imports": partial(seconds, IMPORTS, kept),
            "help": partial(seconds, [PROGRAM, "--help"], kept),
            "kept": lambda: seconds(train(next(seeds)), kept),
            "fresh": in_fresh_store,
        }
        found = interleaved(jobs, asked.rounds)

    def line(what: str, name: str, beside: str, of: str) -> Line:
        ratio = median(own / base for own, base in zip(found[name], found[beside], strict=True))
        return Line(what, f"{ratio:.1f}× `{of}` (n = {asked.rounds})")

    one_seed, imports = "start-up, `paramshare train --seeds 0`", 'python -c "import torch, mlflow"'
    return show(
        [
            line("start-up, `paramshare --help`", "help", "pass", "python -c pass"),
            line(f"{one_seed}, fresh store", "fresh", "imports", imports),
            line(f"{one_seed}, existing store", "kept", "imports", imports),
        ],
        asked.json,
    )


def train(seed: int) -> list[str]:
    """The command that trains one seed."""
    return [PROGRAM, "train", "--seeds", str(seed), "--devices", "cpu"]


def in_fresh_store() -> float:
    """The same in a folder without a store."""
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        return seconds(train(0), Path(folder))


if __name__ == "__main__":
    sys.exit(main())
