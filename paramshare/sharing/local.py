"""The unshared twins of layers: modules of the same function whose weights are copies, one for each use or position.

Each starts equal to the layer that it is made from, by replication. The sum of its copies' gradients is then the
gradient of the shared weight; copies that only ever meet padding get none. Locally connected layers are those of
LeCun, "Generalization and network design strategies" (1989), and of Goodfellow, Bengio and Courville, "Deep Learning"
(2016), section 9.5.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from paramshare.errors import SpecError
from paramshare.sharing.twins.recomputation import next_call, restart_calls
from paramshare.sharing.twins.unshared import Unshared, replicated

__all__ = ["Conv", "Dense", "LocalConv", "LocalLinear", "Unrolled"]

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


class _Axis(NamedTuple):
    """How a convolution moves along one dimension."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class _Windows:
    """Which inputs a convolution's output positions meet.

    Args:
        axes: of each dimension of space.
        mode: of `torch.nn.functional.pad`.
        input_size: positions of the input.
    """

    axes: tuple[_Axis, ...]
    mode: str
    input_size: tuple[int, ...]

    @classmethod
    def of(cls, conv: Conv, input_size: Sequence[int]) -> "_Windows":
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
        """Positions of the output; not positive where the kernel does not fit."""
        return tuple(
            (size + axis.before + axis.after - (axis.kernel - 1) * axis.dilation - 1) // axis.stride + 1
            for size, axis in zip(self.input_size, self.axes, strict=True)
        )

    def cut(self, x: Tensor) -> Tensor:
        """The windows (batch, channels, *positions, *kernel) of x (batch, channels, *input_size)."""
        if any(axis.before or axis.after for axis in self.axes):
            x = functional.pad(x, [pad for axis in reversed(self.axes) for pad in (axis.before, axis.after)], self.mode)
        for dim, axis in enumerate(self.axes, start=2):
            x = x.unfold(dim, (axis.kernel - 1) * axis.dilation + 1, axis.stride)[..., :: axis.dilation]
        return x

    def sources(self, device: torch.device) -> Tensor:
        """The input position, counted from 0, that each tap of each window meets (positions, taps); -1 is a zero."""
        place = "meta" if device.type == "meta" else "cpu"
        positions = torch.arange(1.0, prod(self.input_size) + 1, dtype=torch.float64, device=place)
        windows = self.cut(positions.reshape(1, 1, *self.input_size))
        return (windows.reshape(prod(self.output_size), -1) - 1).long().to(device)


