"""The rules by which torch's operations are counted: products, elementwise operations, lookups and others.

Only operations that the meta device does not decompose have rules; linear layers, attention and RNNs decompose into
matrix products.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._ops import OpOverload, OpOverloadPacket

__all__ = ["Lookup", "Product", "Rule", "is_written", "live_taps", "look_up", "operands_of", "rule_of"]

_aten = torch.ops.aten

_Args = Sequence[Any]
_Packet = OpOverloadPacket[Any, Any]


class Product(NamedTuple):
    """An operation that multiplies and accumulates.

    Args:
        factors: the numbers of the arguments that are multiplied; other arguments are added.
        macs: returns the multiply-accumulates for the arguments and the output.
    """

    factors: tuple[int, ...]
    macs: Callable[[_Args, Tensor], int]


def _inner(first: int) -> Callable[[_Args, Tensor], int]:
    return lambda args, out: out.numel() * int(args[first].shape[-1])


def _all_of(first: int) -> Callable[[_Args, Tensor], int]:
    return lambda args, _: int(args[first].numel())


def _batches(args: _Args, _: Tensor) -> int:
    return int(prod(args[1].shape) * args[2].shape[-1])


def _convolution(args: _Args, out: Tensor) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    return int((x if transposed else out).numel() * prod(weight.shape[1:]))


def _grouped(args: _Args, _: Tensor) -> int:
    first, second = args[:2]
    groups = first.shape[0] if first.dim() == second.dim() == 3 else 1
    return int(prod(first.shape[-2:]) * second.shape[-1] * groups)


def _trilinear(args: _Args, _: Tensor) -> int:
    shapes = []
    for tensor, expanded in zip(args[:3], args[3:6], strict=True):
        shape = list(tensor.shape)
        for dim in sorted(expanded):
            shape.insert(dim, 1)
        shapes.append(shape)
    return prod(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def _attention(args: _Args, _: Tensor) -> int:
    query, key, value = args[:3]
    return int(prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


_PRODUCTS: dict[_Packet, Product] = {
    _aten.mm: Product((0, 1), _inner(0)),
    _aten.bmm: Product((0, 1), _inner(0)),
    _aten.addmm: Product((1, 2), _inner(1)),
    _aten._addmm_activation: Product((1, 2), _inner(1)),
    _aten.addmm_: Product((1, 2), _inner(1)),
    _aten.baddbmm: Product((1, 2), _inner(1)),
    _aten.baddbmm_: Product((1, 2), _inner(1)),
    _aten.addbmm: Product((1, 2), _batches),
    _aten.addbmm_: Product((1, 2), _batches),
    _aten.mv: Product((0, 1), _all_of(0)),
    _aten.addmv: Product((1, 2), _all_of(1)),
    _aten.addmv_: Product((1, 2), _all_of(1)),
    _aten.addr: Product((1, 2), lambda _, out: out.numel()),
    _aten.addr_: Product((1, 2), lambda _, out: out.numel()),
    _aten.dot: Product((0, 1), _all_of(0)),
    _aten.vdot: Product((0, 1), _all_of(0)),
    _aten._int_mm: Product((0, 1), _inner(0)),
    _aten._scaled_mm: Product((0, 1), _inner(0)),
    _aten._grouped_mm: Product((0, 1), _grouped),
    _aten._cdist_forward: Product((0, 1), _inner(0)),
    _aten._weight_int8pack_mm: Product((0, 1), _inner(0)),
    _aten._weight_int4pack_mm: Product((0, 1), _inner(0)),
    _aten._weight_int4pack_mm_for_cpu: Product((0, 1), _inner(0)),
    _aten._dyn_quant_matmul_4bit: Product((0, 1), _inner(0)),
    _aten.convolution: Product((0, 1), _convolution),
    _aten.conv_tbc: Product((0, 1), lambda args, out: out.numel() * prod(args[1].shape[:2])),
    _aten._trilinear: Product((0, 1, 2), _trilinear),
    _aten._scaled_dot_product_flash_attention: Product((0, 1, 2), _attention),
    _aten._scaled_dot_product_flash_attention_for_cpu: Product((0, 1, 2), _attention),
    _aten._scaled_dot_product_efficient_attention: Product((0, 1, 2), _attention),
    _aten._scaled_dot_product_cudnn_attention: Product((0, 1, 2), _attention),
    _aten._scaled_dot_product_fused_attention_overrideable: Product((0, 1, 2), _attention),
}

# Products with packed weights, and operations that can unpack several weights from an integer.
_PACKED: set[_Packet] = {_aten._weight_int4pack_mm, _aten._weight_int4pack_mm_for_cpu, _aten._dyn_quant_matmul_4bit}
_UNPACKING: set[_Packet] = {
    _aten.bitwise_and, _aten.bitwise_right_shift, _aten.bitwise_left_shift, _aten.__and__, _aten.__rshift__,
    _aten.__lshift__, _aten.remainder, _aten.fmod, _aten.floor_divide,
}  # fmt: skip

# A weight is applied at each element of the output. Operations that torch tags as pointwise do the same.
_SPREAD: set[_Packet] = {
    _aten.native_batch_norm, _aten._native_batch_norm_legit, _aten._native_batch_norm_legit_no_training,
    _aten._batch_norm_with_update, _aten._batch_norm_with_update_functional, _aten.cudnn_batch_norm,
    _aten.native_layer_norm, _aten.native_group_norm, _aten._fused_rms_norm, _aten._prelu_kernel, _aten.copy_,
    _aten.copy, _aten.masked_fill, _aten.masked_fill_,
}  # fmt: skip

# Each element of the weight is placed beside data once.
_PLACED: set[_Packet] = {
    _aten.cat, _aten.stack, _aten.index_put, _aten.index_put_, _aten._index_put_impl_, _aten.scatter, _aten.scatter_,
    _aten.scatter_add, _aten.scatter_add_, _aten.slice_scatter, _aten.select_scatter, _aten.masked_scatter,
    _aten.masked_scatter_, _aten.index_copy, _aten.index_copy_, _aten.index_add, _aten.index_add_,
}  # fmt: skip

_LOOKUPS: set[_Packet] = {
    _aten.embedding, _aten._embedding_bag, _aten._embedding_bag_forward_only, _aten.index_select, _aten.index,
    _aten.gather, _aten.take, _aten._unsafe_index,
}  # fmt: skip

# An element of the weight appears unchanged at several places of the output.
_REPEATS: set[_Packet] = {
    _aten.repeat, _aten.expand_copy, _aten._unsafe_index,  # resizing decomposes into the last
    _aten.im2col, _aten.reflection_pad1d, _aten.reflection_pad2d, _aten.reflection_pad3d, _aten.replication_pad1d,
    _aten.replication_pad2d, _aten.replication_pad3d,
}  # fmt: skip

# Elements are moved or repeated, and not changed.
_MOVED: set[_Packet] = _REPEATS | {
    _aten.clone, _aten._to_copy, _aten.copy_, _aten.constant_pad_nd, _aten.cat, _aten.stack, _aten.roll, _aten.flip,
    _aten.index_select, _aten.permute_copy, _aten.view_copy, _aten.transpose_copy, _aten.slice_copy,
    _aten.select_copy, _aten.index, _aten._unsafe_view,
}  # fmt: skip

# Operands are placed side by side, each complete.
_SIDE_BY_SIDE: set[_Packet] = _PLACED | {_aten.block_diag}

# Each element of the output is computed from the same place of the operands with the output's shape.
_ALIGNED: set[_Packet] = {_aten.clone, _aten._to_copy, _aten.copy_, _aten.tril, _aten.triu, _aten.masked_fill}

# Data is shifted and scaled by weights of the same layer.
_NORMS: set[_Packet] = {
    _aten.native_batch_norm, _aten._native_batch_norm_legit, _aten._native_batch_norm_legit_no_training,
    _aten._batch_norm_with_update, _aten.native_layer_norm, _aten.native_group_norm, _aten._fused_rms_norm,
}  # fmt: skip

# The size of the output, or its existence, depends on values.
_SIZED_BY_VALUES: set[_Packet] = {
    _aten.nonzero, _aten.masked_select, _aten._unique2, _aten.unique_consecutive, _aten.unique_dim,
    _aten.repeat_interleave, _aten.bincount, _aten.index, _aten._is_all_true, _aten._is_any_true,
}  # fmt: skip

# New tensors with the shape of an old tensor.
_FRESH: set[_Packet] = {
    _aten.empty_like, _aten.zeros_like, _aten.ones_like, _aten.full_like, _aten.rand_like, _aten.randn_like,
    _aten.randint_like, _aten.new_empty, _aten.new_zeros, _aten.new_ones, _aten.new_full, _aten.new_empty_strided,
}  # fmt: skip

_ZEROS: set[_Packet] = {_aten.zeros, _aten.zeros_like, _aten.new_zeros, _aten.zero_}
_OVERWRITES: set[_Packet] = {_aten.copy_, _aten.zero_, _aten.fill_, _aten.set_}
_RESIZES: set[_Packet] = {_aten.set_, _aten.resize_, _aten.resize_as_}
_UPKEEP: set[_Packet] = {_aten.embedding_renorm_}  # limits the norm of rows

_Kind = Literal["product", "spread", "placed", "lookup", "fresh", "other"]


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule by which an operation is counted.

    Args:
        name: the name in torch's namespace.
        kind: the way in which the operation combines weights with data.
        product: the factors and MACs of an operation of kind `product`; else None.
        packed: True if the operation multiplies data with weights of which one stored element holds several.
        unpacks: True if the operation can unpack weights from integers.
        moves: True if the operation moves or repeats elements without a change.
        repeats: True if the output can have more elements than the input.
        side_by_side: True if each operand fills its own part of the output.
        aligned: True if each element of the output is computed from the same place of the operands with its shape.
        norm: True if the operation normalises its first operand.
        zeros: True if every element of the output is 0.
        random: True if the output is drawn from a generator.
        mutates: True if the operation writes into its first argument.
        overwrites: True if the operation writes into its first argument without reading it.
        writes: the numbers of the arguments that the operation writes into.
        sized_by_values: True if the size of the output, or its being a tensor, depends on values.
        follows_values: True if known inputs make the output known.
        outs: the names of the output arguments.
        upkeep: True if the operation only keeps a weight within bounds.
        composite: True if the operation must be decomposed first.
    """

    name: str
    kind: _Kind
    product: Product | None
    packed: bool
    unpacks: bool
    moves: bool
    repeats: bool
    side_by_side: bool
    aligned: bool
    norm: bool
    zeros: bool
    random: bool
    mutates: bool
    overwrites: bool
    writes: tuple[int, ...]
    sized_by_values: bool
    follows_values: bool
    outs: tuple[str, ...]
    upkeep: bool
    composite: bool


