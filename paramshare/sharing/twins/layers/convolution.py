"""The locally connected twin of a convolution, and the input windows that its output positions read.

Locally connected layers are those of LeCun, "Generalization and network design strategies" (1989), and of Goodfellow,
Bengio and Courville, "Deep Learning" (2016), section 9.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from paramshare.errors import SpecError
from paramshare.sharing.twins.layers.unshared import Unshared, replicated

__all__ = ["Conv", "LocalConv", "Windows", "windows_of"]

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


class _Axis(NamedTuple):
    """The movement of a convolution along one dimension; `before` and `after` are the padding."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Windows:
    """The input windows that the output positions of a convolution read.

    Args:
        axes: the axis of each dimension of space.
        mode: the mode of `torch.nn.functional.pad`.
        input_size: the positions of the input.
    """

    axes: tuple[_Axis, ...]
    mode: str
    input_size: tuple[int, ...]

    @classmethod
    def of(cls, conv: Conv, input_size: Sequence[int]) -> "Windows":
        spans = [(k - 1) * d for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
        if conv.padding == "same":
            padding = [(span // 2, span - span // 2) for span in spans]
        elif conv.padding == "valid":
            padding = [(0, 0) for _ in spans]
        else:
            padding = [(int(p), int(p)) for p in conv.padding]
        axes = tuple(
            _Axis(kernel, stride, dilation, *pads)
            for kernel, stride, dilation, pads in zip(
                conv.kernel_size, conv.stride, conv.dilation, padding, strict=True
            )
        )
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        return cls(axes, mode, tuple(input_size))

    @property
    def output_size(self) -> tuple[int, ...]:
        """Return the positions of the output; not positive if the kernel does not fit."""
        return tuple(
            (size + axis.before + axis.after - (axis.kernel - 1) * axis.dilation - 1) // axis.stride + 1
            for size, axis in zip(self.input_size, self.axes, strict=True)
        )

    def cut(self, x: Tensor) -> Tensor:
        """Return the windows (batch, channels, *positions, *kernel) of x (batch, channels, *input_size)."""
        if any(axis.before or axis.after for axis in self.axes):
            x = functional.pad(x, [pad for axis in reversed(self.axes) for pad in (axis.before, axis.after)], self.mode)
        for dim, axis in enumerate(self.axes, start=2):
            x = x.unfold(dim, (axis.kernel - 1) * axis.dilation + 1, axis.stride)[..., :: axis.dilation]
        return x

    def sources(self, device: torch.device) -> Tensor:
        """Return the input position of each tap of each window, (positions, taps); -1 is padding with zeros."""
        place = "meta" if device.type == "meta" else "cpu"
        positions = torch.arange(1.0, prod(self.input_size) + 1, dtype=torch.float64, device=place)
        windows = self.cut(positions.reshape(1, 1, *self.input_size))
        return (windows.reshape(prod(self.output_size), -1) - 1).long().to(device)


class LocalConv(Unshared):
    """A locally connected layer: a convolution in 1 to 3 dimensions with a kernel for each output position.

    The layer starts equal to the convolution. The sum of the kernels' gradients is then the gradient of the shared
    kernel; taps that only meet padding get no gradient.

    `weight` is (*positions, out_channels, in_channels / groups, *kernel), `bias` (*positions, out_channels).

    Args:
        conv: the convolution to copy: options, dtype, device and requires_grad.
        input_shape: (channels, *size) of one sample.

    Raises:
        SpecError: the shape does not fit the convolution.
    """

    out_channels: int
    groups: int

    def __init__(self, conv: Conv, input_shape: Sequence[int]) -> None:
        windows = windows_of(conv, input_shape)
        size = windows.output_size
        super().__init__(conv, input_shape)
        self.register_copies("weight", conv.weight, replicated(conv.weight, size))
        self.register_copies("bias", conv.bias, None if conv.bias is None else replicated(conv.bias, size))
        self._windows = windows

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as torch's layers name it
        """Return the output for (batch, *input_shape), or for one sample without a batch."""
        single = input.dim() == len(self.input_shape)
        windows = self._windows.cut(input.unsqueeze(0) if single else input)
        batch, size, groups = windows.shape[0], self._windows.output_size, self.groups
        space = len(size)
        # (positions, channels, kernel, batch): each position and group has a product of weights and taps x samples
        taps = windows.permute(*range(2, 2 + space), 1, *range(2 + space, 2 + 2 * space), 0)
        taps = taps.reshape(prod(size) * groups, -1, batch)
        weight = self.weight.view(prod(size) * groups, self.out_channels // groups, -1)
        if self.bias is None:
            out = torch.bmm(weight, taps)
        else:
            out = torch.baddbmm(self.bias.view(*weight.shape[:2], 1), weight, taps)
        out = out.view(prod(size), self.out_channels, batch).permute(2, 1, 0).reshape(batch, -1, *size)
        return out.squeeze(0) if single else out


def windows_of(conv: Conv, input_shape: Sequence[int]) -> Windows:
    """Return the windows of a convolution on an input of (channels, *size).

    Raises:
        SpecError: the shape does not fit the convolution.
    """
    if len(input_shape) != 1 + len(conv.kernel_size) or input_shape[0] != conv.in_channels:
        space = ("length", "height, width", "depth, height, width")[len(conv.kernel_size) - 1]
        raise SpecError(f"{conv} does not fit the input {tuple(input_shape)}; expected ({conv.in_channels}, {space})")
    windows = Windows.of(conv, input_shape[1:])
    if min(windows.output_size) < 1:
        raise SpecError(
            f"{conv} has no output for the input {tuple(input_shape)}: its kernel is larger; give a larger input"
        )
    return windows
