"""Measure the time of a comparison of many runs.

    python benchmarks/comparing.py --runs 1000

Covered: `paramshare compare`, also with `--report`, which reads the loss of every step of every run; in seconds and as
a multiple of `python -c "import torch, mlflow"`, in interleaved rounds. The store is embedded and holds the given
number of runs of the article's size, half of each variant. paramshare writes the runs, with the numbers of one training
times a factor for each seed, since the values do not matter here.
Not covered: a store on a server.
"""

import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from measuring import PROGRAM, Line, interleaved, parser, seconds, show, tell

from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.dynamicnet.variants import VariantName
from paramshare.tracking.store import StoreAddress, open_store, update_statistics
from paramshare.tracking.write.kinds.seeds import write_run
from paramshare.training.engines import train

MAX_SECONDS = 10.0
VARIANTS: tuple[VariantName, ...] = ("shared", "untied")


def main() -> int:
    """Measure and print the lines."""
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=1000, help="how many the store holds (default: 1000)")
    arguments.add_argument("--rounds", type=int, default=3, help="how often each command runs (default: 3)")
    options = arguments.parse_args()
    tell(f"comparing.py: {options.runs} runs, {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="comparing-") as name:
        folder = Path(name)
        fill(folder / "mlruns" / "mlflow.db", options.runs)
        compare = [PROGRAM, "compare"]
        jobs = {
            "imports": partial(seconds, [sys.executable, "-c", "import torch, mlflow"], folder),
            "compare": partial(seconds, compare, folder),
            "report": partial(seconds, [*compare, "--report", "report.html"], folder),
        }
        rounds = interleaved(jobs, options.rounds)

    def line(title: str, name: str, limit: float | None = None) -> Line:
        duration = median(rounds[name])
        ratio = median(own / base for own, base in zip(rounds[name], rounds["imports"], strict=True))
        measured = f'{duration:.1f} s, {ratio:.1f}× `python -c "import torch, mlflow"` (n = {options.rounds})'
        return Line(title, measured, f"< {limit:g} s", duration < limit) if limit else Line(title, measured)

    store = f"{options.runs} runs, embedded"
    lines = [
        line(f"`paramshare compare`, {store}", "compare", MAX_SECONDS),
        line(f"with `--report`, {store}", "report"),
    ]
    return show(lines, options.json)


def fill(database: Path, runs: int) -> None:
    """Create a store with `runs` runs."""
    store = open_store(StoreAddress(f"sqlite:///{database}", "paramshare"))
    for variant in VARIANTS:
        result = train(TrainSpec(seed=0, variant=variant))
        for seed, factor in enumerate(np.random.default_rng(0).lognormal(size=runs // len(VARIANTS))):
            other = replace(
                result,
                spec=replace(result.spec, seed=seed),
                losses=result.losses * np.float32(factor),
                depth_losses=tuple(loss * float(factor) for loss in result.depth_losses),
            )
            write_run(store, other, {})
    update_statistics(store)


if __name__ == "__main__":
    sys.exit(main())
