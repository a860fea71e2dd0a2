"""The one-bit control: trainings with one flipped bit in one initial weight.

Each step amplifies rounding, because a clamp opens or closes. So the tolerance for a curve that was computed with other
roundings is measured: it is the effect of the smallest possible change.
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
    """Train `spec` in the reference's arithmetic at one torch thread: first unchanged, then once for each flip.

    Each flip changes the last bit of one weight of the first layer before the first step. A training runs when its
    result is requested.

    Args:
        flips: the number of flips.
        seed: the seed that chooses the weights. Defaults to 0.
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
