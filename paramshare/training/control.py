"""The one-bit control: how far a training ends from itself when one bit of one initial weight is flipped.

Rounding is amplified step by step, since a clamp opens or closes. So a tolerance for curves that were computed with
other roundings cannot be pulled from the air: it is what the smallest change that there is does to the curve.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from paramshare.recipes.spec import RecipeSpec
from paramshare.recipes.training import train_recipe
from paramshare.training.digits.data import draw as draw_digits
from paramshare.training.digits.train import train_digits
from paramshare.training.draws import draw
from paramshare.training.exact import train_exact
from paramshare.training.export import array_of
from paramshare.training.reference import train_reference
from paramshare.training.result import Result
from paramshare.training.targets import Spec, target_of
from paramshare.training.torch_defaults import torch_defaults

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
    if isinstance(spec, RecipeSpec):
        for number in range(flips + 1):
            with torch_defaults():
                result: Result = train_recipe(spec, (lambda net: _flip(net, rng)) if number else None)
            yield result
        return
    spec = replace(spec, arithmetic="direct")
    start, train = _ways(spec)
    for number in range(flips + 1):
        with torch_defaults():
            draws = start(spec)
            if number:
                _flip(draws.net, rng)
            result = train(spec, draws)
        yield result


def _ways(spec: Spec) -> tuple[Callable[[Any], Any], Callable[[Any, Any], Result]]:
    """How a training of `spec` starts, and what trains it from there."""
    if target_of(spec).name == "digits":
        return draw_digits, train_digits
    return draw, train_exact if spec.device == "cpu" else train_reference  # the same bits


def _flip(net: torch.nn.Module, rng: np.random.Generator) -> None:
    weight = next(parameter for parameter in net.parameters() if parameter.is_floating_point()).detach()
    values = array_of(weight)  # of the same storage
    bits = values.view(f"u{values.itemsize}")
    bits[tuple(rng.integers(size) for size in bits.shape)] ^= 1
