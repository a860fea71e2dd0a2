"""The one-bit control: how far a training ends from itself when one bit of one initial weight is flipped.

Rounding is amplified step by step, since a clamp opens or closes. So a tolerance for curves that were computed with
other roundings cannot be pulled from the air: it is what the smallest change that there is does to the curve.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from paramshare.recipes.spec import Spec
from paramshare.training.choice import choose_engine
from paramshare.training.dynamicnet.exact import train_exact
from paramshare.training.environment.torch_defaults import torch_defaults
from paramshare.training.export.archives import array_of
from paramshare.training.reference import train_reference
from paramshare.training.result import Result

__all__ = ["one_bit_control"]


def one_bit_control(spec: Spec, flips: int, seed: int = 0) -> Iterator[Result]:
    """Train `spec` in the reference's arithmetic, at one torch thread: as it is, and then once for each flip.

    Each flip is of the last bit of one weight of the first layer, before the first step. Each is trained when it is
    asked for.

    Args:
        flips: how many.
        seed: which weights.
    """
    rng = np.random.default_rng(seed)
    choice = choose_engine(replace(spec, arithmetic="direct"))
    train = train_exact if choice.engine == "exact" else train_reference  # the same bits
    for number in range(flips + 1):
        with torch_defaults():
            result = train(choice.spec, (lambda net: _flip(net, rng)) if number else None)
        yield result


def _flip(net: torch.nn.Module, rng: np.random.Generator) -> None:
    weight = next(parameter for parameter in net.parameters() if parameter.is_floating_point()).detach()
    values = array_of(weight)  # of the same storage
    bits = values.view(f"u{values.itemsize}")
    bits[tuple(rng.integers(size) for size in bits.shape)] ^= 1
