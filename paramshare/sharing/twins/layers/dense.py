"""The dense twin of a convolution, or of a Linear over extra axes: a full matrix from all inputs to all outputs."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn
from torch.nn import functional

from paramshare.sharing.twins.layers.convolution import Conv, Windows, windows_of
from paramshare.sharing.twins.layers.linear import positions_of_linear
from paramshare.sharing.twins.layers.unshared import Unshared, replicated

__all__ = ["Dense"]


class Dense(Unshared):
    """A convolution, or a Linear over extra axes, without local connectivity: each output is connected to each input.

    `weight` is (outputs, inputs) of one sample, flattened. The weight starts with the kernel at each place where the
    layer applies it, and zeros elsewhere, so that the function is the same. `bias` is (outputs,).

    Args:
        layer: the layer to copy: options, dtype, device and requires_grad.
        input_shape: (channels, *size) or (*positions, in_features) of one sample.
        batch_axis: the axis of the batch. Defaults to 0.

    Raises:
        SpecError: the shape does not fit the layer.
    """

    def __init__(self, layer: Conv | nn.Linear, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        if isinstance(layer, nn.Linear):
            positions = positions_of_linear(layer, input_shape)
            output_shape: tuple[int, ...] = (*positions, layer.out_features)
            weight = _block_diagonal(layer, prod(positions))
            biases: Tensor | None = None if layer.bias is None else replicated(layer.bias, positions)
        else:
            windows = windows_of(layer, input_shape)
            output_shape = (layer.out_channels, *windows.output_size)
            weight = _placed_kernels(layer, windows)
            biases = None if layer.bias is None else replicated(layer.bias, windows.output_size).movedim(-1, 0)
        super().__init__(layer, input_shape, batch_axis)
        self.register_copies("weight", layer.weight, weight)
        self.register_copies("bias", layer.bias, None if biases is None else biases.flatten())
        self.output_shape = output_shape

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as torch's layers name it
        """Return the output for (..., *input_shape), or with the batch at `batch_axis`."""
        batch_first = input.movedim(self.batch_axis, 0)
        before = batch_first.shape[: batch_first.dim() - len(self.input_shape)]
        out = functional.linear(batch_first.reshape(*before, self.weight.shape[1]), self.weight, self.bias)
        return out.reshape(*before, *self.output_shape).movedim(0, self.batch_axis)


def _block_diagonal(linear: nn.Linear, positions: int) -> Tensor:
    weight = linear.weight.detach()
    blocks = weight.new_zeros(positions, linear.out_features, positions, linear.in_features)
    blocks.diagonal(dim1=0, dim2=2).copy_(weight.unsqueeze(-1))
    return blocks.view(positions * linear.out_features, positions * linear.in_features)


def _placed_kernels(conv: Conv, windows: Windows) -> Tensor:
    """Return the matrix (out_channels * positions, in_channels * input positions) of the function of `conv`."""
    outputs, inputs = prod(windows.output_size), prod(windows.input_size)
    dense = conv.weight.detach().new_zeros(conv.out_channels, outputs, conv.in_channels, inputs)
    sources = windows.sources(dense.device)
    kernels = conv.weight.detach().flatten(2).chunk(conv.groups)
    # Add, not set: with replicated padding several taps meet one input.
    for group, (block, kernel) in enumerate(zip(dense.chunk(conv.groups), kernels, strict=True)):
        channels = kernel.shape[1]
        region = block[:, :, group * channels : (group + 1) * channels]
        shape = (*region.shape[:3], sources.shape[1])
        taps = kernel.unsqueeze(1) * (sources >= 0).unsqueeze(1)
        region.scatter_add_(3, sources.clamp(min=0).unsqueeze(1).expand(shape), taps)
    return dense.view(conv.out_channels * outputs, conv.in_channels * inputs)
