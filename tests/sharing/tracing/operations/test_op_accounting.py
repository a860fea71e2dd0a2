"""Derived weights, slices, views and functions on parameters count as the weights that they are."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from paramshare import analyze
from support.models.function_models import Function, counted


def test_slices_of_a_bank_count_once_each_and_the_rest_is_unused() -> None:
    def steps(x: Tensor, bank: Tensor) -> Tensor:
        for index in (0, 3, 3, 7):
            x = F.linear(x, bank[index])
        return x

    totals = counted(steps, (6,), bank=torch.randn(8, 6, 6)).totals
    assert (totals.shared, totals.used, totals.unused) == (8 * 36, 3 * 36, 5 * 36)
    assert totals.per_use == totals.unshared == 4 * 36


def test_transposed_view_is_the_same_weight() -> None:
    totals = counted(lambda x, w: x @ w @ w.t(), (6,), w=torch.randn(6, 9)).totals
    assert (totals.shared, totals.per_use, totals.unshared) == (54, 108, 108)


@pytest.mark.parametrize(
    ("function", "size", "weight", "unshared"),
    [
        (F.linear, (7, 4), torch.randn(5, 4), 7 * 20),
        (lambda x, w: torch.matmul(x, w), (7, 4), torch.randn(4, 5), 7 * 20),
        (lambda x, w: torch.einsum("btd,hdk->bhtk", x, w), (7, 4), torch.randn(3, 4, 5), 7 * 60),
        (lambda x, w: torch.einsum("bcn,cn->bc", x, w), (3, 9), torch.randn(3, 9), 27),
        (F.conv2d, (2, 6, 6), torch.randn(4, 2, 3, 3), 16 * 72),
        (lambda x, w: F.conv1d(x, w, groups=2), (4, 9), torch.randn(4, 2, 3), 7 * 24),
        (lambda x, w: F.conv2d(x, w[:, :, None]), (2, 5, 6), torch.randn(4, 2, 3), 5 * 4 * 24),
        (lambda x, w: x * w, (7, 4), torch.randn(4), 28),
        (lambda x, w: torch.addmm(x[0], x[0], w), (4, 4), torch.randn(4, 4), 64),
        (lambda x, w: w[x.long()], (7,), torch.randn(9, 4), 7 * 36),
        (lambda x, w: torch.cdist(x, w), (7, 4), torch.randn(9, 4), 7 * 36),
        (lambda x, w: x[0].new_zeros(7, 5).addmm_(x[0], w), (7, 4), torch.randn(4, 5), 7 * 20),
        (lambda x, w: torch.addr(x.new_zeros(4, 5), x[0], w), (4,), torch.randn(5), 20),
        (lambda x, w: torch.conv_tbc(x.transpose(0, 1), w, x.new_zeros(4), 1), (7, 2), torch.randn(3, 2, 4), 7 * 24),
        (lambda x, w: w.take(x.long()), (7,), torch.randn(9), 7 * 9),
        (lambda x, w: x.masked_fill(x > 0, w[0]), (7, 4), torch.randn(1), 28),
        (lambda x, w: F.linear(F.normalize(x), F.normalize(w)), (7, 4), torch.randn(5, 4), 7 * 20),
        (lambda x, w: x + F.interpolate(w, scale_factor=2), (2, 8, 8), torch.randn(1, 2, 4, 4), 128),
        (lambda x, w: torch.view_as_complex(x) * torch.view_as_complex(w), (7, 4, 2), torch.randn(4, 2), 7 * 8),
    ],
)
def test_functions_on_parameters_count_like_layers(
    function: Callable[..., Tensor], size: tuple[int, ...], weight: Tensor, unshared: int
) -> None:
    totals = counted(lambda x, w: function(x, w), size, w=weight).totals
    assert (totals.shared, totals.per_use, totals.unshared) == (weight.numel(), weight.numel(), unshared)


def test_complex_weights_viewed_as_pairs_are_the_same_weights() -> None:
    weight = torch.randn(4, 5, dtype=torch.complex64)
    for part in (torch.view_as_real(weight), weight.real):
        assert part.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
    pairs = counted(lambda x, w: x * torch.view_as_real(w), (4, 5, 2), w=weight).totals
    real = counted(lambda x, w: x @ w.real, (3, 4), w=weight).totals
    assert (pairs.shared, pairs.per_use, pairs.unshared, pairs.unused) == (20, 20, 20, 0)
    assert (real.shared, real.per_use, real.unshared, real.unused) == (20, 20, 60, 0)


def test_grouped_matrix_product_is_a_table_of_experts_from_which_each_row_selects() -> None:
    def experts(x: Tensor, w: Tensor) -> Tensor:
        ends = torch.tensor([1, 4, 6], dtype=torch.int32, device=x.device)
        return torch._grouped_mm(x[0], w, offs=ends)

    totals = counted(experts, (6, 8), w=torch.randn(3, 8, 4)).totals
    assert (totals.macs, totals.per_use, totals.unshared) == (6 * 32, 3 * 32, 6 * 3 * 32)


@pytest.mark.parametrize("first", ["the data", "a constant"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_data_written_into_an_output_argument_is_traced(first: str, device: str) -> None:
    def through(x: Tensor, w: Tensor) -> Tensor:
        buffer, one = torch.empty(3, 4, device=device), torch.ones(4)
        torch.mul(*((x[0], one) if first == "the data" else (one, x[0])), out=buffer)
        return buffer @ w

    totals = counted(through, (3, 4), w=torch.randn(4, 5)).totals
    assert (totals.per_use, totals.unshared, totals.macs) == (20, 60, 60)


def test_weight_written_into_an_output_argument_is_the_same_weight() -> None:
    def masked(x: Tensor, w: Tensor) -> Tensor:
        buffer = x.new_empty(4, 5)
        torch.mul(w, torch.ones(4, 5, device=x.device).tril(), out=buffer)
        return x @ buffer

    totals = counted(masked, (3, 4), w=torch.randn(4, 5)).totals
    assert (totals.per_use, totals.unshared, totals.unused) == (20, 60, 0)


def test_cast_weight_is_the_same_weight() -> None:
    totals = counted(lambda x, w: x.bfloat16() @ w.bfloat16(), (5, 4), w=torch.randn(4, 3)).totals
    assert (totals.shared, totals.unshared) == (12, 60)


def test_both_forms_of_weight_norm_use_each_weight_once() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old = nn.utils.weight_norm(nn.Conv2d(2, 4, 3))
    for model in (parametrizations.weight_norm(nn.Conv2d(2, 4, 3)), old):
        report = analyze(model, (2, 8, 8))
        assert report.warnings == ()
        assert report.totals.shared == report.totals.per_use == 72 + 4 + 4  # directions, lengths, biases
        assert report.totals.unshared == 36 * 80


def test_parametrizations_use_each_weight_once() -> None:
    class Symmetric(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            return w.triu() + w.triu(1).transpose(-1, -2)

    symmetric = nn.Linear(4, 4)
    nn.utils.parametrize.register_parametrization(symmetric, "weight", Symmetric())
    spectral = (parametrizations.spectral_norm(nn.Linear(4, 4)), nn.utils.spectral_norm(nn.Linear(4, 4)))
    for model, training in (
        (symmetric, False),
        *((model_in_mode, training) for model_in_mode in spectral for training in (False, True)),
    ):
        totals = analyze(model, (7, 4), training=training).totals
        assert (totals.shared, totals.per_use, totals.unshared, totals.unused) == (20, 20, 140, 0)


def test_lora_factors_have_a_copy_at_each_site() -> None:
    def lora(x: Tensor, w: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return F.linear(x, w + b @ a)

    weights = {"w": torch.randn(12, 10), "a": torch.randn(2, 10), "b": torch.randn(12, 2)}
    totals = counted(lora, (3, 10), **weights).totals
    assert totals.shared == totals.per_use == 120 + 20 + 24
    assert totals.unshared == 3 * (120 + 20 + 24)
    assert totals.macs == 3 * 120 + 12 * 2 * 10


def test_class_token_has_one_site_and_position_embeddings_one_each() -> None:
    def tokens(x: Tensor, cls: Tensor, positions: Tensor) -> Tensor:
        return torch.cat([cls.expand(x.shape[0], -1, -1), x], 1) + positions[:, : x.shape[1] + 1]

    totals = counted(tokens, (4, 6), cls=torch.zeros(1, 1, 6), positions=torch.zeros(1, 10, 6)).totals
    assert (totals.shared, totals.used, totals.unshared, totals.unused) == (66, 36, 36, 30)


def test_weight_written_into_data_is_used_and_an_overwritten_weight_is_not() -> None:
    def written(x: Tensor, w: Tensor, lost: Tensor) -> Tensor:
        buffer = x.new_zeros(x.shape)
        buffer[:, 0] = lost
        buffer[:] = x
        buffer[:, 1] = w
        return buffer

    totals = counted(written, (3, 4), w=torch.randn(4), lost=torch.randn(4)).totals
    assert (totals.used, totals.unshared, totals.unused) == (4, 4, 4)


def test_copied_weight_that_is_changed_in_place_is_one_weight() -> None:
    def scaled(x: Tensor, w: Tensor) -> Tensor:
        own = w.clone().mul_(2)
        own[1].add_(1)
        return x @ own

    totals = counted(scaled, (3, 4), w=torch.randn(4, 4)).totals
    assert (totals.per_use, totals.unshared) == (16, 48)


def test_constant_written_into_part_of_a_copied_weight_leaves_the_rest_used() -> None:
    def masked(x: Tensor, w: Tensor, gone: Tensor) -> Tensor:
        weight, bias = w.clone(), gone.clone()
        weight[2:4] = 0
        bias.zero_()
        return F.linear(x, weight, bias)

    totals = counted(masked, (3, 4), w=torch.randn(6, 4), gone=torch.randn(6)).totals
    assert (totals.used, totals.unshared, totals.unused) == (24, 72, 6)


def test_embedding_of_fixed_positions_is_live_at_selected_rows() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(20, 4)

        def forward(self, x: Tensor) -> Tensor:
            place: Tensor = self.table(torch.arange(x.shape[1], device=x.device))
            return x + place

    (row,) = analyze(Positions(), (7, 4)).layers
    assert (row.name, row.uses, row.counts.per_use) == ("table", 1, 80)
    assert (row.counts.unshared, row.counts.unshared_live) == (7 * 80, 7 * 4)


def test_weight_in_the_output_is_used() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(4, 4), nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.layer(x), "scale": self.scale.exp(), "weight": self.layer.weight}

    totals = analyze(Scaled(), (4,)).totals
    assert (totals.unused, totals.per_use) == (0, 20 + 3)  # what is used otherwise is not used once more


def test_operation_without_a_rule_is_counted_and_named() -> None:
    def sorted_in(x: Tensor, w: Tensor) -> Tensor:
        return torch.searchsorted(w, x)

    report = analyze(Function(sorted_in, w=torch.arange(5.0)), (3,))
    assert report.totals.unshared == 5
    (said,) = report.warnings
    assert said.startswith("(model) (Function) uses weights in aten.searchsorted, for which no rule is known")