class LocalConv(Unshared):
    """A convolution in 1 to 3 dimensions whose output positions each have a kernel of their own: locally connected.

    `weight` is (*positions, out_channels, in_channels / groups, *kernel), `bias` (*positions, out_channels).

    Args:
        conv: the convolution to start equal to: all of its options, its dtype, device and requires_grad.
        input_shape: (channels, *size) of one sample.

    Raises:
        SpecError: for a shape that the convolution cannot take.
    """

    out_channels: int
    groups: int

    def __init__(self, conv: Conv, input_shape: Sequence[int]) -> None:
        windows = _windows_of(conv, input_shape)
        size = windows.output_size
        super().__init__(conv, input_shape)
        self.hold("weight", conv.weight, replicated(conv.weight, size))
        self.hold("bias", conv.bias, None if conv.bias is None else replicated(conv.bias, size))
        self._windows = windows

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as torch's layers name it
        """Return the output for (batch, *input_shape), or for one sample without a batch."""
        single = input.dim() == len(self.input_shape)
        windows = self._windows.cut(input.unsqueeze(0) if single else input)
        batch, size, groups = windows.shape[0], self._windows.output_size, self.groups
        space = len(size)
        # (positions, channels, kernel, batch): at each position and group the weights meet a matrix of taps x samples
        taps = windows.permute(*range(2, 2 + space), 1, *range(2 + space, 2 + 2 * space), 0)
        taps = taps.reshape(prod(size) * groups, -1, batch)
        weight = self.weight.view(prod(size) * groups, self.out_channels // groups, -1)
        if self.bias is None:
            out = torch.bmm(weight, taps)
        else:
            out = torch.baddbmm(self.bias.view(*weight.shape[:2], 1), weight, taps)
        out = out.view(prod(size), self.out_channels, batch).permute(2, 1, 0).reshape(batch, -1, *size)
        return out.squeeze(0) if single else out


class LocalLinear(Unshared):
    """A Linear over extra axes whose positions each have a matrix of their own.

    `weight` is (*positions, out_features, in_features), `bias` (*positions, out_features).

    Args:
        linear: the layer to start equal to: its dtype, device and requires_grad.
        input_shape: (*positions, in_features) of one sample.
        batch_axis: where the batch stands between them. Defaults to 0.

    Raises:
        SpecError: for a shape that the layer cannot take.
    """

    out_features: int

    def __init__(self, linear: nn.Linear, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        positions = _positions_of(linear, input_shape)
        super().__init__(linear, input_shape, batch_axis)
        self.hold("weight", linear.weight, replicated(linear.weight, positions))
        self.hold("bias", linear.bias, None if linear.bias is None else replicated(linear.bias, positions))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as torch's layers name it
        """Return the output for (..., *input_shape), or with the batch at `batch_axis`."""
        given = input.movedim(self.batch_axis, 0)
        weight = self.weight.flatten(0, -3)
        x = given.reshape(-1, *weight.shape[::2]).transpose(0, 1)
        if self.bias is None:
            out = torch.bmm(x, weight.mT)
        else:
            out = torch.baddbmm(self.bias.flatten(0, -2).unsqueeze(1), x, weight.mT)
        return out.transpose(0, 1).reshape(*given.shape[:-1], self.out_features).movedim(0, self.batch_axis)


class Dense(Unshared):
    """A convolution, or a Linear over extra axes, without local connectivity: every output is wired to every input.

    `weight` is (outputs, inputs) of one sample, flattened; it starts with the kernel wherever it was applied and zeros
    elsewhere, so that the function is the same. `bias` is (outputs,).

    Args:
        layer: the layer to start equal to: all of its options, its dtype, device and requires_grad.
        input_shape: (channels, *size) or (*positions, in_features) of one sample.
        batch_axis: where the batch stands between the positions. Defaults to 0.

    Raises:
        SpecError: for a shape that the layer cannot take.
    """

    def __init__(self, layer: Conv | nn.Linear, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        if isinstance(layer, nn.Linear):
            positions = _positions_of(layer, input_shape)
            output_shape: tuple[int, ...] = (*positions, layer.out_features)
            weight = _block_diagonal(layer, prod(positions))
            biases: Tensor | None = None if layer.bias is None else replicated(layer.bias, positions)
        else:
            windows = _windows_of(layer, input_shape)
            output_shape = (layer.out_channels, *windows.output_size)
            weight = _placed_kernels(layer, windows)
            biases = None if layer.bias is None else replicated(layer.bias, windows.output_size).movedim(-1, 0)
        super().__init__(layer, input_shape, batch_axis)
        self.hold("weight", layer.weight, weight)
        self.hold("bias", layer.bias, None if biases is None else biases.flatten())
        self.output_shape = output_shape

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as torch's layers name it
        """Return the output for (..., *input_shape), or with the batch at `batch_axis`."""
        given = input.movedim(self.batch_axis, 0)
        before = given.shape[: given.dim() - len(self.input_shape)]
        out = functional.linear(given.reshape(*before, self.weight.shape[1]), self.weight, self.bias)
        return out.reshape(*before, *self.output_shape).movedim(0, self.batch_axis)


class Unrolled(nn.Module):
    """Copies of one module, one for each call of a pass: the i-th call takes the i-th.

    Counting starts again whenever the whole model is called, even if the pass before failed. Anything but a call (an
    attribute, a method) is the first copy's. A pass may make fewer calls than there are copies.
    A call that `torch.utils.checkpoint` makes again in the backward pass takes the copy that it took before.

    Args:
        copies: in the order of the calls.
        name: of the module in the model, for messages.
    """

    def __init__(self, copies: Iterable[nn.Module], name: str) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copies)
        self.name = name
        self.calls = 0

    def restart(self) -> None:
        """Begin a pass."""
        if not restart_calls(self):
            self.calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the next copy and return its output.

        Raises:
            SpecError: for more calls than copies.
        """
        number, calls = next_call(self, self.calls, self.name)
        if number >= len(self.copies):
            raise SpecError(
                f"{self.name} was called more than {number} times in one pass and has {number} copies, one for each "
                "call of the pass that the twin was made from; make the twin from a pass with as many calls"
            )
        self.calls = calls
        return self.copies[number](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "copies":  # not there yet
                raise
            return getattr(self.copies[0], name)


def _windows_of(conv: Conv, input_shape: Sequence[int]) -> _Windows:
    if len(input_shape) != 1 + len(conv.kernel_size) or input_shape[0] != conv.in_channels:
        space = ("length", "height, width", "depth, height, width")[len(conv.kernel_size) - 1]
        raise SpecError(f"{conv} cannot take {tuple(input_shape)}; expected ({conv.in_channels}, {space})")
    windows = _Windows.of(conv, input_shape[1:])
    if min(windows.output_size) < 1:
        raise SpecError(f"{conv} gives nothing for {tuple(input_shape)}: its kernel is larger; give a larger input")
    return windows


def _positions_of(linear: nn.Linear, input_shape: Sequence[int]) -> tuple[int, ...]:
    *positions, features = input_shape
    if not positions or features != linear.in_features:
        raise SpecError(f"{linear} cannot take {tuple(input_shape)}; expected (positions, {linear.in_features})")
    return tuple(positions)


def _block_diagonal(linear: nn.Linear, positions: int) -> Tensor:
    weight = linear.weight.detach()
    blocks = weight.new_zeros(positions, linear.out_features, positions, linear.in_features)
    blocks.diagonal(dim1=0, dim2=2).copy_(weight.unsqueeze(-1))
    return blocks.view(positions * linear.out_features, positions * linear.in_features)


def _placed_kernels(conv: Conv, windows: _Windows) -> Tensor:
    """The matrix (out_channels * positions, in_channels * input positions) that does what `conv` does."""
    outputs, inputs = prod(windows.output_size), prod(windows.input_size)
    dense = conv.weight.detach().new_zeros(conv.out_channels, outputs, conv.in_channels, inputs)
    sources = windows.sources(dense.device)
    kernels = conv.weight.detach().flatten(2).chunk(conv.groups)
    # Added, not set: with replicated padding several taps meet one input.
    for group, (block, kernel) in enumerate(zip(dense.chunk(conv.groups), kernels, strict=True)):
        channels = kernel.shape[1]
        region = block[:, :, group * channels : (group + 1) * channels]
        shape = (*region.shape[:3], sources.shape[1])
        taps = kernel.unsqueeze(1) * (sources >= 0).unsqueeze(1)
        region.scatter_add_(3, sources.clamp(min=0).unsqueeze(1).expand(shape), taps)
    return dense.view(conv.out_channels * outputs, conv.in_channels * inputs)
