"""The unshared twins of Linear and Bilinear layers over extra axes: a matrix for each position."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.twins.layers.unshared import Unshared, replicated

__all__ = ["LocalBilinear", "LocalLinear", "positions_of_linear"]


class LocalLinear(Unshared):
    """A Linear over extra axes with a matrix for each position.

    `weight` is (*positions, out_features, in_features), `bias` (*positions, out_features).

    Args:
        linear: the layer to copy: dtype, device and requires_grad.
        input_shape: (*positions, in_features) of one sample.
        batch_axis: the axis of the batch. Defaults to 0.

    Raises:
        SpecError: the shape does not fit the layer.
    """

    out_features: int

    def __init__(self, linear: nn.Linear, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        positions = positions_of_linear(linear, input_shape)
        super().__init__(linear, input_shape, batch_axis)
        self.register_copies("weight", linear.weight, replicated(linear.weight, positions))
        self.register_copies("bias", linear.bias, None if linear.bias is None else replicated(linear.bias, positions))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as torch's layers name it
        """Return the output for (..., *input_shape), or with the batch at `batch_axis`."""
        batch_first = input.movedim(self.batch_axis, 0)
        weight = self.weight.flatten(0, -3)
        x = batch_first.reshape(-1, *weight.shape[::2]).transpose(0, 1)
        if self.bias is None:
            out = torch.bmm(x, weight.mT)
        else:
            out = torch.baddbmm(self.bias.flatten(0, -2).unsqueeze(1), x, weight.mT)
        return out.transpose(0, 1).reshape(*batch_first.shape[:-1], self.out_features).movedim(0, self.batch_axis)


class LocalBilinear(Unshared):
    """A Bilinear over extra axes with matrices for each position.

    `weight` is (*positions, out_features, in1_features, in2_features), `bias` (*positions, out_features).

    Args:
        layer: the layer to copy: dtype, device and requires_grad.
        input_shape: (*positions, in1_features) of the first input of one sample.
        batch_axis: the axis of the batch. Defaults to 0.
    """

    out_features: int

    def __init__(self, layer: nn.Bilinear, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        super().__init__(layer, input_shape, batch_axis)
        positions = self.input_shape[:-1]
        self.register_copies("weight", layer.weight, replicated(layer.weight, positions))
        self.register_copies("bias", layer.bias, None if layer.bias is None else replicated(layer.bias, positions))

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Return the output for (..., *positions, features), or with the batch at `batch_axis`."""
        first, second = input1.movedim(self.batch_axis, 0), input2.movedim(self.batch_axis, 0)
        weight = self.weight.flatten(0, -4)  # (positions, out, in1, in2)
        places, outs, ins1, ins2 = weight.shape
        x1 = first.reshape(-1, places, ins1).transpose(0, 1)
        x2 = second.reshape(-1, places, ins2).transpose(0, 1)
        halves = torch.bmm(x2, weight.reshape(places, outs * ins1, ins2).mT)  # (positions, samples, out x in1)
        out = (halves.view(places, -1, outs, ins1) * x1.unsqueeze(2)).sum(-1)
        if self.bias is not None:
            out = out + self.bias.flatten(0, -2).unsqueeze(1)
        return out.transpose(0, 1).reshape(*first.shape[:-1], outs).movedim(0, self.batch_axis)


def positions_of_linear(linear: nn.Linear, input_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the positions of an input of a Linear.

    Raises:
        SpecError: the shape does not fit the layer.
    """
    *positions, features = input_shape
    if not positions or features != linear.in_features:
        raise SpecError(
            f"{linear} does not fit the input {tuple(input_shape)}; expected (positions, {linear.in_features})"
        )
    return tuple(positions)
