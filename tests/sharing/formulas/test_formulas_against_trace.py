"""The closed formulas equal the trace of real modules, in every regime, for every layer type, over random
shapes.
"""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paramshare import analyze
from paramshare.sharing import formulas
from paramshare.sharing.formulas import Regimes

small = st.integers(1, 5)
fast = settings(max_examples=30, deadline=None)


def traced(model: nn.Module, *sizes: Sequence[int], tokens: bool = False) -> Regimes:
    """Return the counts of a trace as a formula; check that there is one use of all of the layer."""
    report = analyze(model, input_size=sizes, dtypes=torch.long if tokens else None)
    totals = report.totals
    assert report.warnings == ()
    assert totals.unused == 0
    assert totals.shared == totals.per_use == totals.used == sum(parameter.numel() for parameter in model.parameters())
    assert totals.memory["unshared"].with_adam == 16 * totals.unshared
    return Regimes(totals.shared, totals.unshared, totals.unshared_live, totals.dense, totals.macs, totals.dense_macs)


@fast
@given(small, small, st.booleans(), st.lists(small, max_size=3))
def test_formula_of_linear_over_extra_axes_equals_the_trace(
    features: int, out: int, bias: bool, axes: list[int]
) -> None:
    positions = int(torch.tensor(axes, dtype=torch.int64).prod())
    formula = formulas.linear(features, out, bias, positions)
    assert traced(nn.Linear(features, out, bias), (*axes, features)) == formula


@st.composite
def convolutions(draw: st.DrawFn, transposed: bool) -> tuple[int, dict[str, object], list[int]]:
    """Dimensions, torch's arguments and a size that the kernel fits."""
    dims = draw(st.integers(1, 3))
    each = st.lists(st.integers(1, 3), min_size=dims, max_size=dims)
    groups = draw(st.integers(1, 2))
    kernel, stride, dilation = draw(each), draw(each), draw(each)
    padding = draw(st.lists(st.integers(0, 2), min_size=dims, max_size=dims))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    needed = [max(1, 1 if transposed else r - 2 * p) for r, p in zip(reach, padding, strict=True)]
    size = [draw(st.integers(n, n + 3)) for n in needed]
    arguments: dict[str, object] = {
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 2)),
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    if transposed:
        arguments["padding"] = [min(p, (r - 1) // 2) for p, r in zip(padding, reach, strict=True)]
        arguments["output_padding"] = [
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        ]
    return dims, arguments, size


@fast
@given(convolutions(transposed=False))
def test_formula_of_convolutions_equals_the_trace(drawn: tuple[int, dict[str, object], list[int]]) -> None:
    dims, arguments, size = drawn
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](**arguments)
    assert traced(layer, (arguments["in_channels"], *size)) == formulas.conv(**arguments, size=size)


@fast
@given(convolutions(transposed=True))
def test_formula_of_transposed_convolutions_equals_the_trace(drawn: tuple[int, dict[str, object], list[int]]) -> None:
    dims, arguments, size = drawn
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1](**arguments)
    assert traced(layer, (arguments["in_channels"], *size)) == formulas.conv_transpose(**arguments, size=size)


@fast
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 6))
def test_formula_of_same_padding_has_the_dead_taps_of_the_trace(dims: int, kernel: int, dilation: int, n: int) -> None:
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](1, 2, kernel, padding="same", dilation=dilation)
    formula = formulas.conv(1, 2, dims * [kernel], dims * [n], padding="same", dilation=dilation)
    assert traced(layer, (1, *dims * [n])) == formula


def test_formula_of_valid_padding_and_of_one_number_for_all_dimensions_equals_the_trace() -> None:
    valid = nn.Conv2d(2, 3, 3, padding="valid")
    assert traced(valid, (2, 6, 5)) == formulas.conv(2, 3, 3, (6, 5))
    valid._conv_forward = lambda x, weight, bias: nn.functional.conv2d(x, weight, bias, [2], [1])  # type: ignore[method-assign]
    assert traced(valid, (2, 6, 5)) == formulas.conv(2, 3, 3, (6, 5), stride=2, padding=1)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_taps_on_padding_that_repeats_the_data_are_live(mode: str) -> None:
    repeated = traced(nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode), (2, 6, 5))
    nominal = formulas.conv(2, 3, 3, (6, 5), padding=1)
    assert repeated.unshared_live == repeated.unshared == nominal.unshared > nominal.unshared_live
    assert repeated.dense == nominal.dense


