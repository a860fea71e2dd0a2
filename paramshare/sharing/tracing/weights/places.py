"""The place in a weight's storage that each element of a derived tensor comes from, if the elements were only moved.

A slice of a rolled, flipped, padded or joined weight, or of rows that an index selected, then has the elements that it
really has. The places are computed when a part of the tensor is used.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from paramshare.sharing.tensors.regions import Region, elements_of

__all__ = ["LARGEST", "Move", "Places", "in_order", "positions_in"]

LARGEST: Final = 1 << 22
"""The maximum number of elements of a storage for which places are computed."""

Move = Callable[[Tensor], Tensor]
"""A function that moves the elements of a tensor of any type, as an operation does; -1 stands for other elements."""


class Places:
    """The places of the elements of one storage.

    Args:
        compute: returns the position in the weight's storage for each element of the storage; -1 for other elements.
    """

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self._compute = compute

    @cached_property
    def positions(self) -> Tensor:
        """Return the positions, (elements of the storage,)."""
        return self._compute()

    @classmethod
    def after(cls, move: Move, before: Callable[[], Tensor], source: Tensor, out: Tensor) -> "Places | None":
        """Return the places in the storage of a tensor whose elements were moved there.

        Args:
            move: moves the elements.
            before: returns the positions for each element of the storage of `source`.
            source: the tensor before the move.
            out: the tensor after the move.

        Returns:
            None for large tensors.
        """
        if max(elements_of(source), elements_of(out)) > LARGEST:
            return None
        return cls(lambda: _in_storage(move(in_order(before(), source)), out))


def in_order(positions: Tensor, tensor: Tensor) -> Tensor:
    """Return the values for the storage of a tensor as a tensor of its shape."""
    return positions.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def positions_in(region: Region) -> Tensor:
    """Return the positions of a region, in any order; overlapping windows repeat positions."""
    positions = torch.tensor([region.offset])
    for stride, length in region.dims:
        positions = (positions[:, None] + stride * torch.arange(length)).flatten()
    return positions.unique()  # type: ignore[no-untyped-call, no-any-return]


def _in_storage(moved: Tensor, out: Tensor) -> Tensor:
    """Return the values for each element of the storage of `out`, given those of `out`."""
    values = torch.full((elements_of(out),), -1)
    in_order(values, out).copy_(moved)
    return values
