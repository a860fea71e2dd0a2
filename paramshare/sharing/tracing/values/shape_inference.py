"""Outcomes of the commonest operations on plain tensors, by their shapes alone.

Torch derives them in Python, and imports `torch._dynamo` and sympy for it: a second, which is most of the time that the
analysis of a small model takes. What is not plain (broadcast, mixed types, unusual strides) is left to torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch._ops import OpOverload

__all__ = ["plain_outcome"]

_aten = torch.ops.aten

_POINTWISE: Final = frozenset(
    {
        _aten.add.Tensor, _aten.div.Tensor, _aten.elu.default, _aten.gelu.default, _aten.hardtanh.default,
        _aten.leaky_relu.default, _aten.mul.Tensor, _aten.relu.default, _aten.sigmoid.default, _aten.silu.default,
        _aten.sub.Tensor, _aten.tanh.default,
    }
)  # fmt: skip
"""One element of the output for one of each input, of the inputs' type."""

_PRODUCTS: Final = {_aten.mm.default: 0, _aten.addmm.default: 1}
"""The place of the first of two matrices that are multiplied among the arguments."""


def plain_outcome(func: OpOverload[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return the outcome of `func`; None if it is not one of these operations or its arguments are not plain."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    if not tensors or kwargs or not all(one.is_meta and _alike(one, tensors[0]) for one in tensors):
        return None
    if func in _POINTWISE and all(type(arg) in (int, float, Tensor, torch.nn.Parameter) for arg in args):
        same = all(one.shape == tensors[0].shape and one.is_contiguous() for one in tensors)
        return _new(tensors[0], *tensors[0].shape) if same else None
    if func in _PRODUCTS:
        a, b = args[_PRODUCTS[func] :][:2]
        fits = a.dim() == b.dim() == 2 and a.shape[1] == b.shape[0]
        added = args[0].shape in ((b.shape[1],), (a.shape[0], b.shape[1])) if func is _aten.addmm.default else True
        return _new(a, a.shape[0], b.shape[1]) if fits and added else None
    return None


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.dtype.is_floating_point and one.layout == torch.strided


def _new(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")
