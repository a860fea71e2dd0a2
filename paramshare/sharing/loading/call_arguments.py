"""Samples from plain data or from a function of the user's, for the command line and forms."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import own_type, parse_dtypes
from paramshare.sharing.inputs.validation import described
from paramshare.sharing.loading.import_paths import failure, imported
from paramshare.sharing.loading.user_code import running_user_code, why_not_callable

__all__ = ["call_of", "is_import_path", "load_sample", "tensors_of"]

_TENSOR = '{"size": "3,224,224", "dtype": "float32"}'


def is_import_path(text: str) -> bool:
    """Return whether an input names a function, and no sizes."""
    return ":" in text


def tensors_of(value: Any, kind: torch.dtype = torch.float32) -> Any:
    """Return plain data with each tensor in place of the object that describes it, at any depth.

    Args:
        value: JSON. An object with `size` (without the batch, which becomes 1) or `shape` (of all axes) is a tensor,
            and may have a `dtype`. Everything else is itself.
        kind: the type of tensors without a `dtype`.

    Raises:
        SpecError: an object that describes a tensor is malformed.
    """
    if isinstance(value, list):
        return [tensors_of(part, kind) for part in value]
    if not isinstance(value, Mapping):
        return value
    if not ({"size", "shape"} & set(value) and set(value) <= {"size", "shape", "dtype"}):
        return {name: tensors_of(part, kind) for name, part in value.items()}
    if len({"size", "shape"} & set(value)) == 2:
        raise SpecError(f"{dict(value)} has both size (without the batch) and shape (of all axes); give one of them")
    name = "size" if "size" in value else "shape"
    lengths = _lengths(value[name], name)
    shape = (1, *lengths) if name == "size" else lengths
    return torch.empty(shape, dtype=_kind(value["dtype"]) if "dtype" in value else kind, device="meta")


def call_of(
    model: nn.Module, given: str | None, kwargs: Mapping[str, Any], files: dict[Path, ModuleType] | None = None
) -> tuple[tuple[object, ...] | None, dict[str, object]]:
    """Return what `model` is called with beside sizes: by position, None if there are sizes or nothing, and by name.

    Args:
        model: gives the type of tensors that are described without one.
        given: an import path as of `load_sample`, or sizes, which are left alone.
        kwargs: plain data as of `tensors_of`; they win over those of the function.
        files: as of `imported`.

    Raises:
        SpecError: as `load_sample` and `tensors_of`.
    """
    args: tuple[object, ...] | None = None
    named: dict[str, object] = {}
    if given is not None and is_import_path(given):
        args, named = load_sample(given, files)
    return args, named | {name: tensors_of(value, own_type(model)) for name, value in kwargs.items()}


def load_sample(path: str, files: dict[Path, ModuleType] | None = None) -> tuple[tuple[object, ...], dict[str, object]]:
    """Import a function and return what it says that a model is called with, by position and by name.

    Args:
        path: `pkg.module:name` or `path/to/file.py:name` of a function without arguments. It returns `(args, kwargs)`,
            a tuple and a dict; or args alone, a tuple or one tensor; or kwargs alone, a dict.
        files: as of `imported`.

    Raises:
        SpecError: there is nothing under that path, it fails, or what it returns is nothing of that.
    """
    sample = imported(path, files)
    if callable(sample):
        sample = _called(sample, path)
    if isinstance(sample, Tensor):
        return (sample,), {}
    if _is_named(sample):
        return (), dict(sample)
    if isinstance(sample, list | tuple):
        if len(sample) == 2 and isinstance(sample[0], list | tuple) and _is_named(sample[1]):
            return tuple(sample[0]), dict(sample[1])
        return tuple(sample), {}
    raise SpecError(f"{path} gives {described(sample)}; expected (args, kwargs): a tuple and a dict, or one of the two")


def _called(make: Callable[[], object], path: str) -> object:
    if mismatch := why_not_callable(make, {}):
        raise SpecError(f"{path} cannot make an input: {mismatch}; expected a function without arguments") from mismatch
    calling = f"calling {path}"
    with running_user_code(calling, path.rpartition(":")[0]):
        try:
            return make()
        except Exception as error:  # whatever the user's code raises
            raise SpecError(failure(calling, error)) from error


def _is_named(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _lengths(given: object, name: str) -> tuple[int, ...]:
    """Return the lengths of axes from a text such as 3,224,224 or a list."""
    parts: list[Any] = [0]
    if isinstance(given, str):
        parts = [part for part in re.split("[,x]", given.strip()) if part]
    elif isinstance(given, list):
        parts = given
    try:
        lengths = tuple(int(part) for part in parts)
    except (TypeError, ValueError):
        lengths = (0,)
    if min(lengths, default=1) < 1:
        raise SpecError(f"{name} is {given!r}; expected positive integers such as 3,224,224, for a tensor {_TENSOR}")
    return lengths


def _kind(name: object) -> torch.dtype:
    kind, *others = parse_dtypes(name) if isinstance(name, str) else [None, None]
    if kind is None or others:
        raise SpecError(f"dtype is {name!r}; expected one type such as long, for a tensor {_TENSOR}")
    return kind
