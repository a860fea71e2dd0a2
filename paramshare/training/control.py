"""The one-bit control: how far a training ends from itself when one bit of one initial weight is flipped.

Rounding is amplified step by step, since a clamp opens or closes. So a tolerance for curves that were computed with
other roundings cannot be pulled from the air: it is what the smallest change that there is does to the curve.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from paramshare.training.draws import Draws, draw
from paramshare.training.exact import train_exact
from paramshare.training.reference import train_reference
from paramshare.training.result import TrainResult
from paramshare.training.spec import TrainSpec
from paramshare.training.threads import one_thread

__all__ = ["one_bit_control"]


def one_bit_control(spec: TrainSpec, flips: int, seed: int = 0) -> Iterator[TrainResult]:
    """Train `spec` in the reference's arithmetic, at one torch thread: as it is, and then once for each flip.

    Each flip is of the last bit of one weight of the first layer, before the first step. Each is trained when it is
    asked for.

    Args:
        flips: how many.
        seed: which weights.
    """
    spec = replace(spec, arithmetic="direct")
    train = train_exact if spec.device == "cpu" else train_reference  # the same bits
    rng = np.random.default_rng(seed)
    for number in range(flips + 1):
        draws = draw(spec)
        if number:
            _flip(draws, rng)
        with one_thread():
            result = train(spec, draws)
        yield result


def _flip(draws: Draws, rng: np.random.Generator) -> None:
    bits = draws.net.input_linear.weight.detach().numpy().view(np.uint32)  # of the same storage
    bits[rng.integers(bits.shape[0]), rng.integers(bits.shape[1])] ^= 1
