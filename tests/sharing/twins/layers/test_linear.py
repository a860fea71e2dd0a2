"""A LocalLinear computes the function of its Linear, and its gradients add up."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paramshare.sharing.twins.layers.dense import Dense
from paramshare.sharing.twins.layers.linear import LocalLinear

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # torch's, once


few = settings(max_examples=25, deadline=None)


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def backward(module: nn.Module, x: Tensor) -> None:
    """Return the gradients of a loss that distinguishes all outputs."""
    out = module(x)
    (out * torch.linspace(1, 2, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()


@few
@given(
    positions=st.lists(st.integers(1, 3), min_size=1, max_size=3), features=st.integers(1, 4), bias=st.booleans()
)  # fmt: skip
def test_linear_layers_over_extra_axes_start_equal_and_their_gradients_add_up(
    positions: list[int], features: int, bias: bool
) -> None:
    linear = nn.Linear(features, 3, bias, dtype=torch.float64)
    x = torch.randn(2, *positions, features, dtype=torch.float64)
    local, dense = LocalLinear(linear, x.shape[1:]), Dense(linear, x.shape[1:])
    for twin in (local, dense):
        same(twin(x), linear(x))
        same(twin(x[0]), linear(x[0]))
    sites = prod(positions)
    assert numbers(local) == sites * (features * 3 + 3 * bias)
    assert numbers(dense) == sites * features * sites * 3 + sites * 3 * bias
    backward(linear, x)
    backward(local, x)
    axes = tuple(range(len(positions)))
    same(local.weight.grad.sum(axes), linear.weight.grad)
    if bias:
        same(local.bias.grad.sum(axes), linear.bias.grad)