@cache
def rule_of(func: OpOverload[Any, Any]) -> Rule:
    """Return the rule for an operation."""
    packet, schema = func.overloadpacket, func._schema
    writes = tuple(place for place, argument in enumerate(schema.arguments) if is_written(argument))
    outs = tuple(argument.name for argument in schema.arguments if argument.is_out)
    drawn = torch.Tag.nondeterministic_seeded in func.tags
    return Rule(
        name=str(packet),
        kind=_kind_of(func),
        product=_PRODUCTS.get(packet),
        packed=packet in _PACKED,
        unpacks=packet in _UNPACKING,
        moves=packet in _MOVED,
        repeats=packet in _REPEATS,
        side_by_side=packet in _SIDE_BY_SIDE,
        aligned=packet in _ALIGNED or torch.Tag.pointwise in func.tags,
        norm=packet in _NORMS,
        zeros=packet in _ZEROS,
        random=drawn,
        mutates=writes[:1] == (0,),
        overwrites=packet in _OVERWRITES,
        writes=writes,
        sized_by_values=packet in _SIZED_BY_VALUES or not any("Tensor" in str(each.type) for each in schema.returns),
        follows_values=not drawn and packet not in _RESIZES and (writes in ((), (0,)) or bool(outs)),
        outs=outs,
        upkeep=packet in _UPKEEP,
        composite=func.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd),
    )


