"""Make one sample for a model on the meta device, from sizes or from the arguments of a call."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Final

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.validation import checked_arguments, checked_dtypes, checked_sizes, described
from paramshare.sharing.tensors.object_tensors import tensors_in, with_tensors
from paramshare.sharing.tensors.wrapper_subclasses import is_wrapper

__all__ = ["Sample", "Size", "example_inputs", "own_dtype", "parse_dtypes", "parse_sizes"]

Size = Sequence[int]

_CPU: Final = torch.device("cpu")

_DENSE = "give a dense tensor (`to_dense()`, `to_padded_tensor()`)"


@dataclass(frozen=True, slots=True)
class Sample:
    """The arguments of one call of a model.

    Args:
        args, kwargs: the arguments, with every tensor on the meta device, also tensors within other objects.
        sizes: the sizes that the inputs were made from, without the batch; empty for inputs given as tensors.
        gradients: True if the pass records gradients, for a model whose forward computes gradients.
        device: the device that model code sees in place of the meta device.
    """

    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    sizes: tuple[tuple[int, ...], ...] = ()
    gradients: bool = False
    device: torch.device = _CPU

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Enable or disable gradients in the block, by `gradients`; also those of the sample's tensors."""
        for tensor in tensors_in((self.args, dict(self.kwargs))) if self.gradients else ():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.requires_grad_()
        with torch.set_grad_enabled(self.gradients):
            yield

    def __str__(self) -> str:
        """Return the shapes and types of the arguments."""
        named = (f"{name}={described(value)}" for name, value in self.kwargs.items())
        return ", ".join((*map(described, self.args), *named)) or "no input"


def example_inputs(
    model: nn.Module,
    input_size: Size | Sequence[Size] | None = None,
    dtypes: torch.dtype | Sequence[torch.dtype | None] | None = None,
    args: Sequence[object] | None = None,
    kwargs: Mapping[str, object] | None = None,
) -> Sample:
    """Return one sample for `model`.

    Args:
        model: the dtype of its first floating-point parameter is the default dtype of the inputs.
        input_size: the size of one sample, without the batch; or a sequence of sizes, one for each input.
        dtypes: one dtype for all inputs, or one for each (None for the default).
        args, kwargs: the arguments of the call, in place of sizes. Only the shape and dtype of tensors are used.

    Raises:
        SpecError: the input is missing, given twice, or not a size where a size is expected; a size is not positive;
            the number of dtypes is wrong; or the meta device does not support the layout of a tensor.
    """
    if input_size is None and args is None and kwargs is None:
        raise SpecError("no input was given; give input_size=(3, 224, 224), or args=(...), kwargs={...}")
    if input_size is not None and args is not None:
        raise SpecError("input_size and args were both given; give one of them")
    if input_size is None and dtypes is not None:
        raise SpecError(
            "dtypes was given without input_size; leave it out, the tensors in args and kwargs have their own dtypes"
        )
    positional, named = checked_arguments(args, kwargs)
    device = _device_of(model, (positional, named))
    sizes = [] if input_size is None else checked_sizes(input_size)
    tensors = (
        torch.empty((1, *size), dtype=kind or own_dtype(model), device="meta")
        for size, kind in zip(sizes, checked_dtypes(dtypes, len(sizes)), strict=True)
    )
    arguments = with_tensors((*positional, *tensors), _tensor_on_meta)
    return Sample(arguments, with_tensors(named, _tensor_on_meta), tuple(sizes), device=device)


def _device_of(model: nn.Module, arguments: object) -> torch.device:
    """Return the device of the model, else of its arguments, without meta devices. Defaults to the CPU."""
    tensors = chain(model.parameters(), model.buffers(), tensors_in(arguments))
    return next((tensor.device for tensor in tensors if not tensor.is_meta), _CPU)


def _tensor_on_meta(tensor: Tensor) -> Tensor:
    """Return a tensor without values, with the shape, dtype and requires_grad of `tensor`.

    Raises:
        SpecError: the meta device does not support the layout of `tensor`.
    """
    if not is_wrapper(tensor) and (tensor.is_sparse or tensor.layout is torch.sparse_csr):
        return tensor.detach()  # only its shape and the number of its elements are used
    if not is_wrapper(tensor) and (tensor.is_nested or tensor.layout != torch.strided):
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.").strip("_")
        raise SpecError(f"the input has a {kind} tensor, which cannot be traced without values; {_DENSE}")
    return _empty_like(tensor).requires_grad_(tensor.requires_grad)


def _empty_like(tensor: Tensor) -> Tensor:
    if type(tensor) is Tensor and tensor.layout == torch.strided and tensor.is_contiguous():
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return torch.empty_like(tensor, device="meta")  # imports sympy: a third of a second


def own_dtype(model: nn.Module) -> torch.dtype:
    """Return the dtype of the model's first floating-point parameter; float32 without such a parameter."""
    kinds = (parameter.dtype for parameter in model.parameters())
    return next((kind for kind in kinds if kind.is_floating_point), torch.float32)


def parse_sizes(text: str) -> list[tuple[int, ...]]:
    """Parse sizes: `3,224,224` or `3x224x224`, several inputs as `3,224,224;10`.

    Raises:
        SpecError: a part is not a list of positive integers.
    """
    return [_parse_size(part, text) for part in text.split(";")]


def parse_dtypes(text: str) -> list[torch.dtype]:
    """Parse dtypes: `long`, or one for each input as `float32;long`.

    Raises:
        SpecError: torch has no dtype of that name.
    """
    kinds = [getattr(torch, part.strip(), None) for part in text.split(";")]
    if not all(isinstance(kind, torch.dtype) for kind in kinds):
        raise SpecError(f"dtype {text!r} is not a dtype of torch; use one such as float32, bfloat16 or long")
    return kinds  # type: ignore[return-value] # just checked


def _parse_size(part: str, text: str) -> tuple[int, ...]:
    try:
        size = tuple(int(length) for length in re.split("[,x]", part))
    except ValueError:
        size = (0,)
    if min(size) < 1:
        raise SpecError(f"input {text!r}: {part.strip()!r} is not a size; use one such as 3,224,224, without the batch")
    return size
