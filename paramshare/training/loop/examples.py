"""Examples of data that consist of tensors: count them, take some of them, and put them into batches."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from paramshare.errors import SpecError
from paramshare.recipes.parts import Data

__all__ = ["data_on_device", "example_count", "on_device", "shuffled_batches", "take"]


def shuffled_batches(data: Any, size: int | None, generator: torch.Generator) -> Iterator[Any]:
    """Yield the batches of one epoch: the default of `Recipe.batches`.

    Raises:
        SpecError: there are fewer examples than a batch has.
    """
    count = example_count(data)
    if size is None or size == count:
        yield data
        return
    if size > count:
        raise SpecError(f"batch_size is {size}, and there are {count} examples; expected at most as many")
    order = torch.randperm(count, generator=generator)
    for begin in range(0, count - size + 1, size):
        yield take(data, order[begin : begin + size])


def take(data: Any, chosen: "Tensor | slice") -> Any:
    """Return some of the examples of data that consist of tensors."""
    if isinstance(chosen, slice):
        return tree_map(lambda part: part[chosen] if isinstance(part, Tensor) else part, data)
    return tree_map(lambda part: part[chosen.to(part.device)] if isinstance(part, Tensor) else part, data)


def example_count(data: Any) -> int:
    """Return the number of examples.

    Raises:
        SpecError: the data have no tensor, or tensors with different numbers of examples.
    """
    counts = {len(part) if part.dim() else 0 for part in tree_leaves(data) if isinstance(part, Tensor)}
    if len(counts) != 1 or 0 in counts:
        raise SpecError(
            "the training data have "
            + ("no examples" if not counts or counts == {0} else f"tensors of {sorted(counts)} examples")
            + "; expected tensors whose first axis counts the examples, or a recipe that overrides batches"
        )
    return counts.pop()


def on_device(data: Any, device: torch.device | str) -> Any:
    """Return data of the CPU with every tensor on a device; other parts are kept."""
    if str(device) == "cpu":
        return data
    return tree_map(lambda part: part.to(device) if isinstance(part, Tensor) else part, data)


def data_on_device(data: Data, device: torch.device | str) -> Data:
    """Return the data of a seed with every tensor on a device."""
    return Data(on_device(data.train, device), on_device(data.test, device))
