"""Closed formulas for convolutions and transposed convolutions in 1 to 3 dimensions, padded with zeros."""

from collections.abc import Sequence
from math import prod

from paramshare.sharing.formulas.regimes import Regimes, bias_regimes, product_regimes
from paramshare.sharing.formulas.sizes import Axis, Ints, check_groups, conv_axes, conv_transpose_axes

__all__ = ["conv", "conv_transpose"]


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: Ints,
    size: Ints,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    bias: bool = True,
) -> Regimes:
    """Return the regimes of nn.Conv1d, 2d or 3d on (in_channels, *size), padded with zeros.

    With weights W = Co·(Ci/groups)·Πkernel and outputs of (Co, *out) (`sizes.conv_axes`): shared W + Co, unshared
    Πout·W + Πout·Co, dense (Ci·Πsize)·(Co·Πout) + Πout·Co, MACs Πout·W and dense (Ci·Πsize)·(Co·Πout). The live copies
    are Co·(Ci/groups)·Π_d #{(o, t): 0 ≤ o·stride - padding + t·dilation < size} + Πout·Co, the product over
    dimensions, with o an output's position and t a tap; `unshared` also counts taps on padding.

    Args:
        in_channels, out_channels: Ci, Co.
        kernel_size, size, stride, dilation: whole numbers, one for all dimensions or one for each; `size` is the
            input's. There are as many dimensions as numbers in the longest of these, so plain numbers mean one.
        padding: whole numbers as above, `same` (only with stride 1) or `valid`.
        groups: divides both channels; each output sees the Ci/groups inputs of its own group.
        bias: True for a layer with a bias, of Co elements.

    Raises:
        SpecError: a size is impossible, or the kernel is larger than the padded input.
    """
    check_groups(groups, in_channels, out_channels)
    axes = conv_axes(kernel_size, size, stride, padding, dilation)
    sites = prod(axis.outputs for axis in axes)
    return _convolution(in_channels, out_channels, groups, bias, axes, sites)


def conv_transpose(
    in_channels: int,
    out_channels: int,
    kernel_size: Ints,
    size: Ints,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    bias: bool = True,
    dilation: Ints = 1,
) -> Regimes:
    """Return the regimes of nn.ConvTranspose1d, 2d or 3d on (in_channels, *size).

    Each input spreads its kernel over the output, so the sites of W = Ci·(Co/groups)·Πkernel are the inputs; the sites
    of the bias are the outputs, (Co, *out) (`sizes.conv_transpose_axes`): shared W + Co, unshared Πsize·W + Πout·Co,
    dense (Ci·Πsize)·(Co·Πout) + Πout·Co, MACs Πsize·W and dense (Ci·Πsize)·(Co·Πout). The live copies are the taps
    that land inside the output after padding was removed:
    Ci·(Co/groups)·Π_d #{(i, t): 0 ≤ i·stride - padding + t·dilation < out} + Πout·Co, with i an input's position.

    Args:
        in_channels, out_channels, kernel_size, size, stride, dilation, groups, bias: as in `conv`.
        padding: positions removed from either side of the output, as whole numbers.
        output_padding: positions added to the right of the output; less than stride or dilation.

    Raises:
        SpecError: a size is impossible, or the output is empty.
    """
    check_groups(groups, in_channels, out_channels)
    axes = conv_transpose_axes(kernel_size, size, stride, padding, output_padding, dilation)
    sites = prod(axis.inputs for axis in axes)
    return _convolution(in_channels, out_channels, groups, bias, axes, sites)


def _convolution(
    in_channels: int, out_channels: int, groups: int, bias: bool, axes: Sequence[Axis], sites: int
) -> Regimes:
    kernels = in_channels * out_channels // groups
    inputs, outputs = prod(axis.inputs for axis in axes), prod(axis.outputs for axis in axes)
    weights, live = kernels * prod(axis.taps for axis in axes), kernels * prod(axis.live for axis in axes)
    dense = (in_channels * inputs) * (out_channels * outputs)
    return product_regimes(weights, sites, dense, live) + bias_regimes(bias, out_channels, outputs)
