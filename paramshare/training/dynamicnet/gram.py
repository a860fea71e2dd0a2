"""The first layer by the Gram matrix x xᵀ: the same mathematics as the reference in a fifth of its work, with other
roundings.

x is the same in every step, and the loss depends on the first layer only through P = x W₁ᵀ + b₁ (batch, hidden). With d
the loss's gradient for P, SGD moves W₁ by multiples of dᵀ x and b₁ by multiples of Σ d. So at any time

    W₁ = W₁⁰ + Cᵀ x,   b₁ = b₁⁰ + Σ C      for some C (batch, hidden), C = 0 at the start,

and therefore

    P = x W₁⁰ᵀ + b₁⁰ + (x xᵀ + 1) C = P⁰ + G C.

Momentum and learning rate act on C as on any parameter, with d as its gradient: V ← momentum V + d, C ← C − lr V.
A step needs G (batch, batch) instead of x twice; W₁ is put together once, at the end.

Biases are a last column of the weights, and the activations have a last column of ones: one product computes both, and
one product computes both gradients. The error is multiplied by lr, so every gradient contains lr. As in the reference,
the middle layers beyond a step's depth keep their velocity and their value.

The engine trains one net at a time on the CPU, in the precision of its parameters; `lanes.py` trains many on CUDA. If a
hidden unit's input is exactly 0, the gradient of clamp is 0 here (autograd: 1).
"""

import time
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from paramshare.recipes.dynamicnet.net import DynamicNet, losses_by_depth
from paramshare.recipes.dynamicnet.recipe import options_of
from paramshare.recipes.dynamicnet.variants import DEPTHS
from paramshare.recipes.spec import Spec
from paramshare.training.dynamicnet.draws import draw, result_of
from paramshare.training.result import Result

__all__ = ["descend", "train_gram"]

_through_clamp = torch.ops.aten.threshold_backward.grad_input


def train_gram(spec: Spec) -> Result:
    """Train `spec` on the CPU in float32, at the current number of threads."""
    started, clock = time.time(), time.perf_counter()
    draws, options = draw(spec), options_of(spec)
    losses = descend(draws.net, draws.x, draws.y, draws.depths, options.learning_rate, options.momentum)
    depth_losses = losses_by_depth(draws.net, draws.x, draws.y)
    seconds = time.perf_counter() - clock
    return result_of(spec, "gram", draws, losses.numpy(), depth_losses, started, seconds)


def descend(
    net: DynamicNet, x: Tensor, y: Tensor, depths: Sequence[int], learning_rate: float, momentum: float
) -> Tensor:
    """Train `net` in place and return the loss of every step before its update, (steps,).

    Args:
        net: a net on the CPU; all computations have its precision.
        x, y: (batch, input_size), (batch, output_size), in the same precision.
        depths: the depth of every step.
        learning_rate, momentum: of SGD.
    """
    losses = x.new_empty(len(depths))
    with torch.inference_mode():
        steps = _Steps(net, x, y, learning_rate, momentum)
        for loss, depth in zip(losses, depths, strict=True):
            steps.take(depth, loss)
        steps.write_into(net)
    return losses


class _Matrix(NamedTuple):
    """A matrix and its transpose, a view. It is created once, because a view costs as much as a small operation."""

    straight: Tensor
    transposed: Tensor

    @classmethod
    def of(cls, straight: Tensor) -> "_Matrix":
        return cls(straight, straight.t())


class _Layer(NamedTuple):
    """A Linear after the first: views of the buffers.

    Args:
        both, weight: (outputs, inputs + 1) with the bias as the last column, (outputs, inputs).
        gradient: of both.
    """

    both: _Matrix
    weight: Tensor
    gradient: Tensor


