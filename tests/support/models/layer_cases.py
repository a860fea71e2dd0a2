"""Random layers of torch in float64 with the inputs of one sample and their formula, for the tests of the formulas."""

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paramshare.sharing.formulas import (
    Regimes,
    attention,
    bilinear,
    conv,
    conv_transpose,
    linear,
    norm,
    prelu,
    rnn,
)

CONVS: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


TRANSPOSED: tuple[Any, ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


RNNS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


few = settings(deadline=None, max_examples=25)


sizes = st.integers(1, 5)


class Case(NamedTuple):
    """A layer of torch in float64, the inputs of one sample, and what the formula says."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    regimes: Regimes

    @property
    def out(self) -> Tensor:
        out = self.module(*self.inputs)
        return out if isinstance(out, Tensor) else out[0]


def case(module: nn.Module, *shapes: tuple[int, ...], regimes: Regimes) -> Case:
    torch.manual_seed(0)
    module = module.double()
    for parameter in module.parameters():  # a norm starts as ones and zeros, attention's biases as zeros
        nn.init.uniform_(parameter, 0.1, 0.5)
    return Case(module, tuple(torch.randn(*shape, dtype=torch.float64) for shape in shapes), regimes)


@st.composite
def linears(draw: st.DrawFn) -> Case:
    inputs, outputs, positions, bias = draw(sizes), draw(sizes), draw(sizes), draw(st.booleans())
    regimes = linear(inputs, outputs, bias, positions)
    return case(nn.Linear(inputs, outputs, bias), (positions, inputs), regimes=regimes)


@st.composite
def axes(draw: st.DrawFn) -> dict[str, int]:
    """One dimension of a convolution whose kernel fits into its padded input."""
    axis = {"kernel_size": draw(st.integers(1, 3)), "size": draw(st.integers(1, 4))}
    axis |= {"stride": draw(st.integers(1, 3)), "dilation": draw(st.integers(1, 2))}
    missing = axis["dilation"] * (axis["kernel_size"] - 1) + 1 - axis["size"]
    return axis | {"padding": draw(st.integers(max(0, (missing + 1) // 2), 3))}


@st.composite
def transposed_axes(draw: st.DrawFn) -> dict[str, int]:
    """One dimension of a transposed convolution, with an output."""
    axis = {"kernel_size": draw(st.integers(1, 3)), "size": draw(st.integers(1, 3))}
    axis |= {"stride": draw(st.integers(1, 3)), "dilation": draw(st.integers(1, 2))}
    axis["output_padding"] = draw(st.integers(0, max(axis["stride"], axis["dilation"]) - 1))
    uncut = (axis["size"] - 1) * axis["stride"] + axis["dilation"] * (axis["kernel_size"] - 1) + axis["output_padding"]
    return axis | {"padding": draw(st.integers(0, min(3, uncut // 2)))}


def grouped(draw: st.DrawFn, axis: st.SearchStrategy[dict[str, int]]) -> dict[str, Any]:
    """The arguments of a convolution of 1 to 3 such dimensions."""
    groups, several = draw(st.integers(1, 2)), draw(st.lists(axis, min_size=1, max_size=3))
    channels = {name: groups * draw(st.integers(1, 2)) for name in ("in_channels", "out_channels")}
    space = {name: tuple(axis_options[name] for axis_options in several) for name in several[0]}
    return {**channels, **space, "groups": groups, "bias": draw(st.booleans())}


@st.composite
def convs(draw: st.DrawFn) -> Case:
    options = grouped(draw, axes())
    if draw(st.booleans()):
        options |= {"padding": "same", "stride": 1}
    elif not any(options["padding"]) and draw(st.booleans()):
        options["padding"] = "valid"
    return convolution(CONVS, conv(**options), **options)


@st.composite
def transposed_convs(draw: st.DrawFn) -> Case:
    options = grouped(draw, transposed_axes())
    return convolution(TRANSPOSED, conv_transpose(**options), **options)


def convolution(modules: tuple[Any, ...], regimes: Regimes, size: tuple[int, ...], **options: Any) -> Case:
    return case(modules[len(size) - 1](**options), (1, options["in_channels"], *size), regimes=regimes)


@st.composite
def rnns(draw: st.DrawFn) -> Case:
    mode, inputs, hidden, steps = draw(st.sampled_from(list(RNNS))), draw(sizes), draw(sizes), draw(st.integers(1, 4))
    options: dict[str, Any] = {
        "num_layers": draw(st.integers(1, 3)), "bias": draw(st.booleans()), "bidirectional": draw(st.booleans()),
    }  # fmt: skip
    if mode == "lstm" and hidden > 1:
        options["proj_size"] = draw(st.integers(0, hidden - 1))
    regimes = rnn(mode, inputs, hidden, steps, **options)  # type: ignore[arg-type]
    return case(RNNS[mode](inputs, hidden, **options), (steps, inputs), regimes=regimes)


@st.composite
def attentions(draw: st.DrawFn) -> Case:
    """From two sources on: the softmax over a single one is 1, whatever the weights."""
    heads, (length, source) = draw(st.integers(1, 2)), (draw(sizes), draw(st.integers(2, 5)))
    dim, bias = heads * draw(st.integers(1, 3)), draw(st.booleans())
    kdim, vdim = draw(st.none() | sizes), draw(st.none() | sizes)
    module = nn.MultiheadAttention(dim, heads, bias=bias, kdim=kdim, vdim=vdim)
    regimes = attention(dim, heads, length, source, kdim, vdim, bias)
    return case(module, (length, dim), (source, kdim or dim), (source, vdim or dim), regimes=regimes)


@st.composite
def bilinears(draw: st.DrawFn) -> Case:
    in1, in2, outputs, positions = draw(sizes), draw(sizes), draw(sizes), draw(st.integers(1, 3))
    bias = draw(st.booleans())
    regimes = bilinear(in1, in2, outputs, bias, positions)
    return case(nn.Bilinear(in1, in2, outputs, bias), (positions, in1), (positions, in2), regimes=regimes)


def norms() -> list[Case]:
    return [
        case(nn.BatchNorm2d(6).eval(), (1, 6, 3, 5), regimes=norm(12, 90)),
        case(nn.LayerNorm((4, 5)), (7, 4, 5), regimes=norm(40, 140)),
        case(nn.LayerNorm(5, bias=False), (7, 5), regimes=norm(5, 35, bias=False)),
        case(nn.RMSNorm(5), (7, 5), regimes=norm(5, 35, bias=False)),
        case(nn.GroupNorm(2, 6), (1, 6, 3, 5), regimes=norm(12, 90)),
        case(nn.PReLU(), (1, 6, 5), regimes=prelu(1, 30)),
        case(nn.PReLU(6), (1, 6, 5), regimes=prelu(6, 30)),
    ]


multiplying = st.one_of(linears(), convs(), transposed_convs(), rnns(), attentions())


layers = st.one_of(multiplying, bilinears(), st.integers(0, 6).map(lambda index: norms()[index]))


same_padding = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
