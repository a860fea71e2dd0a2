"""The unshared twins of transposed convolutions, in 1 to 3 dimensions."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.twins.layers.dense import Dense
from paramshare.sharing.twins.layers.unshared import Unshared, by_channel, replicated, spread

__all__ = ["DenseConvTranspose", "LocalConvTranspose"]

_Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


class LocalConvTranspose(Unshared):
    """A transposed convolution with a kernel for each input position.

    `weight` is (*input positions, in_channels, out_channels / groups, *kernel), since each input has a
    kernel that it spreads over the output; `bias` is (out_channels, *output positions).

    Args:
        layer: the transposed convolution to copy: options, dtype, device and requires_grad.
        input_shape: (in_channels, *size) of one sample.
        output_shape: (out_channels, *size) of the layer's output for that sample.
    """

    in_channels: int
    out_channels: int
    groups: int
    targets: Tensor

    def __init__(self, layer: _Transposed, input_shape: Sequence[int], output_shape: Sequence[int]) -> None:
        super().__init__(layer, input_shape)
        self.output_shape = tuple(output_shape)
        self.register_copies("weight", layer.weight, replicated(layer.weight, self.input_shape[1:]))
        self.register_copies("bias", layer.bias, _biases(layer, self.output_shape))
        targets = _targets(layer, self.input_shape[1:], self.output_shape[1:])
        self.register_buffer("targets", targets.to(layer.weight.device), persistent=False)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:  # noqa: A002
        """Return the output for (batch, *input_shape), or for one sample without a batch.

        Raises:
            SpecError: the output size is not the size that the twin was made for.
        """
        space = self.output_shape[1:]
        if output_size is not None and tuple(output_size)[-len(space) :] != space:
            raise SpecError(f"{type(self).__name__} cannot give the output size {tuple(output_size)}; expected {space}")
        single = input.dim() == len(self.input_shape)
        x = (input.unsqueeze(0) if single else input).flatten(2)
        (batch, _, places), groups = x.shape, self.groups
        # (positions x groups, batch, channels): at each position and group a matrix spreads the input over the taps
        x = x.view(batch, groups, -1, places).permute(3, 1, 0, 2).reshape(places * groups, batch, -1)
        taps = torch.bmm(x, self.weight.reshape(places * groups, self.in_channels // groups, -1))
        taps = taps.view(places, groups, batch, self.out_channels // groups, -1).permute(2, 1, 3, 0, 4)
        taps = taps.reshape(batch, self.out_channels, -1)
        # One extra place receives the taps that padding cuts off.
        out = taps.new_zeros(batch, self.out_channels, prod(space) + 1).index_add(2, self.targets.flatten(), taps)
        out = out[..., :-1].reshape(batch, *self.output_shape)
        out = out if self.bias is None else out + self.bias
        return out.squeeze(0) if single else out


class DenseConvTranspose(Dense):
    """A transposed convolution without local connectivity: each output is connected to each input, as in `Dense`.

    Args:
        layer, input_shape, output_shape: as in `LocalConvTranspose`.
    """

    def __init__(self, layer: _Transposed, input_shape: Sequence[int], output_shape: Sequence[int]) -> None:
        Unshared.__init__(self, layer, input_shape)
        self.output_shape = tuple(output_shape)
        self.register_copies("weight", layer.weight, _placed(layer, self.input_shape[1:], self.output_shape[1:]))
        biases = _biases(layer, self.output_shape)
        self.register_copies("bias", layer.bias, None if biases is None else biases.flatten())


def _biases(layer: _Transposed, output_shape: Sequence[int]) -> Tensor | None:
    """Return a copy of the bias for each output."""
    return None if layer.bias is None else spread(by_channel(layer.bias, len(output_shape)), output_shape)


def _targets(layer: _Transposed, inputs: Sequence[int], outputs: Sequence[int]) -> Tensor:
    """Return the output position of each tap of each input, (input positions, taps).

    A tap that padding cuts off has the position after the last.
    """
    places = torch.zeros(1, 1, dtype=torch.int64)
    inside = torch.ones(1, 1, dtype=torch.bool)
    for dim, (size, length) in enumerate(zip(inputs, outputs, strict=True)):
        starts = torch.arange(size) * layer.stride[dim] - int(layer.padding[dim])
        along = starts[:, None] + torch.arange(layer.kernel_size[dim]) * layer.dilation[dim]
        shape = (places.shape[0] * along.shape[0], places.shape[1] * along.shape[1])
        places = (places[:, None, :, None] * length + along[None, :, None, :]).reshape(shape)
        inside = (inside[:, None, :, None] & ((along >= 0) & (along < length))[None, :, None, :]).reshape(shape)
    return places.where(inside, torch.tensor(prod(outputs)))


def _placed(layer: _Transposed, inputs: Sequence[int], outputs: Sequence[int]) -> Tensor:
    """Return the matrix (out_channels * output positions, in_channels * input positions) of the layer's function."""
    weight = layer.weight.detach()
    ins, outs, groups = prod(inputs), prod(outputs), layer.groups
    dense = weight.new_zeros(layer.out_channels, outs + 1, layer.in_channels, ins)
    targets, places = _targets(layer, inputs, outputs).to(weight.device), torch.arange(ins, device=weight.device)
    kernels = weight.flatten(2).chunk(groups)
    for group, kernel in enumerate(kernels):  # (in_channels / groups, out_channels / groups, taps)
        ins_per_group, outs_per_group = kernel.shape[:2]
        outs_slice = slice(group * outs_per_group, (group + 1) * outs_per_group)
        region = dense[outs_slice, :, group * ins_per_group : (group + 1) * ins_per_group]
        for tap in range(kernel.shape[2]):
            region[:, targets[:, tap], :, places] = kernel[:, :, tap].t().expand(ins, outs_per_group, ins_per_group)
    return dense[:, :-1].reshape(layer.out_channels * outs, layer.in_channels * ins)
