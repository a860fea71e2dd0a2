"""Refuse operations that torch's kernels refuse and the meta device does not."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch._ops import OpOverload

from paramshare.sharing.tracing.operations.op_rules import Rule

__all__ = ["check_operation"]

_aten = torch.ops.aten

_ONE_KIND: Final = {
    _aten.mm, _aten.bmm, _aten.addmm, _aten._addmm_activation, _aten.addmm_, _aten.baddbmm, _aten.baddbmm_,
    _aten.addbmm, _aten.addbmm_, _aten.mv, _aten.addmv, _aten.addmv_, _aten.dot, _aten.vdot, _aten.convolution,
}  # fmt: skip
"""Products of two factors, which are both integers or neither is."""


def check_operation(func: OpOverload[Any, Any], rule: Rule, args: Sequence[Any]) -> None:
    """Check the dtypes of the factors of a product or of normalised data.

    Floating-point types can differ, since `torch.autocast` casts them and has no effect on the meta device.

    Args:
        func, rule, args: the operation, its rule and its arguments.

    Raises:
        RuntimeError: a tensor of integers is multiplied with other numbers, or normalised.
    """
    if rule.product is not None and func.overloadpacket in _ONE_KIND:
        first, second = (args[place].dtype for place in rule.product.factors)
        if _is_integer(first) is not _is_integer(second):
            raise RuntimeError(f"torch cannot multiply tensors of the dtypes {_name(first)} and {_name(second)}")
    elif rule.norm and _is_integer(args[0].dtype):
        raise RuntimeError(f"torch cannot normalise a tensor of the dtype {_name(args[0].dtype)}")


def _is_integer(kind: torch.dtype) -> bool:
    return not (kind.is_floating_point or kind.is_complex)


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
