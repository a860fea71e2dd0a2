"""Measure the start-up time of commands, as multiples of the start-up time of Python and the libraries.

    python benchmarks/startup.py

Covered: `paramshare --help` as a multiple of `python -c pass`; `analyze` of a small net as a multiple of `python -c
"import torch"`; a sweep with nothing to train as a multiple of `python -c "import mlflow"`; `train` with one seed, in a
new and in an existing store, as a multiple of `python -c "import torch, mlflow"`; `ui` until it prints the address of
its pages, which answer then, as a multiple of `python -c "import mlflow"`. In every round each command runs
once, in random order, with all files in the disk cache. The result is the median over the rounds of the ratio of a
round. Every round trains another seed.
Not covered: the first start after an installation, in which Python compiles; flows, which start a Prefect server (see
`beside_by_hand.py`).
"""

import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from measuring import PROGRAM, Line, free_port, interleaved, parser, seconds, show, tell

IMPORTS = {name: [sys.executable, "-c", f"import {name}"] for name in ("torch", "mlflow", "torch, mlflow")}
PASS = [sys.executable, "-c", "pass"]
NET = "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))\n"


def main() -> int:
    """Measure and print the lines."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=5, help="how often each command runs (default: 5)")
    options = arguments.parse_args()
    tell(f"startup.py: {options.rounds} rounds")
    seeds = count()
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        kept = Path(folder)
        (kept / "net.py").write_text(NET)
        seconds(train(next(seeds)), kept)  # creates the store
        rounds = interleaved(
            {
                "pass": partial(seconds, PASS, kept),
                **{name: partial(seconds, command, kept) for name, command in IMPORTS.items()},
                "help": partial(seconds, [PROGRAM, "--help"], kept),
                "analyze": partial(seconds, [PROGRAM, "analyze", "net.py:net", "--input", "8"], kept),
                "nothing": partial(seconds, train(0), kept),
                "kept": lambda: seconds(train(next(seeds)), kept),
                "fresh": in_fresh_store,
                "pages": partial(until_served, kept),
            },
            options.rounds,
        )

    def line(title: str, name: str, base_name: str, limit: float | None = None) -> Line:
        ratio = median(own / base for own, base in zip(rounds[name], rounds[base_name], strict=True))
        base_command = "python -c pass" if base_name == "pass" else f'python -c "import {base_name}"'
        claim = "" if limit is None else f"≤ {limit}×"
        measured = f"{ratio:.2f}× `{base_command}` (n = {options.rounds})"
        return Line(title, measured, claim, limit is None or ratio <= limit)

    one_seed = "start-up, `paramshare train`, one new seed"
    return show(
        [
            line("start-up, `paramshare --help`", "help", "pass"),
            line("start-up, `paramshare analyze` of a small net", "analyze", "torch", 1.7),
            line("start-up, `paramshare train`, nothing to do", "nothing", "mlflow", 1.5),
            line(f"{one_seed}, existing store", "kept", "torch, mlflow", 1.8),
            line(f"{one_seed}, fresh store", "fresh", "torch, mlflow"),
            line("start-up, `paramshare ui`, until its pages answer", "pages", "mlflow"),
        ],
        options.json,
    )


def train(seed: int) -> list[str]:
    """Return the command that trains one seed."""
    return [PROGRAM, "train", "--seeds", str(seed), "--devices", "cpu"]


def in_fresh_store() -> float:
    """Measure the training of one seed in a folder without a store, in seconds."""
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        return seconds(train(0), Path(folder))


def until_served(folder: Path) -> float:
    """Measure how long `paramshare ui` takes until the store's pages answer, in seconds."""
    command = [PROGRAM, "ui", "--no-browser", "--port", str(free_port())]
    begin = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as pages:
        assert pages.stdout is not None
        address = pages.stdout.readline()
        took = time.perf_counter() - begin
        pages.terminate()
    assert address.startswith(b"http://127.0.0.1:"), "the server did not start"
    return took


if __name__ == "__main__":
    sys.exit(main())
