"""Run the operations of a pass on the meta device, and compute values on the CPU if all inputs are known.

The values are known for tensors that the model holds (small buffers and others: flags, counters, masks, tables of
indices), for tensors that a pass creates without an input, and for results computed from known tensors. A known tensor
is on the meta device, and a storage on the CPU with the same layout holds its values; or the tensor itself is on the
CPU because the model put it there.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map_only

from paramshare.sharing.tensors.copies import known_values
from paramshare.sharing.tensors.regions import elements_of, storage_of
from paramshare.sharing.tracing.operations.op_rules import Rule, rule_of
from paramshare.sharing.tracing.values.assumptions import Assumptions
from paramshare.sharing.tracing.values.meta_cache import MetaCache

__all__ = ["ConstantPropagation"]

_aten = torch.ops.aten

_LARGEST: Final = 1 << 16
"""The maximum number of elements of a storage that known values are written into."""

_LONGEST: Final = 1 << 20
"""The maximum number of elements that the size of a tensor is computed from."""

_DEAREST: Final = 1 << 26
"""The maximum cost of values that are computed when they are needed, in elements that are read and written."""

_DEEPEST: Final = 50
"""The maximum length of a chain of operations whose values are not computed until they are needed."""

_Kwargs = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """An operation whose values are computed when they are needed.

    Args:
        func, args, kwargs: the operation and its arguments.
        tensors: the output on the meta device.
        depth: the length of the longest chain of pending operations that ends here.
        cost: the number of elements that this operation and those before it read and write.
    """

    func: OpOverload[Any, Any]
    args: Sequence[Any]
    kwargs: _Kwargs
    tensors: Sequence[Tensor]
    depth: int
    cost: int


class ConstantPropagation:
    """The known values of one pass.

    Args:
        held: the tensors that the model holds.
        assumptions: supplies values that are unknown.
    """

    def __init__(self, held: Iterable[Tensor], assumptions: Assumptions) -> None:
        self._assumptions = assumptions
        self._cache = MetaCache()
        self._lost: set[int] = set()
        self._values: dict[int, torch.UntypedStorage | _Pending] = {}
        self._readers: defaultdict[int, list[_Pending]] = defaultdict(list)
        for tensor in held:
            if (storage := known_values(tensor)) is not None:
                self._values[storage_of(tensor)] = storage
        self._borrowed = set(self._values)

    def are_known(self, tensor: Tensor) -> bool:
        """Return whether the values of a tensor are known."""
        storage = storage_of(tensor)
        return storage in self._values if tensor.is_meta else storage not in self._lost

    def values_of(self, tensor: Tensor) -> Tensor:
        """Return a known tensor on the CPU."""
        if not tensor.is_meta:
            return tensor
        if isinstance(pending := self._values[storage_of(tensor)], _Pending):
            self._resolve(pending)
        storage = self._values[storage_of(tensor)]
        assert isinstance(storage, torch.UntypedStorage)
        values = torch.empty(0, dtype=tensor.dtype)
        return values.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())

    def on_meta(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the meta device, with the values of `tensor` if they are known."""
        if tensor.is_meta:
            return tensor
        return self._with_values(tensor) if self.are_known(tensor) else _on_meta(tensor)

    def run(
        self,
        func: OpOverload[Any, Any],
        rule: Rule,
        args: Sequence[Any],
        kwargs: _Kwargs,
        operands: Sequence[Tensor],
        place: str,
    ) -> object:
        """Run an operation and return its output.

        Args:
            func, rule, args, kwargs: the operation, its rule and its arguments.
            operands: the tensors that the operation reads.
            place: the module that runs the operation, in words.
        """
        outs = [kwargs[name] for name in rule.outs]
        tensors = (*operands, *outs)
        written = outs or [args[number] for number in rule.writes if number < len(args)]
        if written:
            self._before_writing(_tensors(written))
        known = rule.follows_values and all(map(self.are_known, tensors)) and _is_cheap(func, rule, kwargs, tensors)
        if known and any(tensor.is_meta for tensor in tensors):
            return self._run_known(func, rule, args, kwargs, outs)
        if not any(tensor.is_meta for tensor in tensors):
            return self._run_on_cpu(func, rule, args, kwargs, operands)
        if written:
            self._lose(written)
        first = outs or written[:1]
        if any(isinstance(tensor, Tensor) and not tensor.is_meta for tensor in first) and (outs or rule.mutates):
            return first[0] if len(first) == 1 else tuple(first)
        if func.overloadpacket in _INDEXED:
            args = (args[0], self._indices(args[1], place), *args[2:])
        if sized := _SIZED_BY_SECOND.get(func.overloadpacket):
            return sized(self, args, place)
        if kwargs or not all(tensor.is_meta for tensor in tensors) or func.overloadpacket in _INDEXED:
            args, kwargs = _all_on_meta(args, kwargs)
        assumed = self._assumptions.output(func, args, kwargs, place)
        result = self._cache.run(func, args, kwargs) if assumed is None else assumed
        if rule.kind == "fresh" and not rule.random:
            shape_of_first = torch.empty((), dtype=args[0].dtype).expand(args[0].shape)
            self._keep(result, func, (shape_of_first, *args[1:]), kwargs)
        return result

    def selection(self, func: OpOverload[Any, Any], args: Sequence[Any]) -> Callable[[Tensor], Tensor] | None:
        """Return the function that selects from a tensor by the known values of an index, as `weight[[0, 2]]` does.

        Returns:
            None for another operation, and for unknown values.
        """
        if func.overloadpacket not in _SELECTIONS or not all(map(self.are_known, _tensors(args[1:]))):
            return None
        index = tree_map_only(Tensor, lambda tensor: self.values_of(tensor).clone(), tuple(args[1:]))
        return lambda positions: func(positions, *index)

    def _run_on_cpu(
        self, func: OpOverload[Any, Any], rule: Rule, args: Sequence[Any], kwargs: _Kwargs, operands: Sequence[Tensor]
    ) -> object:
        """Run an operation without arguments on the meta device."""
        device = kwargs.get("device")
        if device is not None:  # a tensor with values keeps them on any device
            on_cpu = bool(operands) or torch.device(device).type == "cpu"
            kwargs = {**kwargs, "device": torch.device("cpu" if on_cpu else "meta")}
        result: object = func(*args, **kwargs)
        if not all(map(self.are_known, operands)):
            self._lose(result)
        elif device is not None and not on_cpu and not rule.random:
            self._keep(result, func, args, kwargs)
        return result

    def _run_known(
        self, func: OpOverload[Any, Any], rule: Rule, args: Sequence[Any], kwargs: _Kwargs, outs: Sequence[Tensor]
    ) -> object:
        """Run an operation on known tensors; its output has known values."""
        if outs or rule.mutates:
            return self._write(func, args, kwargs, outs)
        if rule.sized_by_values or _sent_to_cpu(rule, kwargs):
            result = self._computed(func, args, kwargs)
            return result if _sent_to_cpu(rule, kwargs) else tree_map_only(Tensor, self._with_values, result)
        meta_args, meta_kwargs = _all_on_meta(args, kwargs)
        result = self._cache.run(func, meta_args, meta_kwargs)
        self._keep(result, func, args, kwargs)
        return result

    def _write(
        self, func: OpOverload[Any, Any], args: Sequence[Any], kwargs: _Kwargs, outs: Sequence[Tensor]
    ) -> object:
        """Write known values into known tensors."""
        result = self._computed(func, args, kwargs)
        if outs:
            return outs[0] if len(outs) == 1 else tuple(outs)
        first = args[0]
        if not isinstance(first, Tensor):  # a list of tensors: such an operation returns nothing
            return None
        if (
            first.is_meta and isinstance(result, Tensor) and result.stride() != first.stride()
        ):  # such as after `unsqueeze_`
            return func(*args, **kwargs)
        return first

    def _keep(self, result: object, func: OpOverload[Any, Any], args: Sequence[Any], kwargs: _Kwargs) -> None:
        """Record the operation that computes the values of small new tensors."""
        new = [tensor for tensor in _tensors(result) if tensor.is_meta and storage_of(tensor) not in self._values]
        if not new or func.overloadpacket in _EMPTY:
            return
        given = list(_tensors((args, kwargs)))
        sources = [storage_of(tensor) for tensor in given]
        earlier = [each for each in map(self._values.get, sources) if isinstance(each, _Pending)]
        depth = 1 + max((each.depth for each in earlier), default=0)
        product = rule_of(func).product
        cost = sum(tensor.numel() for tensor in (*given, *new)) + sum(each.cost for each in earlier)
        cost += product.macs(args, new[0]) if product else 0
        if cost > _DEAREST:
            return
        pending = _Pending(func, args, kwargs, list(_tensors(result)), depth, cost)
        for tensor in new:
            self._values[storage_of(tensor)] = pending
        for storage in sources:
            self._readers[storage].append(pending)
        if depth > _DEEPEST:
            self._resolve(pending)

    def _resolve(self, pending: "_Pending") -> None:
        """Compute the values of a pending operation."""
        values = self._computed(pending.func, pending.args, pending.kwargs)
        for tensor, own in zip(pending.tensors, _tensors(values), strict=True):
            if self._values.get(storage_of(tensor)) is pending:
                size = tensor.untyped_storage().nbytes()
                self._values[storage_of(tensor)] = torch.UntypedStorage(size)  # type: ignore[no-untyped-call]
                self.values_of(tensor).copy_(own)

    def _before_writing(self, tensors: Iterable[Tensor]) -> None:
        """Compute the pending operations that read values which are about to change."""
        for tensor in tensors:
            for pending in self._readers.pop(storage_of(tensor), ()):
                self._resolve(pending)
            small = elements_of(tensor) <= _LARGEST
            if small and storage_of(tensor) in self._borrowed:  # do not change the model's own values
                self._borrowed.remove(storage_of(tensor))
                held = self.values_of(tensor).untyped_storage()
                self._values[storage_of(tensor)] = held.clone()  # type: ignore[no-untyped-call]

    def _computed(self, func: OpOverload[Any, Any], args: Sequence[Any], kwargs: _Kwargs) -> object:
        """Return the output of an operation, computed on the CPU."""
        if "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        args, kwargs = tree_map_only(Tensor, self.values_of, (tuple(args), kwargs))
        return func(*args, **kwargs)

    def _with_values(self, values: Tensor) -> Tensor:
        """Return a tensor on the meta device with these values."""
        tensor = torch.empty(values.shape, dtype=values.dtype, device="meta")
        self._values[storage_of(tensor)] = values.contiguous().clone().untyped_storage()
        return tensor

    def _lose(self, tensors: object) -> None:
        """Record that the values of tensors are unknown from now on."""
        for tensor in _tensors(tensors):
            self._values.pop(storage_of(tensor), None)
            if not tensor.is_meta:
                self._lost.add(storage_of(tensor))

    def _selected(self, args: Sequence[Any], place: str) -> object:
        """Return the output of `masked_select` on data without values."""
        if not self.are_known(args[1]):
            return self._assumptions.output(_aten.masked_select.default, args, {}, place)
        shape = torch.broadcast_shapes(args[0].shape, args[1].shape)  # type: ignore[no-untyped-call]
        return args[0].new_empty(int(self.values_of(args[1]).expand(shape).sum()), device="meta")

    def _packed(self, args: Sequence[Any], place: str) -> object:
        """Return the output of `pack_padded_sequence` on data without values; it needs the values of the lengths."""
        known = self.are_known(args[1])
        lengths = self.values_of(args[1]) if known else args[1]
        return _aten._pack_padded_sequence(*self._assumptions.packed((args[0], lengths, args[2]), known, place))

    def _indices(self, index_tensors: Sequence[Tensor | None], place: str) -> list[Tensor | None]:
        """Return the tensors of an index, with each mask replaced by the indices of its selection."""
        indices: list[Tensor | None] = []
        for index in index_tensors:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                known = self.are_known(index) and index.numel() <= _LONGEST
                selected = self.values_of(index).nonzero().unbind(1) if known else self._assumptions.index(index, place)
                indices += selected
            else:
                indices.append(index)
        return indices


