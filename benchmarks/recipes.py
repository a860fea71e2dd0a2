"""Measure the cost of the default training loop of recipes, compared with the same loop written by hand.

    python benchmarks/recipes.py

Covered, on the CPU with one thread: the recipe of `examples/image_classifier.py` as it is, both variants. In each round
each loop trains the same seed once, in random order; the result is the median over the rounds of the ratio of their
CPU times, from the drawn start to the last step. Both give the same losses, bit for bit, or the program stops.
Not covered: drawing the start, evaluation, writing runs (`tracking.py`).

The exit code is 1 if a claim of docs/speed.md does not hold.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from measuring import Line, interleaved, parser, show, tell

from paramshare.recipes.loading.find import find_target
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import Target
from paramshare.training.loop.steps import steps_of
from paramshare.training.start import Start, begin

RECIPE = Path(__file__).resolve().parent.parent / "examples" / "image_classifier.py"
CLAIMED = 1.05  # times the CPU time of the loop by hand


def main() -> int:
    """Measure, print the lines, and return the exit code."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=9, help="how often each loop trains (default: 9)")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    target = find_target(f"{RECIPE}:ImageClassifier")
    assert isinstance(target, Target)
    return show([of_variant(target, variant, options.rounds) for variant in target.variants], options.json)


def of_variant(target: Target, variant: str, rounds: int) -> Line:
    """Measure both loops on a variant and return the line of the table."""
    tell(f"recipes.py: {target.name}, {variant}, {rounds} rounds")
    spec = target.new(seed=0, variant=variant)
    jobs = {name: lambda loop=loop: timed(spec, loop) for name, loop in (("default", default), ("hand", by_hand))}
    times = interleaved(jobs, rounds)
    if len({losses for results in times.values() for _, losses in results}) > 1:
        sys.exit("the two loops give different losses")
    ratio = median(own / hand for (own, _), (hand, _) in zip(times["default"], times["hand"], strict=True))
    what = f"default loop of recipes, {target.name}, {variant}"
    return Line(what, f"{ratio:.3f}× the CPU time by hand", f"at most {CLAIMED}×", ratio <= CLAIMED)


def timed(spec: Spec, loop: Callable[[Start], list[float]]) -> tuple[float, tuple[float, ...]]:
    """Return the CPU seconds of a loop, and its losses."""
    start = begin(spec)
    clock = time.process_time()
    losses = loop(start)
    return time.process_time() - clock, tuple(losses)


def default(start: Start) -> list[float]:
    """Train by the default loop and return the losses."""
    return [step.loss for step in steps_of(start.recipe, start.model, start.data, start.order)]


def by_hand(start: Start) -> list[float]:
    """Train by a loop as one writes it by hand and return the losses."""
    recipe, model, options = start.recipe, start.model, start.recipe.options
    optimizer = torch.optim.SGD(model.parameters(), lr=options.learning_rate, momentum=options.momentum)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    losses = []
    while True:
        for batch in recipe.batches(start.data.train, start.order):
            loss, _ = recipe.loss(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if len(losses) == options.steps:
                return losses


if __name__ == "__main__":
    sys.exit(main())
