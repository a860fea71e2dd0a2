"""The reference's steps written out: forward, backward and SGD on preallocated buffers. The same bits, faster.

Autograd records a graph at every step and allocates memory for it. Here the same ATen operations are called in the same
order on the same operands. So every loss and every parameter equals the reference's bit for bit at the same number of
threads:

- Linear is addmm; its gradients are dᵀ h for the weight, the column sums of d for the bias, d W for the input.
- clamp(min=0) passes the gradient where its input is at least 0: at 0 too, and not where it is NaN.
- A layer that is applied several times gets its gradients added up from the last application to the first.
- SGD is v = momentum v + g; p = p - lr v, with v = 0 at the start. Parameters without a gradient in a step (the middle
  layers beyond its depth) keep their velocity and their value. All parameters lie in one buffer, the first and the last
  layer before the middle ones, so a step updates the beginning of the buffer.

The engine covers DynamicNet in float32 with SGD, on the CPU only.
"""

import math
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.recipes.dynamicnet.recipe import options_of
from paramshare.recipes.dynamicnet.variants import DEPTHS
from paramshare.recipes.spec import Spec
from paramshare.training.dynamicnet.draws import draw, result_of
from paramshare.training.result import Result

__all__ = ["train_exact"]

_through_clamp = torch.ops.aten.threshold_backward.grad_input
_ALIGNMENT: Final = 16  # float32 elements, 64 bytes
_BELOW_0: Final = -1.4e-45  # the largest float32 below 0


def train_exact(spec: Spec, change: Callable[[nn.Module], object] | None = None) -> Result:
    """Train `spec` on the CPU, bit for bit like `train_reference` at the same number of threads.

    Args:
        change: called with the initial net; it changes the net in place. Defaults to None.
    """
    started, clock = time.time(), time.perf_counter()
    draws, options = draw(spec), options_of(spec)
    if change is not None:
        change(draws.net)
    with torch.inference_mode():
        steps = _Steps(draws.net, draws.x, draws.y, options.learning_rate, options.momentum)
        losses = [steps.take(depth) for depth in draws.depths]
        depth_losses = tuple(map(steps.forward, DEPTHS))
        steps.write_into(draws.net)
    seconds = time.perf_counter() - clock
    return result_of(spec, "exact", draws, losses, depth_losses, started, seconds)


class _Layer(NamedTuple):
    """A Linear's parameters and their gradients, as views of the buffers.

    Args:
        weight, transposed, bias: (outputs, inputs), (inputs, outputs), (outputs,).
        weight_gradient, bias_gradient: as weight and bias.
    """

    weight: Tensor
    transposed: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor


class _Signal(NamedTuple):
    """A gradient of hidden activations: (batch, hidden), and its transpose."""

    straight: Tensor
    transposed: Tensor

    @classmethod
    def like(cls, tensor: Tensor) -> "_Signal":
        new = torch.empty_like(tensor)
        return cls(new, new.t())