def is_written(argument: torch.Argument) -> bool:
    """Return whether an operation writes into an argument."""
    return argument.alias_info is not None and argument.alias_info.is_write


def _kind_of(func: OpOverload[Any, Any]) -> _Kind:
    packet = func.overloadpacket
    kinds: dict[_Kind, bool] = {
        "product": packet in _PRODUCTS,
        "spread": packet in _SPREAD or torch.Tag.pointwise in func.tags,
        "placed": packet in _PLACED,
        "lookup": packet in _LOOKUPS,
        "fresh": packet in _FRESH,
    }
    return next((kind for kind, applies in kinds.items() if applies), "other")


def operands_of(rule: Rule, args: _Args, kwargs: dict[str, Any]) -> Iterator[tuple[int, Tensor]]:
    """Yield each tensor that an operation reads, with the number of its argument; -1 for a named argument."""
    for place, value in enumerate(args):
        if isinstance(value, Tensor):
            yield place, value
        elif isinstance(value, list | tuple):
            yield from ((place, item) for item in value if isinstance(item, Tensor))
    for name, value in kwargs.items():
        if isinstance(value, Tensor) and name not in rule.outs:
            yield -1, value


class Lookup(NamedTuple):
    """A selection of items from a table by an index.

    Args:
        choices: the number of items of the table.
        picks: the number of selected items.
        item: the number of elements of an item.
    """

    choices: int
    picks: int
    item: int


