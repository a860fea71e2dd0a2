"""Check sizes, and compute the output size and the live taps of a convolution, one dimension at a time.

The arithmetic is that of Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016,
arXiv:1603.07285): chapter 2, for transposed convolutions chapter 4, with dilation section 5.1. Padding is with zeros.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from paramshare.errors import SpecError

__all__ = ["Axis", "Ints", "check_groups", "check_whole", "conv_axes", "conv_transpose_axes"]

Ints = int | Sequence[int]
"""One whole number for every dimension, or one for each."""

_DIMENSIONS: Final = range(1, 4)


class Axis(NamedTuple):
    """A convolution along one dimension.

    Args:
        inputs, outputs: positions before and after the convolution.
        taps: positions of the kernel.
        live: pairs of a site and a tap that join an input to an output; pairs on padding or outside the output do not.
    """

    inputs: int
    outputs: int
    taps: int
    live: int


def check_whole(least: int = 1, **values: object) -> None:
    """Check that every value is a whole number of at least `least`.

    Raises:
        SpecError: a value is not; the message names the first one.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise SpecError(f"{name} is {value!r}; expected a whole number of at least {least}")


def check_groups(groups: int, in_channels: int, out_channels: int) -> None:
    """Check that the channels can be divided into groups.

    Raises:
        SpecError: the channels are not a multiple of `groups`; the message names them.
    """
    check_whole(in_channels=in_channels, out_channels=out_channels, groups=groups)
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise SpecError(f"{name} is {channels}; expected a multiple of groups, which is {groups}")


def conv_axes(kernel_size: Ints, size: Ints, stride: Ints, padding: Ints | str, dilation: Ints) -> tuple[Axis, ...]:
    """Return the axes of a convolution: out = ⌊(in + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1.

    Output o meets the input o·stride - padding + t·dilation through tap t. The sites are the outputs.

    Args:
        kernel_size, size, stride, dilation: for each dimension of space; `size` is the input's.
        padding: zeros on either side, `valid` (none) or `same` (as many outputs as inputs, an odd zero to the right).

    Raises:
        SpecError: a size is impossible, or the kernel is larger than the padded input.
    """
    dims = _dimensions(kernel_size, size, stride, padding, dilation)
    taps, inputs = _each("kernel_size", kernel_size, dims), _each("size", size, dims)
    strides, dilations = _each("stride", stride, dims), _each("dilation", dilation, dims)
    spans = [_span(tap, dilation) for tap, dilation in zip(taps, dilations, strict=True)]
    zeros = _padding(padding, spans, strides)
    return tuple(map(_conv_axis, taps, inputs, strides, dilations, zeros))


def _conv_axis(taps: int, inputs: int, stride: int, dilation: int, zeros: tuple[int, int]) -> Axis:
    left, right = zeros
    span, padded = _span(taps, dilation), left + inputs + right
    if span > padded:
        raise SpecError(f"the kernel spans {span}; expected no more than the padded input, which is {padded}")
    outputs = (padded - span) // stride + 1
    return Axis(inputs, outputs, taps, _live(outputs, stride, taps, dilation, left, inputs))


def conv_transpose_axes(
    kernel_size: Ints, size: Ints, stride: Ints, padding: Ints, output_padding: Ints, dilation: Ints
) -> tuple[Axis, ...]:
    """Return the axes of a transposed convolution.

    out = (in - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1. Input i meets the output
    i·stride - padding + t·dilation through tap t, if that output exists. The sites are the inputs.

    Args:
        kernel_size, size, stride, dilation: for each dimension of space; `size` is the input's.
        padding: positions removed from either side of the output.
        output_padding: positions added to the right of the output; less than stride or dilation.

    Raises:
        SpecError: a size is impossible, or the output is empty.
    """
    dims = _dimensions(kernel_size, size, stride, padding, output_padding, dilation)
    return tuple(
        map(
            _conv_transpose_axis,
            _each("kernel_size", kernel_size, dims),
            _each("size", size, dims),
            _each("stride", stride, dims),
            _each("padding", padding, dims, least=0),
            _each("output_padding", output_padding, dims, least=0),
            _each("dilation", dilation, dims),
        )
    )


def _conv_transpose_axis(taps: int, inputs: int, stride: int, cut: int, extra: int, dilation: int) -> Axis:
    if extra >= max(stride, dilation):
        raise SpecError(f"output_padding is {extra}; expected less than stride or dilation: {stride}, {dilation}")
    outputs = (inputs - 1) * stride - 2 * cut + _span(taps, dilation) + extra
    if outputs < 1:
        raise SpecError(f"the output would have size {outputs}; expected at least 1; give less padding")
    return Axis(inputs, outputs, taps, _live(inputs, stride, taps, dilation, cut, outputs))


def _dimensions(*values: Ints | str) -> int:
    """Return the number of dimensions of the longest of `values`; 1 if all are plain numbers."""
    several = [value for value in values if isinstance(value, Sequence) and not isinstance(value, str)]
    dims = max(map(len, several), default=1)
    if dims not in _DIMENSIONS:
        raise SpecError(f"the convolution has {dims} dimensions; expected 1 to 3")
    return dims


def _each(name: str, value: Ints, dims: int, least: int = 1) -> tuple[int, ...]:
    each = tuple(value) if isinstance(value, Sequence) else (value,) * dims
    if len(each) != dims:
        raise SpecError(f"{name} is {value!r}; expected one number, or one for each of {dims} dimensions")
    for number in each:
        check_whole(least, **{name: number})
    return each


def _span(taps: int, dilation: int) -> int:
    return dilation * (taps - 1) + 1


def _padding(padding: Ints | str, spans: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return the number of zeros to the left and to the right, for each dimension."""
    if not isinstance(padding, str):
        return [(zeros, zeros) for zeros in _each("padding", padding, len(spans), least=0)]
    if padding not in ("same", "valid"):
        raise SpecError(f"padding is {padding!r}; expected whole numbers, 'same' or 'valid'")
    if padding == "valid":
        return [(0, 0)] * len(spans)
    if max(strides) > 1:
        raise SpecError(f"padding is 'same' with stride {max(strides)}; expected stride 1, or padding in numbers")
    return [((span - 1) // 2, span // 2) for span in spans]


def _live(sites: int, stride: int, taps: int, dilation: int, shift: int, end: int) -> int:
    """Return #{(s, t): 0 ≤ s·stride - shift + t·dilation < end} over s < sites and t < taps."""

    def below(bound: int, start: int) -> int:
        return len(range(start, min(bound, start + sites * stride), stride))

    starts = [tap * dilation - shift for tap in range(taps)]
    return sum(below(end, start) - below(0, start) for start in starts)
