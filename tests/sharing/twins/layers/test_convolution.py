"""Local and dense layers compute the function of their layer, and their gradients add up."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.twins.layers.convolution import Conv, LocalConv
from paramshare.sharing.twins.layers.dense import Dense
from paramshare.sharing.twins.layers.linear import LocalLinear

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # torch's, once


few = settings(max_examples=25, deadline=None)


@st.composite
def convs(
    draw: st.DrawFn, modes: tuple[str, ...] = ("zeros", "reflect", "replicate", "circular")
) -> tuple[Conv, Tensor]:
    """A convolution of random options in float64, and a batch for it."""
    dims, groups = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    each = st.tuples(*[st.integers(1, 2)] * dims)
    kernel = draw(st.tuples(*[st.integers(1, 3)] * dims))
    stride, dilation = draw(each), draw(each)
    padding = draw(st.sampled_from(["same", "valid", "ints"]))
    if padding == "ints":
        padding = draw(st.integers(0, 2) | st.tuples(*[st.integers(0, 2)] * dims))
    elif padding == "same":
        stride = (1,) * dims
    spans = [(taps - 1) * step + 1 for taps, step in zip(kernel, dilation, strict=True)]
    size = [span + draw(st.integers(0, 2)) for span in spans]
    size = [max(length, 3) for length in size]  # reflection needs more than it pads
    torch.manual_seed(draw(st.integers(0, 9)))
    conv = CONVS[dims](
        groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), kernel, stride, padding, dilation, groups,
        bias=draw(st.booleans()), padding_mode=draw(st.sampled_from(modes)), dtype=torch.float64,
    )  # fmt: skip
    return conv, torch.randn(draw(st.integers(1, 3)), conv.in_channels, *size, dtype=torch.float64)


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def positions_of(conv: Conv, x: Tensor) -> tuple[int, ...]:
    return tuple(conv(x).shape[2:])


def backward(module: nn.Module, x: Tensor) -> None:
    """Return the gradients of a loss that distinguishes all outputs."""
    out = module(x)
    (out * torch.linspace(1, 2, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()


@few
@given(convs())
def test_a_locally_connected_layer_starts_as_the_convolution(drawn: tuple[Conv, Tensor]) -> None:
    conv, x = drawn
    local = LocalConv(conv, x.shape[1:])
    same(local(x), conv(x))
    same(local(x[0]), conv(x[0]))  # without a batch


@few
@given(convs())
def test_a_dense_layer_starts_as_the_convolution(drawn: tuple[Conv, Tensor]) -> None:
    conv, x = drawn
    dense = Dense(conv, x.shape[1:])
    same(dense(x), conv(x))
    same(dense(x[0]), conv(x[0]))


@few
@given(convs())
def test_gradients_of_all_positions_sum_to_the_gradient_of_the_convolution(drawn: tuple[Conv, Tensor]) -> None:
    conv, x = drawn
    local = LocalConv(conv, x.shape[1:])
    backward(conv, x)
    backward(local, x)
    space = tuple(range(x.dim() - 2))
    same(local.weight.grad.sum(space), conv.weight.grad)
    if conv.bias is not None:
        same(local.bias.grad.sum(space), conv.bias.grad)


@few
@given(convs(modes=("zeros",)))
def test_copies_on_padding_get_no_gradient_and_match_the_formula(drawn: tuple[Conv, Tensor]) -> None:
    conv, x = drawn
    local = LocalConv(conv, x.shape[1:])
    local(x.abs() + 1).sum().backward()  # every copy that meets data gets a positive gradient
    live = conv.out_channels * conv.in_channels // conv.groups
    for dim, inputs in enumerate(x.shape[2:]):
        step, taps, stride = conv.dilation[dim], conv.kernel_size[dim], conv.stride[dim]
        before = (
            {"same": (taps - 1) * step // 2, "valid": 0}.get(conv.padding) if isinstance(conv.padding, str) else None
        )
        before = conv.padding[dim] if before is None else before
        outputs = range(positions_of(conv, x)[dim])
        live *= sum(0 <= o * stride - before + t * step < inputs for o in outputs for t in range(taps))
    assert int(local.weight.grad.count_nonzero()) == live


@few
@given(convs())
def test_parameters_of_local_and_dense_layers_match_the_formulas(drawn: tuple[Conv, Tensor]) -> None:
    conv, x = drawn
    outs, ins = prod(positions_of(conv, x)), prod(x.shape[2:])
    biases = outs * conv.out_channels if conv.bias is not None else 0
    kernel = prod(conv.kernel_size)
    local, dense = LocalConv(conv, x.shape[1:]), Dense(conv, x.shape[1:])
    assert numbers(local) == outs * conv.out_channels * conv.in_channels // conv.groups * kernel + biases
    assert numbers(dense) == conv.in_channels * ins * conv.out_channels * outs + biases


def test_local_twin_of_the_articles_layer_has_ten_million_weights() -> None:
    conv = nn.Conv2d(1, 32, 3, padding="same", bias=False, device="meta")
    assert numbers(LocalConv(conv, (1, 192, 192))) == 10_616_832
    assert numbers(Dense(conv, (1, 192, 192))) == 43_486_543_872


@pytest.mark.parametrize("kind", [LocalConv, Dense])
def test_twin_layer_keeps_dtype_and_requires_grad_and_shares_no_memory(kind: type[nn.Module]) -> None:
    conv = nn.Conv1d(2, 2, 3, dtype=torch.bfloat16)
    conv.weight.requires_grad_(False)
    local = kind(conv, (2, 5))
    assert (local.weight.dtype, local.bias.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (local.weight.requires_grad, local.bias.requires_grad) == (False, True)
    local.weight.zero_()
    assert conv.weight.count_nonzero() > 0


def test_training_step_makes_the_copies_different() -> None:
    local = LocalConv(nn.Conv2d(2, 3, 3), (2, 6, 6))
    optimizer = torch.optim.SGD(local.parameters(), lr=0.1)
    local(torch.randn(4, 2, 6, 6)).square().mean().backward()
    optimizer.step()
    kernels = local.weight.detach().flatten(0, 1)
    assert len(kernels.unique(dim=0)) == len(kernels) == 16


@pytest.mark.parametrize(
    ("layer", "shape", "wrong"),
    [
        (LocalConv(nn.Conv2d(2, 3, 3), (2, 6, 6)), "2, 6, 6", (4, 2, 6, 7)),
        (LocalLinear(nn.Linear(3, 2), (5, 3)), "5, 3", (4, 6, 3)),
        (Dense(nn.Conv1d(2, 3, 3), (2, 6)), "2, 6", (4, 2, 3)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_input_of_another_size_is_refused_with_both_sizes(layer: nn.Module, shape: str, wrong: tuple[int, ...]) -> None:
    message = rf"{type(layer).__name__} got an input of \({', '.join(map(str, wrong))}\); expected \(batch, {shape}\)"
    with pytest.raises(SpecError, match=message):
        layer(torch.zeros(wrong))
    with pytest.raises(SpecError, match=message):
        layer(input=torch.zeros(wrong))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LocalConv(nn.Conv2d(2, 3, 3), (3, 6, 6)),
            r"does not fit the input \(3, 6, 6\); expected \(2, height, width\)",
        ),
        (lambda: Dense(nn.Conv1d(2, 3, 3), (2, 6, 6)), r"does not fit the input \(2, 6, 6\); expected \(2, length\)"),
        (
            lambda: LocalConv(nn.Conv2d(2, 3, 3), (2, 2, 6)),
            r"has no output for the input \(2, 2, 6\): its kernel is larger",
        ),
        (lambda: LocalLinear(nn.Linear(3, 2), (5, 4)), r"does not fit the input \(5, 4\); expected \(positions, 3\)"),
        (lambda: Dense(nn.Linear(3, 2), (3,)), r"does not fit the input \(3,\); expected \(positions, 3\)"),
    ],
)
def test_shape_that_does_not_fit_the_layer_is_refused(make: object, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()  # type: ignore[operator]
