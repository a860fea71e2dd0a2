"""The unshared twins of elementwise layers: the affine part of norms, and PReLU."""

import copy
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from paramshare.sharing.twins.layers.unshared import Unshared, by_channel, spread

__all__ = ["CHANNEL_NORMS", "TRAILING_NORMS", "LocalNorm", "LocalPReLU"]

CHANNEL_NORMS: Final = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d,
    nn.InstanceNorm3d, nn.SyncBatchNorm,
)  # fmt: skip
"""The norms with a scale and a shift for each channel."""

TRAILING_NORMS: Final = (nn.LayerNorm, nn.RMSNorm)
"""The norms with a scale and a shift of the shape of the last axes."""

_Norm = (
    nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d
    | nn.InstanceNorm3d | nn.SyncBatchNorm | nn.LayerNorm | nn.RMSNorm
)  # fmt: skip


class LocalNorm(Unshared):
    """A norm with a scale and a shift for each element.

    `weight` and `bias` have the shape of one sample; `norm` is the norm without them, with its running statistics.

    Args:
        layer: the norm to copy, with an affine part: options, dtype, device and requires_grad.
        input_shape: (channels, *size) or (*positions, *normalized_shape) of one sample.
        batch_axis: the axis of the batch. Defaults to 0.
    """

    def __init__(self, layer: _Norm, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        super().__init__(layer, input_shape, batch_axis)
        shift = getattr(layer, "bias", None)
        self.register_copies("weight", layer.weight, self._spread(layer, layer.weight))
        self.register_copies("bias", shift, self._spread(layer, shift))
        self.norm = copy.copy(layer)
        self.norm._parameters = {"weight": None, "bias": None}
        self.norm._buffers = dict(layer._buffers)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as torch's layers name it
        """Return the output for (batch, *input_shape), or with the batch at `batch_axis`."""
        normalized: Tensor = self.norm(input)
        out = normalized * _beside_batch(self.weight, self.batch_axis)
        if self.bias is not None:
            out = out + _beside_batch(self.bias, self.batch_axis)
        return out.to(normalized.dtype)

    def _spread(self, layer: _Norm, parameter: nn.Parameter | None) -> Tensor | None:
        """Return a copy of a scale or shift for each element of a sample."""
        if parameter is None:
            return None
        trailing = isinstance(layer, TRAILING_NORMS)
        return spread(parameter if trailing else by_channel(parameter, len(self.input_shape)), self.input_shape)


class LocalPReLU(Unshared):
    """A PReLU with a slope for each element: `weight` has the shape of one sample.

    Args:
        layer: the PReLU to copy: dtype, device and requires_grad.
        input_shape: (channels, *size) of one sample, or any shape if the PReLU has one slope.
        batch_axis: the axis of the batch. Defaults to 0.
    """

    def __init__(self, layer: nn.PReLU, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        super().__init__(layer, input_shape, batch_axis)
        slopes = by_channel(layer.weight, len(self.input_shape)) if layer.num_parameters > 1 else layer.weight
        self.register_copies("weight", layer.weight, spread(slopes, self.input_shape))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as torch's layers name it
        """Return the output for (batch, *input_shape), or with the batch at `batch_axis`."""
        return torch.where(input > 0, input, input * _beside_batch(self.weight, self.batch_axis))


def _beside_batch(weight: Tensor, batch_axis: int) -> Tensor:
    return weight.unsqueeze(batch_axis) if batch_axis else weight
