"""Find and replace the tensors in any object: in containers, attributes, slots and closures, but not in modules.

Inputs and outputs of models are often objects of classes that torch's pytrees do not support: batches, data classes,
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
"""Types without tensors, or whose tensors are not part of an input or an output."""


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield each tensor that `value` holds once, in order."""
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

    In a packed sequence only the data is replaced, since the lengths are part of the size.

    Args:
        value: any object.
        replace: returns the new tensor for a tensor.

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
            if own is item:  # a function or a singleton is kept
                return item
            _fill(own, item, each)
        return copies[id(item)]

    replaced: _Value = each(value)
    return replaced


def _fill(own: Any, item: object, each: Callable[[Any], Any]) -> None:
    """Fill the copy of an object with the object's contents, with the tensors replaced."""
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
    except Exception as error:  # a class that cannot be copied may raise anything
        kind = type(item).__name__
        raise SpecError(f"a {kind} in the input holds tensors and cannot be copied; give the tensors alone") from error


def _inside(item: object) -> Iterator[object]:
    """Yield the contents of an object."""
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
    """Yield the value of a closure cell; nothing for a variable without a value."""
    try:
        yield cell.cell_contents
    except ValueError:
        return


def _attributes(item: object) -> Iterable[tuple[str, object]]:
    """Return the names and values of the attributes of an object itself, not of its class."""
    attributes = dict(getattr(item, "__dict__", None) or {})
    for kind in type(item).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(item, name):
                attributes[name] = getattr(item, name)
    return attributes.items()
