"""Replace tensors of the original model by their copies during a pass over a copy of the model.

Closures and weak references are copied with the model, but a function may still find a tensor of the original by a
global name or within an object. The replacement counts its uses as uses of the copied parameters, and protects the
original from writes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_any_only, tree_map_only

from paramshare.sharing.tensors.regions import storage_of

__all__ = ["OriginalTensors"]


class OriginalTensors:
    """The storages of a copied model and their copies.

    Args:
        stand_ins: the new storages, by the address of the original storage.
    """

    def __init__(self, stand_ins: Mapping[int, torch.UntypedStorage]) -> None:
        self._stand_ins = stand_ins

    def replaced(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return the arguments of an operation with every original tensor replaced by its copy."""
        if not self._stand_ins or not tree_any_only(Tensor, self._is_original, (args, kwargs)):
            return args, kwargs
        new: tuple[Sequence[Any], dict[str, Any]] = tree_map_only(Tensor, self._copy_of, (tuple(args), kwargs))
        return new

    def _is_original(self, tensor: Tensor) -> bool:
        return tensor.layout == torch.strided and storage_of(tensor) in self._stand_ins

    def _copy_of(self, tensor: Tensor) -> Tensor:
        """Return the copy of an original tensor; any other tensor is returned unchanged."""
        if not self._is_original(tensor):
            return tensor
        storage = self._stand_ins[storage_of(tensor)]
        copy = torch.empty(0, dtype=tensor.dtype, device=storage.device)
        copy.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())
        return nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
