"""Infer the outputs of the most common operations on contiguous tensors from the shapes alone.

Torch infers them in Python and imports `torch._dynamo` and sympy for that, which takes a second: most of the time of
the analysis of a small model. Torch infers all other cases: broadcasts, mixed dtypes, other strides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch._ops import OpOverload

__all__ = ["inferred_output"]

_aten = torch.ops.aten

_POINTWISE: Final = frozenset(
    {
        _aten.add.Tensor, _aten.div.Tensor, _aten.elu.default, _aten.gelu.default, _aten.hardtanh.default,
        _aten.leaky_relu.default, _aten.mul.Tensor, _aten.relu.default, _aten.sigmoid.default, _aten.silu.default,
        _aten.sub.Tensor, _aten.tanh.default,
    }
)  # fmt: skip
"""Elementwise operations whose output has the dtype of the inputs."""

_PRODUCTS: Final = {_aten.mm.default: 0, _aten.addmm.default: 1}
"""The number of the argument with the first of two matrices that are multiplied."""


def inferred_output(func: OpOverload[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return the output of `func`; None for another operation or another layout of the arguments."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    if not tensors or kwargs or not all(tensor.is_meta and _same_kind(tensor, tensors[0]) for tensor in tensors):
        return None
    if func in _POINTWISE and all(type(arg) in (int, float, Tensor, torch.nn.Parameter) for arg in args):
        same = all(tensor.shape == tensors[0].shape and tensor.is_contiguous() for tensor in tensors)
        return _new(tensors[0], *tensors[0].shape) if same else None
    if func in _PRODUCTS:
        a, b = args[_PRODUCTS[func] :][:2]
        fits = a.dim() == b.dim() == 2 and a.shape[1] == b.shape[0]
        added = args[0].shape in ((b.shape[1],), (a.shape[0], b.shape[1])) if func is _aten.addmm.default else True
        return _new(a, a.shape[0], b.shape[1]) if fits and added else None
    return None


def _same_kind(tensor: Tensor, other: Tensor) -> bool:
    return tensor.dtype == other.dtype and tensor.dtype.is_floating_point and tensor.layout == torch.strided


def _new(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")