class _Steps:
    """Training steps on one batch.

    Args:
        net: the net with the initial parameters.
        x, y: the batch, (batch, input_size) and (batch, output_size).
        learning_rate, momentum: of SGD.
    """

    def __init__(self, net: DynamicNet, x: Tensor, y: Tensor, learning_rate: float, momentum: float) -> None:
        self._x, self._y, self._rate = x, y, learning_rate
        self._momentum = torch.tensor(momentum) if momentum else None
        linears = _in_order(net)
        ends = list(accumulate(map(_size_of, linears)))
        parameters, gradients, velocities = (torch.zeros(ends[-1]) for _ in range(3))
        self._layers = _laid_out(linears, (parameters, gradients))
        self._first, self._last, *middle = self._layers
        self._middle = [middle[application % len(middle)] for application in DEPTHS[:-1]]
        moved = [ends[1 + min(depth, len(middle))] for depth in DEPTHS]
        self._moved = [(parameters[:end], gradients[:end], velocities[:end]) for end in moved]
        hidden = x.new_empty(len(x), net.input_linear.out_features)
        self._before = [torch.empty_like(hidden) for _ in DEPTHS]  # clamp, by application
        self._after = [torch.empty_like(hidden) for _ in DEPTHS]
        self._signals = _Signal.like(hidden), _Signal.like(hidden)
        self._tied, self._single = len(middle) == 1, hidden.numel() == 1
        self._out, self._squares, self._error = torch.empty_like(y), torch.empty_like(y), _Signal.like(y)

    def take(self, depth: int) -> float:
        """Take one step and return the loss before its update."""
        loss = self.forward(depth)
        self._backward(depth, math.isfinite(loss))
        self._update(depth)
        return loss

    def forward(self, depth: int) -> float:
        """Return the sum of squared errors, and leave the activations in the buffers for the backward pass."""
        before, after, out = self._before, self._after, self._out
        torch.addmm(self._first.bias, self._x, self._first.transposed, out=before[0])
        torch.clamp_min(before[0], 0, out=after[0])
        for application in range(depth):
            layer, linear = self._middle[application], before[application + 1]
            torch.addmm(layer.bias, after[application], layer.transposed, out=linear)
            torch.clamp_min(linear, 0, out=after[application + 1])
        torch.addmm(self._last.bias, after[depth], self._last.transposed, out=out).sub_(self._y)
        return torch.mul(out, out, out=self._squares).sum().item()

    def write_into(self, net: DynamicNet) -> None:
        """Copy the current parameters into the net."""
        for linear, layer in zip(_in_order(net), self._layers, strict=True):
            linear.weight.copy_(layer.weight)
            linear.bias.copy_(layer.bias)

    def _backward(self, depth: int, finite: bool) -> None:
        """Compute the gradients of every layer that this step used.

        Args:
            finite: whether the loss is finite; then no activation is NaN.
        """
        signal, spare = self._signals
        torch.add(self._out, self._out, out=self._error.straight)  # forward left the error there
        _differentiate(self._last, self._error, self._after[depth])
        self._pass_back(self._last, self._error, signal)
        for application in range(depth - 1, -1, -1):
            self._through_clamp(application + 1, signal, finite)
            layer = self._middle[application]
            _differentiate(layer, signal, self._after[application], add=self._tied and application + 1 < depth)
            self._pass_back(layer, signal, spare)
            signal, spare = spare, signal
        self._through_clamp(0, signal, finite)
        _differentiate(self._first, signal, self._x)

    def _pass_back(self, layer: _Layer, signal: _Signal, to: _Signal) -> None:
        """Compute the gradient of a layer's input from the gradient of its output."""
        if self._single:  # autograd takes a single number for a column, and multiplies the other way round
            torch.mm(layer.transposed, signal.transposed, out=to.transposed)
        else:
            torch.mm(signal.straight, layer.weight, out=to.straight)

    def _through_clamp(self, application: int, signal: _Signal, finite: bool) -> None:
        before, straight = self._before[application], signal.straight
        if finite:  # one pass; it would let NaN through
            _through_clamp(straight, before, _BELOW_0, grad_input=straight)
        else:
            straight.masked_fill_(~(before >= 0), 0)

    def _update(self, depth: int) -> None:
        """Update the parameters that have gradients by SGD."""
        parameters, gradients, velocities = self._moved[depth]
        if self._momentum is not None:
            gradients = velocities.mul_(self._momentum).add_(gradients)
        parameters.add_(gradients, alpha=-self._rate)


def _differentiate(layer: _Layer, signal: _Signal, given: Tensor, add: bool = False) -> None:
    """Compute the gradients of a layer's parameters from the gradient of its output and from its input."""
    if add:
        layer.weight_gradient.add_(torch.mm(signal.transposed, given))
        layer.bias_gradient.add_(signal.straight.sum(0))
    else:
        torch.mm(signal.transposed, given, out=layer.weight_gradient)
        torch.sum(signal.straight, 0, out=layer.bias_gradient)


def _in_order(net: DynamicNet) -> list[nn.Linear]:
    """Return the layers in the order of the buffers."""
    return [net.input_linear, net.output_linear, *net.middle_linears]


def _laid_out(linears: list[nn.Linear], buffers: tuple[Tensor, Tensor]) -> list[_Layer]:
    """Copy the layers' parameters into the buffer, and return the views of each layer in both buffers."""
    layers, begin = [], 0
    for linear in linears:
        shape = linear.weight.shape
        middle = begin + _aligned(shape.numel())
        weight, weight_gradient = (buffer[begin : begin + shape.numel()].view(shape) for buffer in buffers)
        bias, bias_gradient = (buffer[middle : middle + shape[0]] for buffer in buffers)
        layers.append(
            _Layer(weight.copy_(linear.weight), weight.t(), bias.copy_(linear.bias), weight_gradient, bias_gradient)
        )
        begin = middle + _aligned(shape[0])
    return layers


def _size_of(linear: nn.Linear) -> int:
    """Return the number of elements of a layer in the buffers."""
    return _aligned(linear.weight.numel()) + _aligned(linear.bias.numel())


def _aligned(elements: int) -> int:
    """Round up to the alignment of new tensors in torch: the bits of matrix products depend on it."""
    return -(-elements // _ALIGNMENT) * _ALIGNMENT
