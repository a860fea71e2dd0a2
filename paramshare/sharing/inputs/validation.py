"""Validate the model and its input; an error is one line without the values of tensors."""

import math
import operator
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.tensors.object_tensors import tensors_in

__all__ = ["check_model", "checked_arguments", "checked_dtypes", "checked_sizes", "described"]

_MOST_ELEMENTS = 1 << 59
"""The maximum number of elements of a tensor: complex128 has 16 bytes, and torch counts bytes in 63 bits."""

_LONGEST = 40
"""The maximum number of characters of a value in a message."""


def check_model(model: object, done: str) -> None:
    """Check that an object is a model.

    Args:
        model: the object.
        done: a participle for the message, such as "analysed".

    Raises:
        SpecError: the object is a class or another object, or torch cannot list its modules.
    """
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise SpecError(f"{model.__name__} is a class; give an instance: {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise SpecError(f"a {type(model).__name__} cannot be {done}; expected a torch.nn.Module")
    try:
        for module in model.modules():
            list(module.children())
    except TypeError as error:  # torch registers a weak proxy of a module as a module, and fails here
        reason = f"torch cannot list the modules of {type(model).__name__} ({error})"
        raise SpecError(f"{reason}; hold a weak reference as weakref.ref, not as weakref.proxy") from error


def checked_sizes(input_size: object) -> list[tuple[int, ...]]:
    """Return the size of each input.

    Args:
        input_size: the size of one sample, without the batch, or a sequence of sizes, one for each input.

    Raises:
        SpecError: `input_size` is a tensor or another object, or a length is not a positive integer.
    """
    if tensors := _described_tensors(input_size):
        raise SpecError(f"input_size is {tensors}, or a size such as input_size=(3, 224, 224)")
    if not _is_sequence(input_size):
        raise SpecError(f"input_size is {described(input_size)}; expected a tuple of integers like (3, 224, 224)")
    assert isinstance(input_size, Sequence)
    several = any(_is_sequence(part) for part in input_size)
    return [_checked_size(size) for size in (input_size if several else [input_size])]


def checked_arguments(args: object, kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return the positional and the named arguments of a call.

    Raises:
        SpecError: `args` is not a tuple or list, or `kwargs` is not a mapping with string keys.
    """
    if not (args is None or isinstance(args, list | tuple)):
        actual = f"a tensor of {described(args)}" if isinstance(args, Tensor) else described(args)
        raise SpecError(f"args is {actual}; expected a tuple such as args=(x,)")
    if not (kwargs is None or (isinstance(kwargs, Mapping) and all(isinstance(name, str) for name in kwargs))):
        raise SpecError(f'kwargs is {described(kwargs)}; expected a dict of names such as kwargs={{"x": x}}')
    return tuple(args or ()), dict(kwargs or {})


def checked_dtypes(dtypes: object, count: int) -> list[torch.dtype | None]:
    """Return the dtype of each of `count` inputs; None for the default.

    Raises:
        SpecError: an item is not a dtype of torch, or the number of dtypes is not the number of inputs.
    """
    if dtypes is None or isinstance(dtypes, torch.dtype):
        return [dtypes] * count
    kinds = dtypes if isinstance(dtypes, list | tuple) else [dtypes]
    checked = [kind for kind in kinds if kind is None or isinstance(kind, torch.dtype)]
    if len(checked) < len(kinds):
        raise SpecError(f"dtypes is {described(dtypes)}; expected dtypes of torch such as torch.long")
    if len(checked) != count:
        raise SpecError(f"{len(checked)} dtypes were given for {count} inputs; give one for all or one each")
    return checked


def described(value: object) -> str:
    """Return a short description of a value: a tensor by its shape, and its dtype if not float32."""
    if isinstance(value, Tensor):
        shape = "×".join(map(str, value.shape)) or "a scalar"
        return shape if value.dtype == torch.float32 else f"{shape} {str(value.dtype).removeprefix('torch.')}"
    if _is_array(value):
        return f"a {type(value).__name__} of {'×'.join(map(str, value.shape)) or 'a scalar'}"  # type: ignore[attr-defined]
    if isinstance(value, list | tuple):
        return f"({', '.join(map(described, value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {described(part)}' for name, part in value.items())}}}"
    if held := ", ".join(map(described, tensors_in(value))):
        return f"{type(value).__name__} with {held}"
    text = repr(value)
    readable = len(text) <= _LONGEST and "\n" not in text and " at 0x" not in text
    return text if readable else f"a {type(value).__name__}"


def _checked_size(size: object) -> tuple[int, ...]:
    if not _is_sequence(size):
        raise SpecError(f"input_size has {described(size)} beside sizes; expected a tuple for each input like (7,)")
    assert isinstance(size, Sequence)
    lengths = [_length(length) for length in size]
    if None in lengths:
        numbers = all(isinstance(length, int | float) for length in size)
        actual = repr(tuple(size)) if numbers else described(size)
        raise SpecError(f"input_size is {actual}; expected positive integers, without the batch")
    checked = tuple(length for length in lengths if length is not None)
    if math.prod(checked) > _MOST_ELEMENTS:
        raise SpecError(f"input_size is {checked}; a tensor has at most 2**59 elements")
    return checked


def _length(length: object) -> int | None:
    """Return a positive integer of Python or numpy as an int; None for anything else."""
    if isinstance(length, bool):
        return None
    try:
        number = operator.index(length)  # type: ignore[arg-type] # raises for other types
    except TypeError:
        return None
    return number if number > 0 else None


def _described_tensors(value: object) -> str:
    """Return a description of the tensors in `value` and how to give them; empty without tensors."""
    if _is_array(value):
        kind = "a tensor of " if isinstance(value, Tensor) else ""
        return f"{kind}{described(value)}; give a tensor as args=(x,)"
    if isinstance(value, Mapping) and any(map(_is_array, value.values())):
        return f"a dict with tensors, {described(value)}; give tensors by name as kwargs={{...}}"
    if isinstance(value, list | tuple) and any(map(_is_array, value)):
        return f"a {type(value).__name__} with tensors, {described(value)}; give tensors as args=(x, y)"
    return ""


def _is_array(value: object) -> bool:
    """Return whether `value` is a tensor, or an array of another library."""
    return isinstance(value, Tensor) or (hasattr(value, "dtype") and getattr(value, "ndim", 0) > 0)


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
