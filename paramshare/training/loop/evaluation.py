"""The metrics of a trained model."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.recipes.parts import Data
from paramshare.recipes.recipe import Recipe
from paramshare.training.loop.examples import example_count, take

__all__ = ["evaluated", "mean_loss"]

_BATCH: Final = 1000  # examples


def mean_loss(recipe: Recipe, model: nn.Module, data: Any) -> float:
    """Return the mean of the loss over all examples, in batches of 1000: the default of `Recipe.evaluate`."""
    count, total = example_count(data), 0.0
    for begin in range(0, count, _BATCH):
        part = take(data, slice(begin, begin + _BATCH))
        loss = recipe.loss(model, part)
        total += float(loss[0] if isinstance(loss, tuple) else loss) * min(_BATCH, count - begin)
    return total / count


def evaluated(recipe: Recipe, model: nn.Module, data: Data) -> dict[str, float]:
    """Return every metric of the recipe by name. Evaluation mode and gradients are restored after it.

    Raises:
        SpecError: `evaluate` returns a metric that is not declared, or lacks one.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            values = {name: float(value) for name, value in recipe.evaluate(model.eval(), data).items()}
    finally:
        for module, training in modes:
            module.training = training
    options = dict(recipe.options)
    _check_metrics(values, [metric.name for metric in recipe.metrics if metric.applies_to(options)])
    return values


def _check_metrics(values: Mapping[str, float], declared: Sequence[str]) -> None:
    if set(values) == set(declared):
        return
    missing, unknown = sorted(set(declared) - set(values)), sorted(set(values) - set(declared))
    parts = [f"lacks {', '.join(missing)}"] * bool(missing)
    parts += [f"returns {', '.join(unknown)}, not declared in metrics"] * bool(unknown)
    raise SpecError(f"evaluate {' and '.join(parts)}; expected {', '.join(declared)}")
