"""How fast the engines train, beside the reference and beside what the hardware could do at best.

    make bench
    python benchmarks/training.py --device cuda:0     # the same question on a GPU

Covered, on the CPU: one core, one thread, one seed after the other, both variants, the article's sizes. In every round
each engine trains the same seed once, in a new order; what is printed is the median over the rounds of how many times
as fast as the reference it was in that round, and how many times its floor it took: the floating-point operations that
its method needs for the depths that this seed drew, at the highest rate of a float32 matrix product on one thread in
the same run. The direct method (reference, exact) multiplies by the inputs in every step; gram by their Gram matrix.
Covered, on a GPU: 256 seeds by `train_many(specs, "gram")` beside the plain loop on the same GPU, one seed at a time,
both with their draws, as a ratio of the seeds a second.
Not covered: what it costs to write the runs (`tracking.py`); memory traffic, which the floor leaves out.

It ends with exit code 1 where a claim of docs/speed.md does not hold, with 2 where the device is not there.
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
from paramshare.training.choice import ENGINES
from paramshare.training.devices import choose_devices, find_devices
from paramshare.training.draws import draw
from paramshare.training.engines import train, train_many
from paramshare.training.spec import VARIANTS, TrainSpec

CLAIMED = {"exact": 1.75, "gram": 6.0}  # times as fast as the reference
CLAIMED_GPU = 100.0
GPU_SEEDS = 256
PLAIN_SEEDS = 3  # a round of the plain loop on a GPU


def main() -> int:
    """Measure, print the lines, and tell whether the claims hold."""
    arguments = parser(__doc__)
    arguments.add_argument("--device", default="cpu", help="cpu (default) or cuda:N")
    arguments.add_argument("--rounds", type=int, help="how often each engine trains (default: 15; 3 on a GPU)")
    asked = arguments.parse_args()
    try:
        (device,) = choose_devices([asked.device], find_devices())
        if device == "cpu":
            lines = [line for variant in VARIANTS for line in on_a_core(variant, asked.rounds or 15)]
        else:
            lines = [on_a_gpu(device, asked.rounds or 3)]
    except UsageError as error:
        tell(f"nothing measured: {error}")
        return 2
    return show(lines, asked.json)


def on_a_core(variant: str, rounds: int) -> list[Line]:
    """A line an engine."""
    seeds = {engine: count() for engine in ENGINES if engine != "auto"}  # each engine gets the same ones
    tell(f"training.py: {', '.join(seeds)}, {variant}, {rounds} rounds")
    jobs = {
        engine: lambda engine=engine: timed(lambda: train(TrainSpec(seed=next(seeds[engine]), variant=variant), engine))
        for engine in seeds
    }
    found = interleaved({**jobs, "peak": peak}, rounds)
    best = max(found.pop("peak"))
    specs = [TrainSpec(seed=seed, variant=variant) for seed in range(1, rounds + 1)]  # seed 0 has warmed up
    lines = []
    for engine, seconds in found.items():
        ratio = median(plain / own for plain, own in zip(found["reference"], seconds, strict=True))
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
    """The floating-point operations of all steps' matrix products, two for each multiply-accumulate.

    Each layer has one product forward and one for its weights' gradient, and one for its input's gradient unless its
    input is x. Gram has one product of the (batch, batch) matrix instead of the first layer's two with x.
    """
    rows, hidden, outputs = spec.batch_size, spec.hidden_size, spec.output_size
    first = rows * rows * hidden if gram else 2 * rows * spec.input_size * hidden
    middle, last = 3 * rows * hidden * hidden, 3 * rows * hidden * outputs
    return 2 * sum(first + depth * middle + last for depth in draw(spec).depths)


def peak(sizes: Sequence[int] = (256, 384, 512, 1024), times: int = 10) -> float:
    """Operations a second of square float32 matrix products on one thread, the best of several sizes and times."""
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
    """The seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def on_a_gpu(device: str, rounds: int) -> Line:
    """Many seeds at once beside one at a time, both on `device`."""
    tell(f"training.py: {GPU_SEEDS} seeds on {device}, {rounds} rounds")
    many = [TrainSpec(seed=seed, device=device) for seed in range(GPU_SEEDS)]

    def gram() -> float:
        return timed(lambda: list(train_many(many, "gram"))) / GPU_SEEDS

    def plain() -> float:
        return timed(lambda: list(train_many(many[:PLAIN_SEEDS], "reference"))) / PLAIN_SEEDS

    found = interleaved({"gram": gram, "plain": plain}, rounds)
    ratio = median(plain / own for plain, own in zip(found["plain"], found["gram"], strict=True))
    return Line(
        f"training, gram, {GPU_SEEDS} seeds on {device}",
        f"{ratio:.0f}× the seeds a second of the plain loop there (n = {rounds})",
        f"≥ {CLAIMED_GPU:.0f}×",
        ratio >= CLAIMED_GPU,
    )


if __name__ == "__main__":
    sys.exit(main())
