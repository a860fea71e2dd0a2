"""From a seed to the start of a training: the data, and the model of the variant with its initial weights.

All variants of a seed that are made by axes or a function begin as the same function, on the same data in the same
order: data and model are drawn first, the variant is made from the model, and the order of the examples and everything
that is drawn in training come from generators of their own.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from paramshare.errors import SpecError
from paramshare.recipes.parts import Data
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.spec import Spec
from paramshare.sharing.twins.untie import untie
from paramshare.training.loop.examples import example_count, take
from paramshare.training.loop.random_state import derived_seed, restored_random_state, seed_all

__all__ = ["Start", "as_built", "begin", "drawn_start", "sample_inputs"]


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a training, on the CPU.

    Args:
        recipe: the instance of this training.
        data: its data.
        model: the variant's model with its initial weights.
        order: the generator of the order of the examples.
        example: the model's arguments for one example.
    """

    recipe: Recipe
    data: Data
    model: nn.Module
    order: torch.Generator
    example: tuple[Any, ...]


def begin(spec: Spec) -> Start:
    """Draw the start of a training. It changes the global generators; see `restored_random_state`.

    Raises:
        SpecError: the recipe returns something that cannot be trained. Its own exceptions are not caught.
    """
    recipe, data, model = as_built(spec)
    order = torch.Generator().manual_seed(derived_seed(spec.seed, "order"))
    example = sample_inputs(recipe, data)
    model = _variant(recipe, spec.variant, model, example)
    seed_all(derived_seed(spec.seed, "training"))
    return Start(recipe, data, model.train(), order, example)


def drawn_start(spec: Spec) -> Start:
    """Draw the start of a training and restore the global generators. It raises as `begin`."""
    with restored_random_state():
        return begin(spec)


def as_built(spec: Spec) -> tuple[Recipe, Data, nn.Module]:
    """Draw the data and the model as built, before the variant is made. It changes the global generators.

    Raises:
        SpecError: the recipe returns something that cannot be trained. Its own exceptions are not caught.
    """
    recipe = spec.instance()
    recipe.seed = spec.seed
    seed_all(spec.seed)
    data = recipe.data(torch.Generator().manual_seed(derived_seed(spec.seed, "data")))
    _check_data(data)
    model = recipe.model()
    _check_model(model)
    return recipe, data, model


def sample_inputs(recipe: Recipe, data: Data, count: int = 1) -> tuple[Any, ...]:
    """Return the model's arguments for the first `count` examples.

    If the data are not tensors, they are examples of a batch of the seed 0.
    """
    try:
        example_count(data.train)
        batch = data.train
    except SpecError:
        batch = next(iter(recipe.batches(data.train, torch.Generator().manual_seed(0))))
    inputs = recipe.inputs(take(batch, slice(0, count)))
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _variant(recipe: Recipe, name: str, model: nn.Module, example: tuple[Any, ...]) -> nn.Module:
    variant = recipe.variants[name]
    if variant is None or isinstance(variant, Mapping):
        return model
    if callable(variant):
        changed = variant(model)
        _check_model(changed, f"the variant {name}")
        return changed
    assert isinstance(variant, Collection)
    return untie(model, set(variant), args=example)


def _check_data(data: object) -> None:
    if not isinstance(data, Data):
        raise SpecError(f"data returns {type(data).__name__}; expected ps.Data(train=..., test=...)")
    devices = {str(part.device) for part in tree_leaves((data.train, data.test)) if isinstance(part, Tensor)} - {"cpu"}
    if devices:
        raise SpecError(f"data returns tensors on {', '.join(sorted(devices))}; return them on the CPU")


def _check_model(model: object, what: str = "model") -> None:
    if not isinstance(model, nn.Module):
        raise SpecError(f"{what} returns {type(model).__name__}; expected a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise SpecError(f"{what} returns a module without trainable parameters")
    devices = {str(tensor.device) for tensor in (*model.parameters(), *model.buffers())} - {"cpu"}
    if devices:
        raise SpecError(f"{what} returns a module on {', '.join(sorted(devices))}; build it on the CPU")
