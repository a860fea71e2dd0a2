"""Sparse tensors in a pass: products count their stored elements; operations on known values run on the CPU.

Sparse tensors have no storage that a pass can follow. In a product, a dense tensor without memory stands for the sparse
factor. Operations that need other values of a sparse tensor are refused.
"""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves

from paramshare.sharing.tensors.wrapper_subclasses import is_irregular

__all__ = ["DenseCall", "SparseTensors", "makes_sparse"]

_aten = torch.ops.aten

_Func = OpOverload[Any, Any]

_PRODUCTS: Final[dict[_Func, _Func]] = {
    _aten.mm.default: _aten.mm.default,
    _aten.addmm.default: _aten.addmm.default,
    _aten.mv.default: _aten.mv.default,
    _aten.bmm.default: _aten.bmm.default,
    _aten._sparse_mm.default: _aten.mm.default,
    _aten._sparse_addmm.default: _aten.addmm.default,
}
"""The products of a sparse factor, each with the product of dense factors that has the same output."""

_PROPERTIES: Final = {_aten.is_coalesced, _aten._nnz, _aten.sparse_dim, _aten.dense_dim, _aten._dimI, _aten._dimV}
_SAME: Final = {_aten._coalesce, _aten.coalesce, _aten.detach, _aten.alias}
_DENSE: Final = {_aten._to_dense, _aten.to_dense}

_FROM_INDICES: Final = {
    _aten._sparse_coo_tensor_with_dims_and_tensors: (3, 4, 2),
    _aten._sparse_coo_tensor_unsafe: (0, 1, 2),
}
"""Operations that make a sparse tensor, with the numbers of the arguments: indices, values and size."""


class DenseCall(NamedTuple):
    """An operation in which a dense tensor stands for a sparse one.

    Args:
        func, args, kwargs: the operation and its arguments.
        dense: the tensor that stands for the sparse tensor.
        stored: the number of elements that the sparse tensor stores.
        of_data: True if the sparse tensor depends on the input.
        density: the part of the multiply-accumulates of the dense operation that the sparse operation computes.
    """

    func: _Func
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dense: Tensor
    stored: int
    of_data: bool
    density: Fraction


def makes_sparse(func: _Func) -> bool:
    """Return whether an operation makes a sparse tensor from indices and values."""
    return func.overloadpacket in _FROM_INDICES


class SparseTensors:
    """The sparse tensors of one pass.

    Args:
        inputs: the tensors of the input.
    """

    def __init__(self, inputs: Iterable[Tensor]) -> None:
        self._of_data = {id(tensor): tensor for tensor in inputs if is_irregular(tensor)}

    def run(
        self, func: _Func, args: Sequence[Any], kwargs: dict[str, Any], is_weight: Callable[[Tensor], bool]
    ) -> object:
        """Run an operation on sparse tensors, or return a `DenseCall` to run instead.

        Args:
            func, args, kwargs: the operation and its arguments.
            is_weight: returns whether a tensor is a weight or derived from weights.

        Raises:
            NotImplementedError: the operation needs values of a sparse tensor.
        """
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        of_data = any(id(tensor) in self._of_data for tensor in tensors)
        unknown = of_data or any(tensor.is_meta for tensor in tensors)
        if not unknown or func.overloadpacket in _PROPERTIES:
            return func(*args, **kwargs)
        if func.overloadpacket in _SAME:
            return self._as_data(func(*args, **kwargs))
        if makes_sparse(func) and not any(map(is_weight, tensors)):
            indices, values, size = (args[number] for number in _FROM_INDICES[func.overloadpacket])
            ones = torch.ones(values.shape, dtype=values.dtype)
            return self._as_data(torch.sparse_coo_tensor(torch.zeros(indices.shape, dtype=torch.long), ones, size))
        return self._dense_call(func, args, kwargs, of_data)

    def _as_data(self, tensor: Tensor) -> Tensor:
        self._of_data[id(tensor)] = tensor
        return tensor

    def _dense_call(self, func: _Func, args: Sequence[Any], kwargs: dict[str, Any], of_data: bool) -> DenseCall:
        sparse = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor) and is_irregular(arg)]
        packet = func.overloadpacket
        dense = _aten.clone.default if packet in _DENSE else _PRODUCTS.get(func)
        if dense is None or len(sparse) != 1 or not (sparse[0].is_sparse or sparse[0].layout is torch.sparse_csr):
            raise NotImplementedError(
                f"torch cannot run {packet} on a sparse or quantised tensor without values; give a dense tensor"
            )
        factor = sparse[0]
        stand_in = torch.empty(factor.shape, dtype=factor.dtype, device="meta")
        new, options = tuple(stand_in if arg is factor else arg for arg in args), kwargs
        if packet in _DENSE:
            new, options = (stand_in,), {}
        elif func is _aten._sparse_addmm.default:
            new, options = new[:3], kwargs | dict(zip(("beta", "alpha"), new[3:], strict=False))
        stored = factor._nnz()
        return DenseCall(dense, new, options, stand_in, stored, of_data, Fraction(stored, max(factor.numel(), 1)))
