"""Account for one operation: its MACs, the sites at which it uses weights, and the origin of its result.

An operation on weights and constants alone derives a new weight (a cast, a weight norm, a mask, B @ A of a LoRA) and is
not a use. The first operation with an operand of data uses every weight that its other operands have shares of:

- A product (matrix product, convolution) uses a weight at MACs / elements sites. Unshared, each site has a copy; dense,
  each output is connected to each distinct element of the data.
- Elementwise operations and norms use a weight at every element of the output, lookups at every selected item.
- Any other operation on weights and data counts as one site and is reported as an operation without a rule.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn import functional

from paramshare.sharing.tensors.regions import elements_of, region_of, size_of
from paramshare.sharing.tracing.operations.op_rules import Rule, live_taps, look_up
from paramshare.sharing.tracing.weights.origins import Constant, Data, Derived, Origin, Padding, Patch, Root, inherited
from paramshare.sharing.tracing.weights.places import LARGEST, Move, in_order
from paramshare.sharing.tracing.weights.weight_shares import Share, larger, summed

__all__ = ["Operand", "Operation", "Sites"]

_aten = torch.ops.aten


class Operand(NamedTuple):
    """A tensor argument of an operation.

    Args:
        place: the number of the argument; -1 for a named argument.
        tensor, origin: the tensor and its origin.
    """

    place: int
    tensor: Tensor
    origin: Origin

    @property
    def of_data(self) -> bool:
        """Return whether the operand depends on the input."""
        return isinstance(self.origin, Data)

    @property
    def of_weights(self) -> bool:
        """Return whether the operand is a weight, or derived from weights alone."""
        return isinstance(self.origin, Root | Derived)

    @property
    def values(self) -> int:
        """Return the number of distinct values of the operand."""
        distinct = size_of(region_of(self.tensor))
        return min(distinct, self.origin.elements) if isinstance(self.origin, Data) else distinct

    def as_data(self) -> "Operand":
        """Return the operand with the origin `Data`."""
        zero = isinstance(self.origin, Constant) and self.origin.zero
        return self._replace(origin=Data(self.values, learned=True, zero=zero))


class Sites(NamedTuple):
    """The sites at which an operation uses a tensor of weights, in elements over all sites.

    Args:
        operand: the tensor.
        copies, live, dense: the number of elements by regime if each site had its own copy.
        known: False if no rule is known for the operation. Defaults to True.
    """

    operand: Operand
    copies: int
    live: int
    dense: int
    known: bool = True


@dataclass(frozen=True)
class Operation:
    """One operation of the pass.

    Args:
        func, rule, args: the function, its rule and its arguments.
        operands: the tensors that the operation reads.
        out: the first output.
        density: the part of the multiply-accumulates that the operation computes. Defaults to None: all.
        select: selects by the values of the index, for an operation of kind `lookup`. Defaults to None: the values are
            unknown.
    """

    func: OpOverload[Any, Any]
    rule: Rule
    args: Sequence[Any]
    operands: Sequence[Operand]
    out: Tensor
    density: Fraction | None = None
    select: Move | None = None

    @property
    def of_data(self) -> bool:
        """Return whether the result depends on the input, or is random."""
        return self.rule.random or any(operand.of_data for operand in self.operands)

    @property
    def is_upkeep(self) -> bool:
        """Return whether the operation only initialises a weight or keeps it within bounds."""
        first = self.operands[0] if self.operands else None
        writes = self.rule.mutates and first is not None and first.place == 0 and isinstance(first.origin, Root)
        return self.rule.upkeep or (writes and not any(operand.of_data for operand in self.operands))

    @cached_property
    def factors(self) -> list[Operand]:
        """Return the operands that are multiplied."""
        places = self.rule.product.factors if self.rule.product else ()
        return [operand for operand in self.operands if operand.place in places]

    @cached_property
    def macs(self) -> tuple[int, int]:
        """Return the multiply-accumulates as written and dense."""
        if self.rule.product is None:
            return 0, 0
        macs, factors = self.rule.product.macs(self.args, self.out), self.factors
        if self.density is not None:
            macs = int(macs * self.density)
        data = [operand.values for operand in factors if operand.of_data]
        if data and any(operand.of_weights for operand in factors):
            return macs, self.out.numel() * prod(data)
        return macs, macs

    def sites(self) -> Iterator[Sites]:
        """Yield the sites of each operand of weights, for an operation that combines weights with data."""
        factors = self.factors
        multiplied = any(operand.of_data for operand in factors)
        for operand in self.operands:
            if not operand.of_weights:
                continue
            if self.rule.packed:
                rows, stored = self._rows, operand.tensor.numel()
                yield Sites(operand, rows * stored, rows * stored, rows * rows * stored)
            elif operand in factors and multiplied:
                macs, dense = self.macs
                choices = self._choices(operand)
                yield Sites(operand, macs * choices, self._live(macs) * choices, dense * choices)
            elif self.rule.kind == "spread" or (self.rule.product and operand not in factors):
                yield Sites(operand, *3 * (self.out.numel(),))
            elif self.rule.kind == "lookup" and operand.place == 0:
                choices, picks, item = look_up(self.func, self.args, self.out)
                yield Sites(operand, *2 * (picks * choices * item,), picks * choices * item * picks)
            else:
                known = self.rule.kind in ("placed", "product")
                yield Sites(operand, *3 * (operand.tensor.numel(),), known)

    def result(self, layer: str) -> Origin:
        """Return the origin of the result.

        Args:
            layer: the name of the layer that runs the operation.
        """
        if self.of_data:
            return self._data()
        pieces = tuple(patch for patch in self._pieces() if patch.shares)
        if pieces:
            return Derived(pieces, self.out.numel())
        join = summed if self.rule.side_by_side else larger
        shares = join(
            self._unpacked(self._inherited_share(share, operand, layer), operand)
            for operand in self.operands
            for share in inherited(operand.tensor, operand.origin)
        )
        if shares:
            return Derived((Patch.of(self.out, shares),), self.out.numel())
        moved = self.rule.moves and bool(self.operands) and all(_zero(operand) for operand in self.operands)
        return Constant(self.rule.zeros or moved, quantised=any(map(self._reads_quantised, self.operands)))

    @property
    def _rows(self) -> int:
        return int(self.args[0].numel() // self.args[0].shape[-1])

    @property
    def packed_weights(self) -> tuple[int, int]:
        """Return the number of weights in the packed factor of a product, and of the elements that store them."""
        return self.macs[0] // max(self._rows, 1), int(self.args[1].numel())

    @property
    def multiplies_quantised(self) -> bool:
        """Return whether data is multiplied with a quantised weight that is not a parameter."""
        return self.of_data and any(
            isinstance(each.origin, Constant) and each.origin.quantised for each in self.factors
        )

    def _reads_quantised(self, operand: Operand) -> bool:
        index = self.rule.kind == "lookup" and operand.place != 0
        return isinstance(operand.origin, Constant) and operand.origin.quantised and not index

    def _unpacked(self, share: Share, operand: Operand) -> Share:
        """Return the share of the result, marked if the operation unpacks weights from integers."""
        integers = not (operand.tensor.is_floating_point() or operand.tensor.is_complex())
        return replace(share, packed=True) if self.rule.unpacks and integers else share

    def _pieces(self) -> Iterator[Patch]:
        """Yield the part of the output that each operand of a concatenation fills."""
        if self.func.overloadpacket is not _aten.cat:
            return
        dim, start = int(self.args[1]) if len(self.args) > 1 else 0, 0
        for operand in self.operands:
            if operand.tensor.dim() == self.out.dim():  # an empty vector can be joined with tensors of any dimensions
                length = operand.tensor.shape[dim]
                piece, shares = self.out.narrow(dim, start, length), inherited(operand.tensor, operand.origin)
                yield Patch.of(piece, tuple(_shifted(share, operand.tensor, piece) for share in shares))
                start += length

    def _choices(self, operand: Operand) -> int:
        """Return the number of matrices from which a row of a grouped product selects one; an unshared site has all."""
        grouped = self.func.overloadpacket is _aten._grouped_mm
        return int(operand.tensor.shape[0]) if grouped and operand.tensor.dim() > self.factors[0].tensor.dim() else 1

    def _live(self, macs: int) -> int:
        """Return the number of live sites of a product. A site whose data is always 0, as in padding, is not live."""
        if any(isinstance(operand.origin, Data) and operand.origin.zero for operand in self.factors):
            return 0
        if self.func.overloadpacket is not _aten.convolution:
            return macs
        origin, size = self.operands[0].origin, tuple(self.args[0].shape)
        padding = origin.padding if isinstance(origin, Data) else None
        if padding is None or padding.shape != size:
            padding = Padding(size, size, (0,) * len(size))
        return live_taps(self.args, self.out, padding.inner[2:], padding.left[2:])

    def _inherited_share(self, share: Share, operand: Operand, layer: str) -> Share:
        """Return the share of a weight that the result has through an operand, for a result without data."""
        if self.rule.repeats:
            return self._moved(share.scaled(self.out.numel(), max(operand.tensor.numel(), 1)), operand)
        if self.rule.kind == "lookup" and operand.place == 0:
            elements = elements_of(operand.tensor)
            positions = share.positions(elements) if elements <= LARGEST else None
            if self.select is not None and positions is not None:
                own = in_order(positions(), operand.tensor)
                picked, whole = self.select(own), max(int((own >= 0).sum()), 1)
                share = share.moved(lambda _: picked, operand.tensor, self.out).picked(picked.flatten(), 1, whole)
                return replace(share, owner=layer)
            choices, picks, item = look_up(self.func, self.args, self.out)
            table = max(operand.tensor.numel(), 1)
            return replace(
                share,
                copies=share.copies * picks * choices * item // table,
                live=share.live * picks * item // table,
                dense=share.dense * picks * choices * item * picks // table,
                owner=layer,
                shift=None,
                places=None,
            )
        share = _shifted(share, operand.tensor, self.out) if self.rule.aligned else self._moved(share, operand)
        before, after = max(operand.tensor.numel(), 1), self.out.numel()
        if after > before and self.rule.kind == "spread" and sum(each.of_weights for each in self.operands) == 1:
            return _at_most(max(share.copies, after), share.scaled(after, before))  # as if the weight were repeated
        if after < before and self.rule.kind == "other" and not self.rule.moves and share.owner is None:
            return _at_most(max(share.size, after), share)  # a mean of a weight's rotations has each element once
        factors = self.factors
        return replace(share, live=0) if operand in factors and any(map(_zero, factors)) else share

    def _moved(self, share: Share, operand: Operand) -> Share:
        """Return the share of the output of an operation that moves the elements of its first operand."""
        move = _MOVES.get(self.func.overloadpacket)
        if move is None or operand.place != 0:
            return share.unplaced()
        return share.moved(lambda positions: move(positions, *self.args[1:]), operand.tensor, self.out)

    def _data(self) -> Data:
        """Return the origin of a result that depends on data."""
        learned = not self.rule.random and all(
            operand.origin.learned for operand in self.operands if isinstance(operand.origin, Data)
        )
        if not self.rule.moves:
            return Data(self.out.numel(), learned=learned)
        moved = self.operands[:1] if self.rule.kind == "lookup" else self.operands
        elements = min(self.out.numel(), sum(operand.values for operand in moved))
        if self.func.overloadpacket is _aten.constant_pad_nd and (len(self.args) < 3 or self.args[2] == 0):
            return Data(elements, _padding(self.args[0], self.args[1], self.out), learned)
        return Data(elements, learned=learned)


def _padded(positions: Tensor, pad: Sequence[int], *_: object) -> Tensor:
    return functional.pad(positions, pad, value=-1)


_MOVES: Final[dict[object, Callable[..., Tensor]]] = {
    _aten.roll: torch.roll,
    _aten.flip: torch.flip,
    _aten.rot90: torch.rot90,
    _aten.repeat: Tensor.repeat,
    _aten.constant_pad_nd: _padded,
}
"""Operations that move the elements of their first argument, as functions of it and of the other arguments."""


def _shifted(share: Share, tensor: Tensor, out: Tensor) -> Share:
    """Return the share of `out` if each element comes from the same place of `tensor`."""
    if tensor.shape != out.shape:
        return share.unplaced()
    if share.shift is None or tensor.stride() != out.stride():
        return share.moved(lambda positions: positions, tensor, out)
    moved = int(tensor.storage_offset()) - int(out.storage_offset())
    return replace(share, shift=share.shift + moved)


def _at_most(copies: int, share: Share) -> Share:
    return share.scaled(min(share.copies, copies), max(share.copies, 1))


def _zero(operand: Operand) -> bool:
    return isinstance(operand.origin, Constant) and operand.origin.zero


def _padding(tensor: Tensor, pad: Sequence[int], out: Tensor) -> Padding | None:
    """Return the zeros that `constant_pad_nd` adds; `pad` has (before, after) for each dimension from the last."""
    before = tuple(reversed(pad[::2]))
    if min(pad, default=0) < 0:
        return None
    shape = tuple(out.shape)
    return Padding(shape, tuple(tensor.shape), (0,) * (len(shape) - len(before)) + before)
