"""The start-up time of commands, as multiples of what Python and the libraries need to start.

    python benchmarks/startup.py

Covered: `paramshare --help` as a multiple of `python -c pass`; `analyze` of a small net as a multiple of
`python -c "import torch"`; a sweep that finds nothing to do as a multiple of `python -c "import mlflow"`; `train` with
one seed, in a store that it has to make and in one that is there, as a multiple of `python -c "import torch, mlflow"`.
In every round each command runs once, in a new order, with the files of all in the disk cache; what is printed is the
median over the rounds of that round's ratio. The seed to train is another one in every round.
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

IMPORTS = {name: [sys.executable, "-c", f"import {name}"] for name in ("torch", "mlflow", "torch, mlflow")}
PASS = [sys.executable, "-c", "pass"]
NET = "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))\n"


def main() -> int:
    """Measure and print the lines."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=5, help="how often each command runs (default: 5)")
    asked = arguments.parse_args()
    tell(f"startup.py: {asked.rounds} rounds")
    seeds = count()
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        kept = Path(folder)
        (kept / "net.py").write_text(NET)
        seconds(train(next(seeds)), kept)  # makes the store
        found = interleaved(
            {
                "pass": partial(seconds, PASS, kept),
                **{name: partial(seconds, command, kept) for name, command in IMPORTS.items()},
                "help": partial(seconds, [PROGRAM, "--help"], kept),
                "analyze": partial(seconds, [PROGRAM, "analyze", "net.py:net", "--input", "8"], kept),
                "nothing": partial(seconds, train(0), kept),
                "kept": lambda: seconds(train(next(seeds)), kept),
                "fresh": in_fresh_store,
            },
            asked.rounds,
        )

    def line(what: str, name: str, beside: str, most: float | None = None) -> Line:
        ratio = median(own / base for own, base in zip(found[name], found[beside], strict=True))
        of = "python -c pass" if beside == "pass" else f'python -c "import {beside}"'
        claim = "" if most is None else f"≤ {most}×"
        return Line(what, f"{ratio:.2f}× `{of}` (n = {asked.rounds})", claim, most is None or ratio <= most)

    one_seed = "start-up, `paramshare train`, one new seed"
    return show(
        [
            line("start-up, `paramshare --help`", "help", "pass"),
            line("start-up, `paramshare analyze` of a small net", "analyze", "torch", 1.7),
            line("start-up, `paramshare train`, nothing to do", "nothing", "mlflow", 1.5),
            line(f"{one_seed}, existing store", "kept", "torch, mlflow", 1.8),
            line(f"{one_seed}, fresh store", "fresh", "torch, mlflow"),
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
