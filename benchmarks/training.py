"""Measure the speed of the engines, compared with the reference and with a lower bound of the hardware.

    make bench
    python benchmarks/training.py --device cuda:0     # on a GPU

Covered, on the CPU: one core, one thread, one seed after another, both variants, the article's sizes. In every round
each engine trains the same seed once, in random order. The results are medians over the rounds: the speed as a multiple
of the reference's in the same round, and the time as a multiple of the floor. The floor is the time of the
floating-point operations that the method needs for the depths of the seed, at the maximum rate of a float32 matrix
product on one thread in the same run. The direct method (reference, exact) multiplies by the inputs in every step; gram
multiplies by their Gram matrix.
Covered, on a GPU: 256 seeds by `train_many(specs, "gram")` compared with the plain loop on the same GPU, one seed at a
time, both including their draws, as a ratio of the seeds per second.
Not covered: the cost of writing runs (`tracking.py`); memory traffic, which the floor omits.

The exit code is 1 if a claim of docs/speed.md does not hold, and 2 if the device is not available.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from statistics import median

import torch
from measuring import Line, interleaved, parser, show, tell

from paramshare.errors import UsageError
from paramshare.recipes.dynamicnet.recipe import TrainSpec, options_of
from paramshare.recipes.dynamicnet.variants import VARIANTS
from paramshare.training.choice import ENGINES
from paramshare.training.dynamicnet.draws import draw
from paramshare.training.engines import train, train_many
from paramshare.training.environment.devices import choose_devices, find_devices

CLAIMED = {"exact": 1.75, "gram": 6.0}  # times as fast as the reference
CLAIMED_GPU = 100.0
GPU_SEEDS = 256
PLAIN_SEEDS = 3  # a round of the plain loop on a GPU


def main() -> int:
    """Measure, print the lines, and return the exit code."""
    arguments = parser(__doc__)
    arguments.add_argument("--device", default="cpu", help="cpu (default) or cuda:N")
    arguments.add_argument("--rounds", type=int, help="how often each engine trains (default: 15; 3 on a GPU)")
    options = arguments.parse_args()
    try:
        (device,) = choose_devices([options.device], find_devices())
        if device == "cpu":
            lines = [line for variant in VARIANTS for line in on_a_core(variant, options.rounds or 15)]
        else:
            lines = [on_a_gpu(device, options.rounds or 3)]
    except UsageError as error:
        tell(f"nothing measured: {error}")
        return 2
    return show(lines, options.json)


def on_a_core(variant: str, rounds: int) -> list[Line]:
    """Measure the engines on one core; return a line for each engine."""
    seeds = {engine: count() for engine in ENGINES if engine != "auto"}  # each engine trains the same seeds
    tell(f"training.py: {', '.join(seeds)}, {variant}, {rounds} rounds")
    jobs = {
        engine: lambda engine=engine: timed(lambda: train(TrainSpec(seed=next(seeds[engine]), variant=variant), engine))
        for engine in seeds
    }
    times = interleaved({**jobs, "peak": peak}, rounds)
    best = max(times.pop("peak"))
    specs = [TrainSpec(seed=seed, variant=variant) for seed in range(1, rounds + 1)]  # seed 0 is the warm-up
    lines = []
    for engine, seconds in times.items():
        ratio = median(plain / own for plain, own in zip(times["reference"], seconds, strict=True))
        floors = [operations(spec, gram=engine == "gram") / best for spec in specs]
        above = median(own / floor for own, floor in zip(seconds, floors, strict=True))
        claim = CLAIMED.get(engine)
        measured = f"{ratio:.2f}× the reference's speed; {above:.1f}× its floor's time"
        lines.append(
            Line(
                f"training, {engine}, {variant}",
                f"{measured} (n = {rounds})",
                f"≥ {claim}×" if claim else "",
                round(ratio, 2) >= (claim or 0),
            )
        )
    return lines


def operations(spec: TrainSpec, *, gram: bool) -> int:
    """Return the number of floating-point operations of all matrix products of a training, two per multiply-accumulate.

    Each layer has a forward product, a product for the gradient of its weights, and, unless its input is x, a product
    for the gradient of its input. Gram replaces the two products with x by one with the (batch, batch) Gram matrix.
    """
    rows, hidden, outputs = options_of(spec).batch_size, options_of(spec).hidden_size, options_of(spec).output_size
    first = rows * rows * hidden if gram else 2 * rows * options_of(spec).input_size * hidden
    middle, last = 3 * rows * hidden * hidden, 3 * rows * hidden * outputs
    return 2 * sum(first + depth * middle + last for depth in draw(spec).depths)


def peak(sizes: Sequence[int] = (256, 384, 512, 1024), times: int = 10) -> float:
    """Measure the maximum operations per second of square float32 matrix products on one thread.

    Args:
        sizes: the sizes of the matrices.
        times: the number of products of each size.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rates = []
    for size in sizes:
        left, right, result = (torch.rand(size, size) for _ in range(3))
        multiply = partial(torch.mm, left, right, out=result)
        rates += [2 * size**3 / timed(multiply) for _ in range(times)]
    torch.set_num_threads(before)
    return max(rates)


def timed(call: Callable[[], object]) -> float:
    """Call a function and return its duration in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def on_a_gpu(device: str, rounds: int) -> Line:
    """Measure the training of many seeds at once and of one seed at a time, both on `device`."""
    tell(f"training.py: {GPU_SEEDS} seeds on {device}, {rounds} rounds")
    many = [TrainSpec(seed=seed, device=device) for seed in range(GPU_SEEDS)]

    def gram() -> float:
        return timed(lambda: list(train_many(many, "gram"))) / GPU_SEEDS

    def plain() -> float:
        return timed(lambda: list(train_many(many[:PLAIN_SEEDS], "reference"))) / PLAIN_SEEDS

    times = interleaved({"gram": gram, "plain": plain}, rounds)
    ratio = median(plain / own for plain, own in zip(times["plain"], times["gram"], strict=True))
    return Line(
        f"training, gram, {GPU_SEEDS} seeds on {device}",
        f"{ratio:.0f}× the seeds a second of the plain loop there (n = {rounds})",
        f"≥ {CLAIMED_GPU:.0f}×",
        ratio >= CLAIMED_GPU,
    )


if __name__ == "__main__":
    sys.exit(main())
