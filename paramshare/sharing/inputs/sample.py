"""One sample for a model, on the meta device: from sizes, or from arguments as a call would have them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.validation import checked_arguments, checked_dtypes, checked_sizes, described
from paramshare.sharing.tensors.object_tensors import tensors_in, with_tensors
from paramshare.sharing.tensors.wrapper_subclasses import is_wrapper

__all__ = ["Sample", "Size", "described", "example_inputs", "own_type", "parse_dtypes", "parse_sizes"]

Size = Sequence[int]

_DENSE = "give a dense tensor (`to_dense()`, `to_padded_tensor()`)"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a model is called with.

    Args:
        args, kwargs: as of the call, every tensor on the meta device, also those that other objects hold.
        sizes: what the inputs were made from, without the batch; empty if tensors were given.
        gradients: whether the pass records gradients, as a model needs that takes some in its forward.
    """

    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    sizes: tuple[tuple[int, ...], ...] = ()
    gradients: bool = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record gradients in the block, those of the sample too, or none."""
        for tensor in tensors_in((self.args, dict(self.kwargs))) if self.gradients else ():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.requires_grad_()
        with torch.set_grad_enabled(self.gradients):
            yield

    def __str__(self) -> str:
        """Shapes and types, as they are given."""
        named = (f"{name}={described(value)}" for name, value in self.kwargs.items())
        return ", ".join((*map(described, self.args), *named)) or "no input"


def example_inputs(
    model: nn.Module,
    input_size: Size | Sequence[Size] | None = None,
    dtypes: torch.dtype | Sequence[torch.dtype | None] | None = None,
    args: Sequence[object] | None = None,
    kwargs: Mapping[str, object] | None = None,
) -> Sample:
    """One sample for `model`.

    Args:
        model: gives the type of an input whose type is not given: that of its first floating-point parameter.
        input_size: the size of one sample, without the batch; or a sequence of sizes, one an input.
        dtypes: the type of the inputs, one for all or one each (None for the model's own).
        args, kwargs: instead of sizes: what the model is called with. Tensors give only shape and type.

    Raises:
        SpecError: for no input, two kinds of input, tensors in place of a size or a size in place of tensors, a size
            that is not positive, types that do not match, or a tensor in a layout that the meta device does not have.
    """
    if input_size is None and args is None and kwargs is None:
        raise SpecError("no input was given; give input_size=(3, 224, 224), or args=(...), kwargs={...}")
    if input_size is not None and args is not None:
        raise SpecError("input_size and args were both given; give one of them")
    if input_size is None and dtypes is not None:
        raise SpecError("dtypes was given without input_size; the tensors in args and kwargs have types of their own")
    given, named = checked_arguments(args, kwargs)
    sizes = [] if input_size is None else checked_sizes(input_size)
    tensors = (
        torch.empty((1, *size), dtype=kind or own_type(model), device="meta")
        for size, kind in zip(sizes, checked_dtypes(dtypes, len(sizes)), strict=True)
    )
    arguments = with_tensors((*given, *tensors), _tensor_on_meta)
    return Sample(arguments, with_tensors(named, _tensor_on_meta), tuple(sizes))


def _tensor_on_meta(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape and type without values, which requires a gradient as `tensor` does.

    Raises:
        SpecError: the meta device does not have its layout.
    """
    if not is_wrapper(tensor) and (tensor.is_nested or tensor.layout != torch.strided):
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.").strip("_")
        raise SpecError(f"the input has a {kind} tensor, which cannot be followed without values; {_DENSE}")
    return _empty_like(tensor).requires_grad_(tensor.requires_grad)


def _empty_like(tensor: Tensor) -> Tensor:
    if type(tensor) is Tensor and tensor.layout == torch.strided and tensor.is_contiguous():
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return torch.empty_like(tensor, device="meta")  # imports sympy: a third of a second


def own_type(model: nn.Module) -> torch.dtype:
    """Return the type of the model's first floating-point parameter; float32 if there is none."""
    kinds = (parameter.dtype for parameter in model.parameters())
    return next((kind for kind in kinds if kind.is_floating_point), torch.float32)


def parse_sizes(text: str) -> list[tuple[int, ...]]:
    """The sizes that `text` names: `3,224,224` or `3x224x224`, several inputs as `3,224,224;10`.

    Raises:
        SpecError: a part is not a list of positive integers.
    """
    return [_parse_size(part, text) for part in text.split(";")]


def parse_dtypes(text: str) -> list[torch.dtype]:
    """The types that `text` names: `long`, or one an input as `float32;long`.

    Raises:
        SpecError: torch has no type of that name.
    """
    found = [getattr(torch, part.strip(), None) for part in text.split(";")]
    if not all(isinstance(kind, torch.dtype) for kind in found):
        raise SpecError(f"dtype {text!r} names no type of torch; expected such as float32, bfloat16 or long")
    return found  # type: ignore[return-value] # just checked


def _parse_size(part: str, text: str) -> tuple[int, ...]:
    try:
        size = tuple(int(length) for length in re.split("[,x]", part))
    except ValueError:
        size = (0,)
    if min(size) < 1:
        raise SpecError(
            f"input {text!r}: {part.strip()!r} is not a size; expected such as 3,224,224, without the batch"
        )
    return size