@fast
@given(small, small, small)
def test_formula_of_embeddings_equals_the_trace(rows: int, dim: int, positions: int) -> None:
    formula = formulas.embedding(rows, dim, positions)
    assert traced(nn.Embedding(rows, dim), (positions,), tokens=True) == formula
    assert traced(nn.EmbeddingBag(rows, dim), (positions,), tokens=True) == formula


@fast
@given(
    st.sampled_from(["rnn", "lstm", "gru"]), small, st.integers(2, 5), small, st.integers(1, 3), *2 * [st.booleans()]
)
def test_formula_of_recurrent_layers_equals_the_trace(
    mode: str, features: int, hidden: int, steps: int, layers: int, bias: bool, both: bool
) -> None:
    layer = getattr(nn, mode.upper())(features, hidden, layers, bias=bias, batch_first=True, bidirectional=both)
    formula = formulas.rnn(mode, features, hidden, steps, layers, bias, both)  # type: ignore[arg-type]
    assert traced(layer, (steps, features)) == formula


@fast
@given(small, st.integers(2, 5), small, st.integers(1, 2), st.booleans())
def test_formula_of_lstm_projections_equals_the_trace(
    features: int, hidden: int, steps: int, layers: int, both: bool
) -> None:
    layer = nn.LSTM(features, hidden, layers, batch_first=True, bidirectional=both, proj_size=hidden - 1)
    formula = formulas.rnn("lstm", features, hidden, steps, layers, bidirectional=both, proj_size=hidden - 1)
    assert traced(layer, (steps, features)) == formula


@fast
@given(st.integers(1, 3), st.integers(1, 3), small, small, st.booleans(), st.booleans())
def test_formula_of_self_attention_and_cross_attention_equals_the_trace(
    heads: int, width: int, length: int, source: int, bias: bool, odd: bool
) -> None:
    embed = heads * width
    itself = nn.MultiheadAttention(embed, heads, bias=bias, batch_first=True)
    assert traced(itself, *3 * [(length, embed)]) == formulas.attention(embed, heads, length, bias=bias)
    keys, values = (embed + 1, embed + 2) if odd else (embed, embed)
    other = nn.MultiheadAttention(embed, heads, bias=bias, kdim=keys, vdim=values, batch_first=True)
    formula = formulas.attention(embed, heads, length, source, keys, values, bias)
    assert traced(other, (length, embed), (source, keys), (source, values)) == formula


def test_fused_attention_has_the_macs_of_the_formula() -> None:
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inward, self.outward = nn.Linear(6, 18), nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = (part.unflatten(-1, (2, 3)).transpose(1, 2) for part in self.inward(x).chunk(3, -1))
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.outward(mixed.transpose(1, 2).flatten(-2))

    assert traced(Fused(), (4, 6)).macs == formulas.attention(6, 2, 4).macs


@fast
@given(st.integers(1, 4), st.integers(2, 4), st.integers(1, 4))
def test_formula_of_norms_equals_the_trace(channels: int, height: int, width: int) -> None:
    elements = channels * height * width
    for layer in (
        nn.BatchNorm2d(channels),
        nn.InstanceNorm2d(channels, affine=True),
        nn.GroupNorm(channels, channels),
        nn.GroupNorm(1, channels),
    ):
        assert traced(layer, (channels, height, width)) == formulas.norm(2 * channels, elements)
    assert traced(nn.LayerNorm(width), (channels, height, width)) == formulas.norm(2 * width, elements)
    assert traced(nn.LayerNorm((height, width)), (channels, height, width)) == formulas.norm(
        2 * height * width, elements
    )
    assert traced(nn.RMSNorm(width), (channels, height, width)) == formulas.norm(width, elements, bias=False)
    sequence = nn.BatchNorm1d(channels)
    assert traced(sequence, (channels, width)) == formulas.norm(2 * channels, channels * width)


@fast
@given(st.integers(2, 4), small, small)
def test_formula_of_prelu_equals_the_trace(channels: int, height: int, width: int) -> None:
    elements = channels * height * width
    assert traced(nn.PReLU(channels), (channels, height, width)) == formulas.prelu(channels, elements)
    assert traced(nn.PReLU(), (channels, height, width)) == formulas.prelu(1, elements)


@fast
@given(small, small, small, st.booleans(), small)
def test_formula_of_bilinear_equals_the_trace(in1: int, in2: int, out: int, bias: bool, positions: int) -> None:
    formula = formulas.bilinear(in1, in2, out, bias, positions)
    assert traced(nn.Bilinear(in1, in2, out, bias), (positions, in1), (positions, in2)) == formula