def look_up(func: OpOverload[Any, Any], args: _Args, out: Tensor) -> Lookup:
    """Return the selection that an operation of kind `lookup` makes."""
    packet, table = func.overloadpacket, args[0]
    if packet in (_aten.index, _aten._unsafe_index):
        indexed = [dim for dim, index in enumerate(args[1]) if index is not None]
        choices = prod(table.shape[dim] for dim in indexed)
    elif packet in (_aten.index_select, _aten.gather):
        choices = int(table.shape[args[1]]) if table.dim() else 1
    elif packet is _aten.take:
        choices = table.numel()
    else:
        choices = int(table.shape[0])
    item = 1 if packet is _aten.gather else table.numel() // max(choices, 1)
    bag = packet in (_aten._embedding_bag, _aten._embedding_bag_forward_only)
    picks = int(args[1].numel()) if bag else out.numel() // max(item, 1)
    return Lookup(choices, picks, item)


def live_taps(args: _Args, out: Tensor, inner: Sequence[int], left: Sequence[int]) -> int:
    """Return the number of live copies of a convolution's weights: copies that meet data if each position has its own.

    Args:
        args: the arguments of `aten.convolution`.
        out: the output, (batch, channels, *space).
        inner: the size of the data in each dimension of space, without zeros from an earlier padding.
        left: the number of such zeros before the data in each dimension.
    """
    x, weight, _, stride, padding, dilation, transposed = args[:7]
    space = weight.dim() - 2
    stride, padding, dilation = (each * space if len(each) < space else each for each in (stride, padding, dilation))
    steps, ends = (x.shape[2:], out.shape[2:]) if transposed else (out.shape[2:], inner)
    live = int(x.shape[0] * weight.shape[0] * weight.shape[1])
    for dim, taps in enumerate(weight.shape[2:]):
        shift = padding[dim] + (0 if transposed else left[dim])
        offsets = (tap * dilation[dim] - shift for tap in range(taps))
        live *= sum(_meetings(steps[dim], stride[dim], offset, ends[dim]) for offset in offsets)
    return live


def _meetings(steps: int, stride: int, offset: int, end: int) -> int:
    """Return the number of steps s with 0 <= s·stride + offset < end."""
    first = max(0, -(offset // stride))
    last = min(steps - 1, (end - 1 - offset) // stride)
    return max(0, last - first + 1)
