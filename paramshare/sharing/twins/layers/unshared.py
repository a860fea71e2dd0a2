"""The base of the unshared layers, and how the weights of a layer are copied for them."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.validation import described
from paramshare.sharing.tensors.copies import parameter_like

__all__ = ["Unshared", "by_channel", "copy_options", "replicated", "spread"]


class Unshared(nn.Module):
    """The base of the unshared layers: the options of a layer, and the size that the layer's twin expects.

    Args:
        layer: the layer to start equal to. Its options (`in_features`, `batch_first`) become attributes of the twin.
        input_shape: of one sample, without the batch.
        batch_axis: where the batch stands in what the twin is given. Defaults to 0.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Module, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        super().__init__()
        copy_options(layer, self)
        self.input_shape = tuple(input_shape)
        self.batch_axis = batch_axis
        self._made_from = str(layer)
        # A hook, for nn.TransformerEncoderLayer does not take its fused path, which reads weights, where there is one.
        self.register_forward_pre_hook(_check_shape, with_kwargs=True)

    def hold(self, name: str, original: Tensor | None, copies: Tensor | None) -> None:
        """Register `copies` as a parameter that is like the parameter `original`; None for None."""
        own = parameter_like(original, copies) if isinstance(original, nn.Parameter) and copies is not None else None
        self.register_parameter(name, own)

    def takes(self, shape: Sequence[int]) -> bool:
        """Return whether the twin has weights for an input of `shape`; axes before the sample's are the batch."""
        expected, given, axis = self.input_shape, tuple(shape), self.batch_axis
        if axis:
            return len(given) == len(expected) + 1 and given[:axis] + given[axis + 1 :] == expected
        return given[len(given) - len(expected) :] == expected

    def extra_repr(self) -> str:
        return f"{self._made_from} on {described(torch.empty(self.input_shape, device='meta'))}"


def _check_shape(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse an input of another size than the weights were laid out for."""
    assert isinstance(module, Unshared)
    given = (*args, *kwargs.values())[0]
    if isinstance(given, Tensor) and not module.takes(given.shape):
        expected = list(map(str, module.input_shape))
        expected.insert(module.batch_axis, "batch")
        raise SpecError(
            f"{type(module).__name__} was given {tuple(given.shape)}; expected ({', '.join(expected)}), the size "
            "that it has weights for; make a twin for the other size"
        )


def copy_options(layer: nn.Module, twin: nn.Module, without: Collection[str] = ()) -> None:
    """Give a twin the options of its layer as attributes, since a model's code reads them.

    Args:
        without: the names of attributes that are not options.
    """
    for name, value in vars(layer).items():
        if not name.startswith("_") and name not in ("training", *without):
            setattr(twin, name, value)


def spread(weight: Tensor, shape: Sequence[int]) -> Tensor:
    """Return copies of the elements of `weight` in a tensor of `shape`, to which it is expanded."""
    return weight.detach().expand(*shape).clone(memory_format=torch.contiguous_format)


def replicated(weight: Tensor, positions: Sequence[int]) -> Tensor:
    """Return a copy of `weight` for each position: (*positions, *weight.shape)."""
    return spread(weight, (*positions, *weight.shape))


def by_channel(parameter: Tensor, dims: int) -> Tensor:
    """Return a parameter of (channels,) as (channels, 1, ..) with `dims` axes."""
    return parameter.detach().view(-1, *(1,) * (dims - 1))
