"""The base class of unshared layers, and functions that copy the weights of a layer for each position."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.validation import described
from paramshare.sharing.tensors.copies import parameter_like

__all__ = ["Unshared", "by_channel", "copy_options", "replicated", "spread"]


class Unshared(nn.Module):
    """The base class of unshared layers, which checks the size of the input.

    Args:
        layer: the layer to copy. Its options (`in_features`, `batch_first`) become attributes of the twin.
        input_shape: the shape of one sample, without the batch.
        batch_axis: the axis of the batch in the input. Defaults to 0.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Module, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        super().__init__()
        copy_options(layer, self)
        self.input_shape = tuple(input_shape)
        self.batch_axis = batch_axis
        self._made_from = str(layer)
        # A hook, since it also disables the fused path of nn.TransformerEncoderLayer, which reads weights directly.
        self.register_forward_pre_hook(_check_shape, with_kwargs=True)

    def register_copies(self, name: str, original: Tensor | None, copies: Tensor | None) -> None:
        """Register `copies` as a parameter with the attributes of the parameter `original`; None for None."""
        own = parameter_like(original, copies) if isinstance(original, nn.Parameter) and copies is not None else None
        self.register_parameter(name, own)

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether the twin has weights for an input of `shape`; axes before those of a sample are the batch."""
        expected, actual, axis = self.input_shape, tuple(shape), self.batch_axis
        if axis:
            return len(actual) == len(expected) + 1 and actual[:axis] + actual[axis + 1 :] == expected
        return actual[len(actual) - len(expected) :] == expected

    def extra_repr(self) -> str:
        return f"{self._made_from} on {described(torch.empty(self.input_shape, device='meta'))}"


def _check_shape(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check that the input has the size that the weights were made for.

    Raises:
        SpecError: the input has another size.
    """
    assert isinstance(module, Unshared)
    first = (*args, *kwargs.values())[0]
    if isinstance(first, Tensor) and not module.fits(first.shape):
        expected = list(map(str, module.input_shape))
        expected.insert(module.batch_axis, "batch")
        raise SpecError(
            f"{type(module).__name__} got an input of {tuple(first.shape)}; expected ({', '.join(expected)}), the size "
            "that it has weights for; make a twin for the other size"
        )


def copy_options(layer: nn.Module, twin: nn.Module, without: Collection[str] = ()) -> None:
    """Copy the options of a layer to attributes of its twin, since a model's code may read them.

    Args:
        layer, twin: the layer and its twin.
        without: the names of attributes that are not options.
    """
    for name, value in vars(layer).items():
        if not name.startswith("_") and name not in ("training", *without):
            setattr(twin, name, value)


def spread(weight: Tensor, shape: Sequence[int]) -> Tensor:
    """Return `weight` expanded to `shape`, with a copy of each element."""
    return weight.detach().expand(*shape).clone(memory_format=torch.contiguous_format)


def replicated(weight: Tensor, positions: Sequence[int]) -> Tensor:
    """Return a copy of `weight` for each position: (*positions, *weight.shape)."""
    return spread(weight, (*positions, *weight.shape))


def by_channel(parameter: Tensor, dims: int) -> Tensor:
    """Return a parameter of (channels,) as (channels, 1, ..) with `dims` axes."""
    return parameter.detach().view(-1, *(1,) * (dims - 1))
