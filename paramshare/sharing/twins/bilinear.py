"""The unshared twin of a Bilinear layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paramshare.sharing.twins.unshared import Unshared, replicated

__all__ = ["LocalBilinear"]


class LocalBilinear(Unshared):
    """A Bilinear over extra axes whose positions each have matrices of their own.

    `weight` is (*positions, out_features, in1_features, in2_features), `bias` (*positions, out_features).

    Args:
        layer: the layer to start equal to: its dtype, device and requires_grad.
        input_shape: (*positions, in1_features) of one sample's first input.
        batch_axis: where the batch stands between the positions. Defaults to 0.
    """

    out_features: int

    def __init__(self, layer: nn.Bilinear, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        super().__init__(layer, input_shape, batch_axis)
        positions = self.input_shape[:-1]
        self.hold("weight", layer.weight, replicated(layer.weight, positions))
        self.hold("bias", layer.bias, None if layer.bias is None else replicated(layer.bias, positions))

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Return the output for (..., *positions, features), or with the batch at `batch_axis`."""
        first, second = input1.movedim(self.batch_axis, 0), input2.movedim(self.batch_axis, 0)
        weight = self.weight.flatten(0, -4)  # (positions, out, in1, in2)
        places, outs, ins1, ins2 = weight.shape
        one = first.reshape(-1, places, ins1).transpose(0, 1)
        other = second.reshape(-1, places, ins2).transpose(0, 1)
        halves = torch.bmm(other, weight.reshape(places, outs * ins1, ins2).mT)  # (positions, samples, out x in1)
        out = (halves.view(places, -1, outs, ins1) * one.unsqueeze(2)).sum(-1)
        if self.bias is not None:
            out = out + self.bias.flatten(0, -2).unsqueeze(1)
        return out.transpose(0, 1).reshape(*first.shape[:-1], outs).movedim(0, self.batch_axis)
