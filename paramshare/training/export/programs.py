"""The model of a recipe as an exported graph."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from paramshare.errors import SpecError
from paramshare.recipes.spec import Spec
from paramshare.training.start import drawn_start

__all__ = ["check_archive", "exported_program", "recipe_program"]


def recipe_program(spec: Spec) -> torch.export.ExportedProgram:
    """Return the graph of the models of `spec`'s options and variant, for any batch; its weights are those of its seed.

    Raises:
        Exception: torch cannot export the model, or the recipe fails.
    """
    start = drawn_start(spec)
    batch_of_two = _repeated(start.example, 2)  # torch fixes a size of 1 in the graph
    return start.recipe.program(start.model.eval(), batch_of_two)


def exported_program(model: nn.Module, inputs: tuple[Any, ...]) -> torch.export.ExportedProgram:
    """Return the graph of a model for any number of examples: the default of `Recipe.program`."""
    return torch.export.export(model, inputs, dynamic_shapes=tree_map(_any_batch, inputs), strict=False)


def check_archive(archive: bytes, net: nn.Module, example: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Check that an exported model gives the outputs of `net`, on the CPU in evaluation mode, for one example.

    Args:
        options: the keyword arguments of both.

    Raises:
        SpecError: the outputs differ.
    """
    with torch.no_grad():
        expected = tree_leaves(net(*example, **options))
        outputs = tree_leaves(torch.export.load(BytesIO(archive)).module()(*example, **options))
    pairs = zip(expected, outputs, strict=True)
    if not all(torch.allclose(one, other, equal_nan=True) for one, other in pairs if isinstance(one, Tensor)):
        raise SpecError("the exported graph computes another function than the model")


def _repeated(inputs: Any, times: int) -> Any:
    return tree_map(lambda part: torch.cat([part] * times) if isinstance(part, Tensor) and part.dim() else part, inputs)


def _any_batch(part: Any) -> Any:
    """Return the dynamic shape of an argument: the first axis of a tensor has any length, if the graph allows it."""
    return {0: torch.export.Dim.AUTO} if isinstance(part, Tensor) and part.dim() else None