_INDEXED: Final = {_aten.index, _aten.index_put, _aten.index_put_}
"""Operations whose second argument is a list of indices, or masks that stand for indices."""

_SELECTIONS: Final = {_aten.index, _aten.index_select, _aten.gather, _aten.take}
"""Operations that select elements of their first argument by an index."""

_EMPTY: Final = {_aten.empty, _aten.empty_strided, _aten.empty_like, _aten.new_empty, _aten.new_empty_strided}
"""Operations that create tensors without values."""


_SIZED_BY_SECOND: Final[dict[object, Callable[[ConstantPropagation, Sequence[Any], str], object]]] = {
    _aten.masked_select: ConstantPropagation._selected,
    _aten._pack_padded_sequence: ConstantPropagation._packed,
}
"""Operations whose output size depends on the values of the second argument."""


def _is_cheap(func: OpOverload[Any, Any], rule: Rule, kwargs: Mapping[str, Any], tensors: Sequence[Tensor]) -> bool:
    """Return whether known values can be computed if they must be computed at once; others wait until they are needed.

    Args:
        func, rule, kwargs: the operation, its rule and its named arguments.
        tensors: the tensors that the operation reads or writes.
    """
    if rule.outs or rule.writes:
        return all(elements_of(tensor) <= _LARGEST for tensor in tensors)
    if rule.sized_by_values or _sent_to_cpu(rule, kwargs):
        return all(tensor.numel() <= _LONGEST for tensor in tensors[func.overloadpacket in _SELECTIONS :])
    return True


def _sent_to_cpu(rule: Rule, kwargs: Mapping[str, Any]) -> bool:
    """Return whether an operation moves a tensor to the CPU, as `.tolist()` does."""
    device = kwargs.get("device")
    return rule.name == "aten._to_copy" and device is not None and torch.device(device).type == "cpu"


def _all_on_meta(args: Sequence[Any], kwargs: _Kwargs) -> tuple[Sequence[Any], _Kwargs]:
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("meta")}
    if all(tensor.is_meta for tensor in _tensors((args, kwargs))):
        return args, kwargs
    return tree_map_only(Tensor, _on_meta, (tuple(args), kwargs))  # type: ignore[no-any-return]


def _on_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else torch.empty_like(tensor, device="meta")


def _tensors(values: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
