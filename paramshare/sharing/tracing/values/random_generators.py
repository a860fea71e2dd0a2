"""Find the random generators that a model holds: Python's, torch's and numpy's."""

import random
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

__all__ = ["Access", "model_generators"]

Access = tuple[Callable[[], Any], Callable[[Any], object]]
"""The functions that read and write the state of a generator."""


def model_generators(model: nn.Module) -> dict[str, Access]:
    """Return the functions that read and write the state of each generator of `model`, by its name in words.

    The generators are attributes of modules.
    """
    return {
        f"{path}.{name} of the model".removeprefix("."): access
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if (access := _access(value)) is not None
    }


def _access(value: Any) -> Access | None:
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    if isinstance(value, torch.Generator):
        return value.get_state, value.set_state
    if (numpy := sys.modules.get("numpy")) is None:
        return None
    if isinstance(value, numpy.random.RandomState):
        return value.get_state, value.set_state
    if isinstance(value, numpy.random.Generator):
        bits = value.bit_generator
        return lambda: bits.state, partial(setattr, bits, "state")
    return None
