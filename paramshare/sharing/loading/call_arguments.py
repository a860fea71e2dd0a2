"""Make the arguments of a model's call from JSON or from a user's function, for the command line and forms."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import own_dtype, parse_dtypes
from paramshare.sharing.inputs.validation import described
from paramshare.sharing.loading.import_paths import failure, import_object
from paramshare.sharing.loading.user_code import call_mismatch, running_user_code

__all__ = ["call_arguments", "is_import_path", "load_sample", "tensors_of"]

_TENSOR = '{"size": "3,224,224", "dtype": "float32"}'


def is_import_path(text: str) -> bool:
    """Return whether an input is the import path of a function, not sizes."""
    return ":" in text


def tensors_of(value: Any, kind: torch.dtype = torch.float32) -> Any:
    """Replace each description of a tensor in JSON data by a tensor on the meta device, at any depth.

    Args:
        value: JSON data. An object with `size` (without the batch, which becomes 1) or `shape` (of all axes), and
            perhaps `dtype`, describes a tensor. Everything else is kept.
        kind: the dtype of tensors without a `dtype`.

    Raises:
        SpecError: the description of a tensor is malformed.
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


def call_arguments(
    model: nn.Module, given: str | None, kwargs: Mapping[str, Any], files: dict[Path, ModuleType] | None = None
) -> tuple[tuple[object, ...] | None, dict[str, object]]:
    """Return the positional and the named arguments of a call; None for positional arguments given as sizes.

    Args:
        model: its first floating-point parameter sets the dtype of tensors without a `dtype`.
        given: an import path as for `load_sample`, or sizes, which are ignored here.
        kwargs: JSON data as for `tensors_of`; they take precedence over those of the function.
        files: the loaded files, as for `import_object`.

    Raises:
        SpecError: `load_sample` or `tensors_of` fails.
    """
    args: tuple[object, ...] | None = None
    named: dict[str, object] = {}
    if given is not None and is_import_path(given):
        args, named = load_sample(given, files)
    return args, named | {name: tensors_of(value, own_dtype(model)) for name, value in kwargs.items()}


def load_sample(path: str, files: dict[Path, ModuleType] | None = None) -> tuple[tuple[object, ...], dict[str, object]]:
    """Call a user's function and return the positional and the named arguments for a model.

    Args:
        path: `pkg.module:name` or `path/to/file.py:name` of a function without arguments. The function returns
            `(args, kwargs)`, a tuple and a dict; or args alone, a tuple or one tensor; or kwargs alone, a dict.
        files: the loaded files, as for `import_object`.

    Raises:
        SpecError: the path does not exist, the function fails, or the function returns another object.
    """
    sample = import_object(path, files)
    if callable(sample):
        sample = _call(sample, path)
    if isinstance(sample, Tensor):
        return (sample,), {}
    if _is_named(sample):
        return (), dict(sample)
    if isinstance(sample, list | tuple):
        if len(sample) == 2 and isinstance(sample[0], list | tuple) and _is_named(sample[1]):
            return tuple(sample[0]), dict(sample[1])
        return tuple(sample), {}
    raise SpecError(
        f"{path} returns {described(sample)}; expected (args, kwargs): a tuple and a dict, or one of the two"
    )


def _call(make: Callable[[], object], path: str) -> object:
    if mismatch := call_mismatch(make, {}):
        raise SpecError(f"{path} cannot make an input: {mismatch}; expected a function without arguments") from mismatch
    calling = f"calling {path}"
    with running_user_code(calling, path.rpartition(":")[0]):
        try:
            return make()
        except Exception as error:  # the user's code may raise anything
            raise SpecError(failure(calling, error)) from error


def _is_named(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _lengths(given: object, name: str) -> tuple[int, ...]:
    """Parse the lengths of axes from a text such as 3,224,224 or a list."""
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
        raise SpecError(f"dtype is {name!r}; expected one dtype such as long, for a tensor {_TENSOR}")
    return kind
