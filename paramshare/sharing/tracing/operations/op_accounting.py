"""What one operation means for the books: its MACs, how it uses weights, and where its result comes from.

An operation of weights and constants alone derives a new weight (a cast, a weight norm, a mask, B @ A of a LoRA): no
use. The first operation that brings data in uses every weight that its other operands have shares of:

- A product (matrix product, convolution) uses a weight at MACs / elements sites. Unshared, each site has its copy;
  dense, each of its outputs is wired to each distinct element of the data.
- Elementwise operations and norms use a weight at every element of the output, lookups at every item picked.
- What else brings weights and data together is counted as one site, and its rule is said to be unknown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload

from paramshare.sharing.tensors.regions import region_of, size_of
from paramshare.sharing.tracing.operations.op_rules import Rule, live_taps, look_up
from paramshare.sharing.tracing.weights.origins import Constant, Data, Derived, Origin, Padding, Patch, Root, inherited
from paramshare.sharing.tracing.weights.weight_shares import Share, larger, summed

__all__ = ["Operand", "Operation", "Sites"]

_aten = torch.ops.aten


class Operand(NamedTuple):
    """A tensor that an operation is given.

    Args:
        place: of its argument; -1 for a named one.
        tensor, origin: the tensor and where it comes from.
    """

    place: int
    tensor: Tensor
    origin: Origin

    @property
    def of_data(self) -> bool:
        """Whether it depends on the input."""
        return isinstance(self.origin, Data)

    @property
    def of_weights(self) -> bool:
        """Whether it is a weight, or made of weights alone."""
        return isinstance(self.origin, Root | Derived)

    @property
    def values(self) -> int:
        """How many different values it holds."""
        distinct = size_of(region_of(self.tensor))
        return min(distinct, self.origin.elements) if isinstance(self.origin, Data) else distinct

    def as_data(self) -> "Operand":
        """Return the operand with the origin `Data`."""
        zero = isinstance(self.origin, Constant) and self.origin.zero
        return self._replace(origin=Data(self.values, learned=True, zero=zero))


class Sites(NamedTuple):
    """How often an operation uses the elements of a tensor that is made of weights, all together.

    Args:
        operand: the tensor.
        copies, live, dense: how many elements there would be, by regime, if each site had its own.
        known: whether a rule says so.
    """

    operand: Operand
    copies: int
    live: int
    dense: int
    known: bool = True


@dataclass(frozen=True)
class Operation:
    """One operation that has been run.

    Args:
        func, rule, args: what was called, and with what.
        operands: the tensors that it read.
        out: its first output.
    """

    func: OpOverload[Any, Any]
    rule: Rule
    args: Sequence[Any]
    operands: Sequence[Operand]
    out: Tensor

    @property
    def of_data(self) -> bool:
        """Whether its result depends on the input, or is drawn."""
        return self.rule.random or any(operand.of_data for operand in self.operands)

    @property
    def is_upkeep(self) -> bool:
        """Whether it only keeps a weight in order: initialises it, or holds it within bounds."""
        first = self.operands[0] if self.operands else None
        writes = self.rule.mutates and first is not None and first.place == 0 and isinstance(first.origin, Root)
        return self.rule.upkeep or (writes and not any(operand.of_data for operand in self.operands))

    @cached_property
    def factors(self) -> list[Operand]:
        """The operands that are multiplied."""
        places = self.rule.product.factors if self.rule.product else ()
        return [operand for operand in self.operands if operand.place in places]

    @cached_property
    def macs(self) -> tuple[int, int]:
        """Its multiply-accumulates: as it is, and dense."""
        if self.rule.product is None:
            return 0, 0
        macs, factors = self.rule.product.macs(self.args, self.out), self.factors
        data = [operand.values for operand in factors if operand.of_data]
        if data and any(operand.of_weights for operand in factors):
            return macs, self.out.numel() * prod(data)
        return macs, macs

    def sites(self) -> Iterator[Sites]:
        """How it uses the weights that it brings together with data."""
        factors = self.factors
        multiplied = any(operand.of_data for operand in factors)
        for operand in self.operands:
            if not operand.of_weights:
                continue
            if operand in factors and multiplied:
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
        """Where its result comes from.

        Args:
            layer: who ran it.
        """
        if self.of_data:
            return self._data()
        pieces = tuple(patch for patch in self._pieces() if patch.shares)
        if pieces:
            return Derived(pieces, self.out.numel())
        join = summed if self.rule.side_by_side else larger
        shares = join(
            self._passed_on(share, operand, layer)
            for operand in self.operands
            for share in inherited(operand.tensor, operand.origin)
        )
        if shares:
            return Derived((Patch.of(self.out, shares),), self.out.numel())
        moved = self.rule.moves and bool(self.operands) and all(_zero(operand) for operand in self.operands)
        return Constant(self.rule.zeros or moved)

    def _pieces(self) -> Iterator[Patch]:
        """Yield the operands where they lie in the output, if they are joined along one of its dimensions."""
        if self.func.overloadpacket is not _aten.cat:
            return
        dim, start = int(self.args[1]) if len(self.args) > 1 else 0, 0
        for operand in self.operands:
            if operand.tensor.dim() == self.out.dim():  # an empty vector can stand beside tensors of any dimensions
                length = operand.tensor.shape[dim]
                piece, shares = self.out.narrow(dim, start, length), inherited(operand.tensor, operand.origin)
                yield Patch.of(piece, tuple(_shifted(share, operand.tensor, piece) for share in shares))
                start += length

    def _choices(self, operand: Operand) -> int:
        """Among how many matrices each row of a grouped product chooses; as of a table, a site of its own has all."""
        grouped = self.func.overloadpacket is _aten._grouped_mm
        return int(operand.tensor.shape[0]) if grouped and operand.tensor.dim() > self.factors[0].tensor.dim() else 1

    def _live(self, macs: int) -> int:
        """Return the number of live sites of a product. A site that meets only zeros, as in padding, is not live."""
        if any(isinstance(operand.origin, Data) and operand.origin.zero for operand in self.factors):
            return 0
        if self.func.overloadpacket is not _aten.convolution:
            return macs
        origin, size = self.operands[0].origin, tuple(self.args[0].shape)
        padding = origin.padding if isinstance(origin, Data) else None
        if padding is None or padding.shape != size:
            padding = Padding(size, size, (0,) * len(size))
        return live_taps(self.args, self.out, padding.inner[2:], padding.left[2:])

    def _passed_on(self, share: Share, operand: Operand, layer: str) -> Share:
        """What the result has of a weight that an operand has a share of, if no data is in it."""
        if self.rule.repeats:
            return replace(share.scaled(self.out.numel(), max(operand.tensor.numel(), 1)), shift=None)
        if self.rule.kind == "lookup" and operand.place == 0:
            choices, picks, item = look_up(self.func, self.args, self.out)
            table = max(operand.tensor.numel(), 1)
            return replace(
                share,
                copies=share.copies * picks * choices * item // table,
                live=share.live * picks * item // table,
                dense=share.dense * picks * choices * item * picks // table,
                owner=layer,
                shift=None,
            )
        share = _shifted(share, operand.tensor, self.out) if self.rule.aligned else replace(share, shift=None)
        before, after = max(operand.tensor.numel(), 1), self.out.numel()
        if after > before and self.rule.kind == "spread" and sum(each.of_weights for each in self.operands) == 1:
            return _at_most(max(share.copies, after), share.scaled(after, before))  # as if it had been repeated
        if after < before and self.rule.kind == "other" and not self.rule.moves and share.owner is None:
            return _at_most(max(share.size, after), share)  # a mean of a weight's rotations has each element once
        factors = self.factors
        return replace(share, live=0) if operand in factors and any(map(_zero, factors)) else share

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


def _shifted(share: Share, tensor: Tensor, out: Tensor) -> Share:
    """Return the share of `out`, whose elements are those at the same places of `tensor`."""
    alike = share.shift is not None and tensor.shape == out.shape and tensor.stride() == out.stride()
    if not alike:
        return share if share.shift is None else replace(share, shift=None)
    moved = int(tensor.storage_offset()) - int(out.storage_offset())
    return replace(share, shift=(share.shift or 0) + moved)


def _at_most(copies: int, share: Share) -> Share:
    return share.scaled(min(share.copies, copies), max(share.copies, 1))


def _zero(operand: Operand) -> bool:
    return isinstance(operand.origin, Constant) and operand.origin.zero


def _padding(tensor: Tensor, pad: Sequence[int], out: Tensor) -> Padding | None:
    """The zeros that `constant_pad_nd` puts around: (before, after) of each dimension, from the last on."""
    before = tuple(reversed(pad[::2]))
    if min(pad, default=0) < 0:
        return None
    shape = tuple(out.shape)
    return Padding(shape, tuple(tensor.shape), (0,) * (len(shape) - len(before)) + before)
