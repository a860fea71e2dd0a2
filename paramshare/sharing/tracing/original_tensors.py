"""The original's tensors, where a copy of a model still comes upon them: by a global name, or within an object.

Closures and weak references are copied with the model; what a function finds by a global name is not. Such a tensor is
taken for its copy, so that its uses are those of the model's own parameters and the original is not written to.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_any_only, tree_map_only

from paramshare.sharing.tensors.regions import storage_of

__all__ = ["Originals"]


class Originals:
    """The storages of a model that was copied.

    Args:
        stand_ins: the copies of its storages, by the address of the original.
    """

    def __init__(self, stand_ins: Mapping[int, torch.UntypedStorage]) -> None:
        self._stand_ins = stand_ins

    def replaced(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return the arguments of an operation with the copy of every original among them."""
        if not self._stand_ins or not tree_any_only(Tensor, self._is_original, (args, kwargs)):
            return args, kwargs
        new: tuple[Sequence[Any], dict[str, Any]] = tree_map_only(Tensor, self._copy_of, (tuple(args), kwargs))
        return new

    def _is_original(self, tensor: Tensor) -> bool:
        return tensor.layout == torch.strided and storage_of(tensor) in self._stand_ins

    def _copy_of(self, tensor: Tensor) -> Tensor:
        """Return the tensor that lies in the copied storage as `tensor` lies in the original's."""
        if not self._is_original(tensor):
            return tensor
        storage = self._stand_ins[storage_of(tensor)]
        copy = torch.empty(0, dtype=tensor.dtype, device=storage.device)
        copy.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())
        return nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
