"""The steps that a recipe's `fit` yields, whatever it yields them as."""

from collections.abc import Iterator

import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.recipes.parts import Data, Step
from paramshare.recipes.recipe import Recipe

__all__ = ["steps_of"]


def steps_of(recipe: Recipe, model: nn.Module, data: Data, generator: torch.Generator) -> Iterator[Step]:
    """Train `model` in place by the recipe's `fit` and yield each step.

    Raises:
        SpecError: `fit` yields no step.
    """
    count = 0
    for step in recipe.fit(model, data, generator):
        count += 1
        yield step if isinstance(step, Step) else Step(float(step))
    if not count:
        raise SpecError("fit yields no step; yield ps.Step(loss) for each one")
