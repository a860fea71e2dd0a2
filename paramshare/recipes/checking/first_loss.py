"""Try a recipe before a sweep writes anything: its data, its model, its variant and the loss of the first batch."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from paramshare.errors import SpecError, UsageError, in_a_line
from paramshare.recipes.loading.find import place_of
from paramshare.recipes.loading.source import RecipeSource
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.spec import Spec
from paramshare.training.environment.torch_defaults import torch_defaults
from paramshare.training.loop.batch_stream import BatchStream
from paramshare.training.loop.random_state import restored_random_state
from paramshare.training.loop.updates import loss_of
from paramshare.training.start import begin

__all__ = ["recipe_errors", "try_start"]


def try_start(spec: Spec) -> None:
    """Draw the start of a training on the CPU and compute the loss of its first batch. Nothing is trained.

    A recipe with a `fit` of its own computes no loss here.

    Raises:
        SpecError: the recipe fails, or the loss is not a finite number. The message names file and line.
    """
    with recipe_errors(spec.recipe, spec.variant), torch_defaults(), restored_random_state():
        start = begin(spec)
        if type(start.recipe).fit is not Recipe.fit:
            return
        batch = next(iter(BatchStream(start.recipe, start.data, start.order, torch.device("cpu"))))
        loss = loss_of(start.recipe, start.model, batch)[0].item()
    if not math.isfinite(loss):
        raise SpecError(f"the recipe {spec.recipe.reference}, variant {spec.variant}: the loss of step 0 is {loss}")


@contextmanager
def recipe_errors(source: RecipeSource, variant: str) -> Iterator[None]:
    """Turn an exception of a recipe's code into one line that names the recipe, the variant, file and line.

    Raises:
        SpecError: the block raised an exception.
    """
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, UsageError) else in_a_line(error)
        place = place_of(error, [file.path for file in source.files])
        raise SpecError(f"the recipe {source.reference}, variant {variant}{place}: {reason}") from error
