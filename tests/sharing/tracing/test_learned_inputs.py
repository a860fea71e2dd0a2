"""A layer whose input is learned or constant has sites: it counts as the formula of its sizes.

Weights that are derived from weights stay one weight.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from paramshare import SharingReport, analyze
from paramshare.sharing import formulas
from paramshare.sharing.formulas import Regimes


class Queries(nn.Module):
    """A layer on a learned constant, whose output is added to the data."""

    def __init__(self, layer: nn.Module, *size: int) -> None:
        super().__init__()
        self.layer, self.queries = layer, nn.Parameter(torch.randn(1, *size))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.called(self.queries)
        return out + x

    def called(self, queries: Tensor) -> Tensor:
        out: Tensor = self.layer(queries)
        return out


class Attends(Queries):
    """Self-attention among learned queries."""

    def called(self, queries: Tensor) -> Tensor:
        out: Tensor = self.layer(queries, queries, queries, need_weights=False)[0]
        return out


class MyRMSNorm(nn.Module):
    """A norm written in Python, as in many transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def without_queries(report: SharingReport, queries: int) -> Regimes:
    """Return the counts of the layer alone; a learned constant in one call has one use and one site."""
    (row,) = report.layers
    assert report.warnings == ()
    assert (row.name, row.counts.used, row.counts.per_use) == ("layer", row.counts.shared, row.counts.shared)
    numbers = (row.counts.shared, row.counts.unshared, row.counts.unshared_live, row.counts.dense)
    return Regimes(*(number - queries for number in numbers), row.counts.macs, row.counts.dense_macs)


def test_attention_among_learned_queries_counts_as_its_formula() -> None:
    report = analyze(Attends(nn.MultiheadAttention(8, 2, batch_first=True), 6, 8), (6, 8))
    formula = formulas.attention(8, 2, 6)
    assert formula.unshared == 1_728
    assert without_queries(report, 48) == formula
    assert (report.totals.used, report.totals.per_use, report.totals.unshared) == (336, 336, 1_728 + 48)


@pytest.mark.parametrize(
    ("layer", "size", "formula"),
    [
        (nn.Linear(4, 5), (6, 4), formulas.linear(4, 5, True, 6)),
        (nn.Conv2d(2, 3, 3, padding=1), (2, 4, 4), formulas.conv(2, 3, 3, (4, 4), padding=1)),
        (nn.ConvTranspose1d(2, 3, 2, stride=2), (2, 5), formulas.conv_transpose(2, 3, 2, 5, stride=2)),
        (nn.LayerNorm(4), (6, 4), formulas.norm(8, 24)),
        (nn.RMSNorm(4), (6, 4), formulas.norm(4, 24, bias=False)),
        (MyRMSNorm(), (6, 4), formulas.norm(4, 24, bias=False)),
        (nn.GroupNorm(2, 4), (4, 3, 3), formulas.norm(8, 36)),
        (nn.RNN(4, 3, batch_first=True), (6, 4), formulas.rnn("rnn", 4, 3, 6)),
    ],
)
def test_a_layer_on_a_learned_constant_counts_as_its_formula(
    layer: nn.Module, size: tuple[int, ...], formula: Regimes
) -> None:
    class First(Queries):
        def called(self, queries: Tensor) -> Tensor:
            out = self.layer(queries)
            first: Tensor = out[0] if isinstance(out, tuple) else out
            return first

    elements = int(torch.tensor(size).prod())
    shape = First(layer, *size).called(torch.zeros(1, *size)).shape[1:]
    assert without_queries(analyze(First(layer, *size), tuple(shape)), elements) == formula


def test_a_decoder_of_learned_queries_uses_every_layer_and_the_queries_once() -> None:
    class Decodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Embedding(6, 8)
            self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2)

        def forward(self, memory: Tensor) -> Tensor:
            out: Tensor = self.decoder(self.queries.weight[None], memory)
            return out

    report = analyze(Decodes(), (5, 8))
    rows = {row.name: row for row in report.layers}
    attention = rows["decoder.layers.0.self_attn"]
    assert attention.counts.unshared == formulas.attention(8, 2, 6).unshared
    assert attention.counts.macs == formulas.attention(8, 2, 6).macs
    assert rows["decoder.layers.0.linear1"].counts.unshared == 6 * (8 * 16 + 16)
    assert all(row.uses >= 1 and row.counts.per_use >= row.counts.used for row in report.layers)
    assert report.totals.unused == 0


def test_a_layer_on_a_table_of_constants_has_a_site_for_each_row() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
            self.register_buffer("places", torch.randn(7, 2))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(self.places)
            return x + out[:, 0]

    first, second = analyze(Positions(), (7,)).layers
    assert (first.counts.unshared, first.counts.macs) == (7 * 9, 7 * 6)
    assert (second.counts.unshared, second.counts.macs) == (7 * 4, 7 * 3)


def test_a_layer_on_zeros_has_sites_that_are_not_live() -> None:
    class Start(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(torch.zeros(1, 6, 4, device=x.device))
            return out + x

    totals = analyze(Start(), (6, 4)).totals
    assert (totals.per_use, totals.unshared, totals.unshared_live) == (20, 6 * 20, 6 * 4)


def test_a_net_that_makes_the_weights_of_another_has_its_own_sites() -> None:
    class Hyper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.net = nn.Parameter(torch.randn(3)), nn.Linear(3, 20)

        def forward(self, x: Tensor) -> Tensor:
            weight: Tensor = self.net(self.code[None]).view(5, 4)
            return x @ weight.t()

    model, row = analyze(Hyper(), (7, 4)).layers
    assert (model.uses, model.counts.macs) == (0, 7 * 20)
    assert (row.counts.used, row.counts.per_use, row.counts.unshared) == (83, 83, 83)


def test_scale_that_a_module_applies_to_a_weight_is_part_of_that_weight() -> None:
    class Quantized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Parameter(torch.ones(5, 1))

        def forward(self, weight: Tensor) -> Tensor:
            return (weight / self.step).round() * self.step

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.quantized = nn.Parameter(torch.randn(5, 4)), Quantized()

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.quantized(self.weight).t()

    totals = analyze(Layer(), (7, 4)).totals
    assert (totals.per_use, totals.unshared) == (25, 7 * 25)


def test_number_read_from_a_layers_output_on_learned_queries_comes_from_weights() -> None:
    class Stops(Queries):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(self.queries)
            return out + x if out.sum() > 0 else x

    (said,) = analyze(Stops(nn.Linear(4, 4), 6, 4), (6, 4)).warnings
    assert "reads a number from weights" in said


class Rotated(nn.Module):
    """A parametrization that multiplies a weight with one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rotation = nn.Linear(4, 4, bias=False)

    def forward(self, weight: Tensor) -> Tensor:
        out: Tensor = self.rotation(weight)
        return out


def test_product_within_a_parametrization_is_one_weight() -> None:
    layer = nn.Linear(4, 5, bias=False)
    parametrize.register_parametrization(layer, "weight", Rotated())
    totals = analyze(layer, (7, 4)).totals
    assert (totals.per_use, totals.unshared) == (20 + 16, 7 * (20 + 16))
