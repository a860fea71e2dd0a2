"""The tensors in any object: in containers, attributes, slots and closures, at any depth, but not in modules.

Inputs and outputs of models are often objects of classes that torch knows nothing about: batches, data classes,
distributions, the encodings of a tokenizer.
"""

import copy
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

from paramshare.errors import SpecError

__all__ = ["cell_contents", "tensors_in", "with_tensors"]

_Value = TypeVar("_Value")

_OPAQUE: Final = (
    type(None), bool, int, float, complex, str, bytes, type, ModuleType, nn.Module, torch.dtype, torch.device,
    torch.Generator, torch.Size,
)  # fmt: skip
"""Types that hold no tensors, or whose tensors are not the input's or the output's."""


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield each tensor that `value` holds, in order, once."""
    pending, seen = [value], set()
    while pending:
        item = pending.pop()
        if isinstance(item, _OPAQUE) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield item
        else:
            pending += reversed(list(_inside(item)))


def with_tensors(value: _Value, replace: Callable[[Tensor], Tensor]) -> _Value:
    """Return `value` with every tensor replaced. Objects that hold tensors are copied; functions and others are kept.

    Of packed sequences only the data are replaced, since their lengths are part of the size.

    Raises:
        SpecError: an object holds tensors and cannot be copied.
    """
    copies: dict[int, object] = {}

    def each(item: Any) -> Any:
        return tree_map(new, item, is_leaf=lambda part: isinstance(part, PackedSequence))

    def new(item: Any) -> Any:
        if isinstance(item, Tensor):
            return replace(item)
        if isinstance(item, PackedSequence):
            return PackedSequence(replace(item.data), *(part if part is None else part.cpu() for part in item[1:]))
        if isinstance(item, _OPAQUE) or next(tensors_in(item), None) is None:
            return item
        if id(item) not in copies:
            copies[id(item)] = own = _copied(item)
            if own is item:  # a function, or what there is one of only: it stays as it is
                return item
            _fill(own, item, each)
        return copies[id(item)]

    replaced: _Value = each(value)
    return replaced


def _fill(own: Any, item: object, each: Callable[[Any], Any]) -> None:
    """Put what an object holds, with its tensors replaced, into its copy."""
    for name, attribute in _attributes(item):
        object.__setattr__(own, name, each(attribute))
    if isinstance(item, dict):
        own.update({key: each(part) for key, part in item.items()})
    elif isinstance(item, list):
        own[:] = map(each, item)
    elif isinstance(item, set):
        own.clear()
        own.update(map(each, item))


def _copied(item: object) -> Any:
    try:
        return copy.copy(item)
    except Exception as error:  # whatever a class raises that is not made to be copied
        kind = type(item).__name__
        raise SpecError(f"a {kind} in the input holds tensors and cannot be copied; give the tensors alone") from error


def _inside(item: object) -> Iterator[object]:
    """Yield what an object holds."""
    if isinstance(item, Mapping):
        yield from item.values()
    elif isinstance(item, list | tuple | set | frozenset | deque):
        yield from item
    if isinstance(item, FunctionType):
        for cell in item.__closure__ or ():
            yield from cell_contents(cell)
    elif isinstance(item, MethodType):
        yield item.__self__
    elif isinstance(item, functools.partial):
        yield from (item.func, item.args, item.keywords)
    else:
        yield from (attribute for _, attribute in _attributes(item))


def cell_contents(cell: CellType) -> Iterator[object]:
    """Yield what a cell of a closure holds; nothing for a variable that has no value yet."""
    try:
        yield cell.cell_contents
    except ValueError:
        return


def _attributes(item: object) -> Iterable[tuple[str, object]]:
    """Return the attributes that an object has in itself, and their names."""
    found = dict(getattr(item, "__dict__", None) or {})
    for kind in type(item).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(item, name):
                found[name] = getattr(item, name)
    return found.items()
