"""How fast the engines train, beside the reference: one seed after the other on one core, one thread.

    make bench

In every round each engine trains the same seed once, in a new order; what is printed is the median over the rounds of
how many times as fast as the reference it was in that round: ratios travel, seconds do not. Both variants, the
article's sizes, 500 steps.
Not covered: what it costs to write the runs.

It ends with exit code 1 where the README's claim does not hold: exact takes at most 60 % of the reference's time.
"""

import argparse
import random
import sys
from statistics import median

from paramshare.provenance import provenance
from paramshare.training.engines import Engine, train
from paramshare.training.spec import VARIANTS, TrainSpec

ENGINES: tuple[Engine, ...] = ("reference", "exact")
CLAIMED = {"exact": 1 / 0.6}


def main() -> int:
    """Measure, print Markdown, and tell whether the claims hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="how often each engine trains (default: 15)")
    rounds = parser.parse_args().rounds
    found = provenance()
    print(f"{found['hardware.cpu']}, one core, torch {found['version.torch']}\n")
    print("| engine | variant | times as fast as the reference | µs a step |\n| :-- | :-- | --: | --: |")
    holds = True
    for variant in VARIANTS:
        seconds: dict[Engine, list[float]] = {engine: [] for engine in ENGINES}
        for seed in range(rounds + 1):
            for engine in random.sample(ENGINES, len(ENGINES)):
                seconds[engine].append(train(TrainSpec(seed=seed, variant=variant), engine).seconds)
        for engine, times in seconds.items():
            pairs = zip(seconds["reference"][1:], times[1:], strict=True)  # the first round warms up
            ratio = median(reference / time for reference, time in pairs)
            holds &= ratio >= CLAIMED.get(engine, 0)
            print(f"| {engine} | {variant} | {ratio:.2f} | {median(times[1:]) / 500 * 1e6:.0f} |")
    print("\nAll claims hold." if holds else "\nNOT all claims hold.")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