class _Steps:
    """Training steps on one batch. One buffer holds all parameters: C, the last layer, the middle layers.

    Args:
        net: the net with the initial parameters.
        x, y: the batch, (batch, input_size) and (batch, output_size).
        learning_rate, momentum: of SGD.
    """

    def __init__(self, net: DynamicNet, x: Tensor, y: Tensor, learning_rate: float, momentum: float) -> None:
        first, linears = net.input_linear, [net.output_linear, *net.middle_linears]
        batch, hidden = len(x), first.out_features
        self._x, self._momentum, self._twice_rate = x, momentum, x.new_tensor(2 * learning_rate)
        self._start = torch.addmm(first.bias, x, first.weight.t())
        self._gram = torch.mm(x, x.t()).add_(1)
        ends = list(accumulate([batch * hidden, *(linear.out_features * (hidden + 1) for linear in linears)]))
        moving, gradients, velocities = (x.new_zeros(ends[-1]) for _ in range(3))
        self._c, self._c_gradient = (buffer[: ends[0]].view(batch, hidden) for buffer in (moving, gradients))
        self._layers = [
            _laid_out(linear, moving[begin:end], gradients[begin:end])
            for linear, (begin, end) in zip(linears, pairwise(ends), strict=True)
        ]
        self._last, *middle = self._layers
        self._middle = [middle[application % len(middle)] for application in DEPTHS[:-1]]
        self._tied = len(middle) == 1
        moved = [ends[1 + min(depth, len(middle))] for depth in DEPTHS]
        self._moved = [(moving[:end], gradients[:end], velocities[:end]) for end in moved]
        self._with_ones = [_Matrix.of(x.new_ones(batch, hidden + 1)) for _ in DEPTHS]  # activations, by application
        self._hidden = [activations.straight[:, :-1] for activations in self._with_ones]
        self._signals = [_Matrix.of(x.new_empty(batch, hidden)) for _ in range(2)]
        self._targets = y.t().contiguous()
        self._error = _Matrix.of(torch.empty_like(self._targets))  # (outputs, batch)
        self._errors = self._error.straight.view(-1)

    def take(self, depth: int, loss: Tensor) -> None:
        """Take one step. Fill `loss` with the sum of squared errors before its update."""
        self._forward(depth)
        torch.dot(self._errors, self._errors, out=loss)
        self._backward(depth)
        moving, gradients, velocities = self._moved[depth]
        torch.add(gradients, velocities, alpha=self._momentum, out=velocities)
        moving.sub_(velocities)

    def write_into(self, net: DynamicNet) -> None:
        """Copy the current parameters into the net."""
        net.input_linear.weight.addmm_(self._c.t(), self._x)
        net.input_linear.bias.add_(self._c.sum(0))
        for linear, layer in zip([net.output_linear, *net.middle_linears], self._layers, strict=True):
            linear.weight.copy_(layer.weight)
            linear.bias.copy_(layer.both.straight[:, -1])

    def _forward(self, depth: int) -> None:
        """Compute the activations and the error."""
        with_ones, hidden = self._with_ones, self._hidden
        torch.addmm(self._start, self._gram, self._c, out=hidden[0])
        with_ones[0].straight.clamp_min_(0)  # also the ones, which stay: rows without gaps are faster
        for application, layer in enumerate(self._middle[:depth]):
            torch.mm(with_ones[application].straight, layer.both.transposed, out=hidden[application + 1])
            with_ones[application + 1].straight.clamp_min_(0)
        torch.mm(self._last.both.straight, with_ones[depth].transposed, out=self._error.straight).sub_(self._targets)

    def _backward(self, depth: int) -> None:
        """Compute the gradients of the layers that this step used, times the learning rate."""
        with_ones, hidden, (signal, spare) = self._with_ones, self._hidden, self._signals
        self._error.straight.mul_(self._twice_rate)
        torch.mm(self._error.straight, with_ones[depth].straight, out=self._last.gradient)
        torch.mm(self._error.transposed, self._last.weight, out=signal.straight)
        for application in range(depth, 0, -1):
            _through_clamp(signal.straight, hidden[application], 0, grad_input=signal.straight)
            layer, given = self._middle[application - 1], with_ones[application - 1].straight
            if self._tied and application < depth:
                layer.gradient.addmm_(signal.transposed, given)
            else:
                torch.mm(signal.transposed, given, out=layer.gradient)
            torch.mm(signal.straight, layer.weight, out=spare.straight)
            signal, spare = spare, signal
        _through_clamp(signal.straight, hidden[0], 0, grad_input=self._c_gradient)


def _laid_out(linear: nn.Linear, moving: Tensor, gradients: Tensor) -> _Layer:
    """Copy a layer's parameters into its part of the buffer, and return its views of both buffers."""
    both, gradient = (part.view(linear.out_features, -1) for part in (moving, gradients))
    both.copy_(torch.column_stack((linear.weight, linear.bias)))
    return _Layer(_Matrix.of(both), both[:, :-1], gradient)
