"""Repeated calls and ties of every kind are counted."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paramshare import DynamicNet, analyze
from paramshare.sharing.report import Tie


@pytest.mark.parametrize(("depth", "per_use"), [(0, 101_110), (1, 111_210), (2, 121_310), (3, 131_410)])
def test_dynamic_net_has_a_copy_for_each_use_at_each_depth(depth: int, per_use: int) -> None:
    report = analyze(DynamicNet(), (1000,), kwargs={"depth": depth})
    assert report.totals.shared == 111_210
    assert report.totals.per_use == report.totals.unshared == per_use
    assert report.totals.unused == (10_100 if depth == 0 else 0)
    assert [row.uses for row in report.layers] == [1, depth, 1]
    assert report.warnings == ()


def test_steps_of_an_lstm_are_sites_of_one_use() -> None:
    (row,) = analyze(nn.LSTM(10, 20, batch_first=True), (50, 10)).layers
    weights = 4 * 20 * (10 + 20 + 2)
    assert (row.uses, row.counts.per_use, row.counts.unshared) == (1, weights, 50 * weights)


def test_steps_of_a_cell_in_a_loop_are_uses() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            state = x.new_zeros(x.shape[0], 4)
            for step in x.unbind(1):
                state = self.cell(step, state)
            return state

    report = analyze(Loop(), (6, 3))
    assert report.totals.per_use == report.totals.unshared == 6 * report.totals.shared
    assert report.totals.unshared_live == report.totals.unshared - 3 * 4 * 4  # the first state is zero


def test_a_siamese_net_uses_its_tower_twice() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))

        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return F.pairwise_distance(self.tower(one), self.tower(other))

    report = analyze(Siamese(), [(1, 8, 8), (1, 8, 8)])
    assert [row.uses for row in report.layers] == [2, 2]
    assert report.totals.per_use == 2 * report.totals.shared
    assert report.totals.unshared == 2 * (36 * 40 + 4 * 36 * 5 + 5)


class Registers(nn.Module):
    """Two products with two given parameters."""

    def __init__(self, one: nn.Parameter, other: nn.Parameter) -> None:
        super().__init__()
        self.one, self.other = one, other

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.one.t(), x @ self.other.t()


def test_module_under_four_names_counts_once() -> None:
    class Four(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = self.b = self.c = nn.Linear(4, 4)
            self.d = nn.Sequential(self.a)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.d(self.c(self.b(self.a(x))))
            return out

    report = analyze(Four(), (4,))
    assert (report.totals.shared, report.totals.per_use) == (20, 80)
    assert [(row.name, row.uses) for row in report.layers] == [("a", 4)]
    assert report.ties == (
        Tie(("a.weight", "b.weight", "c.weight", "d.0.weight"), 16),
        Tie(("a.bias", "b.bias", "c.bias", "d.0.bias"), 4),
    )


def test_tie_by_attribute_counts_the_weight_once() -> None:
    weight = nn.Parameter(torch.randn(5, 3))
    report = analyze(Registers(weight, weight), (3,))
    assert (report.totals.shared, report.totals.per_use) == (15, 30)
    assert report.ties == (Tie(("one", "other"), 15),)


def test_two_parameters_on_one_storage_are_tied() -> None:
    weight = torch.randn(5, 3)
    report = analyze(Registers(nn.Parameter(weight), nn.Parameter(weight)), (3,))
    assert (report.totals.shared, report.totals.per_use) == (15, 30)
    assert report.ties == (Tie(("one", "other"), 15),)


def test_parameters_that_overlap_in_part_are_tied_in_that_part() -> None:
    weight = torch.randn(8, 3)
    report = analyze(Registers(nn.Parameter(weight[:5]), nn.Parameter(weight[3:])), (3,))
    assert (report.totals.shared, report.totals.per_use, report.totals.used) == (24, 30, 24)
    assert report.ties == (Tie(("one", "other"), 6),)


def test_parameters_side_by_side_in_one_storage_are_not_tied() -> None:
    weight = torch.randn(8, 3)
    report = analyze(Registers(nn.Parameter(weight[:4]), nn.Parameter(weight[4:])), (3,))
    assert (report.totals.shared, report.totals.per_use) == (24, 24)
    assert report.ties == ()


def test_tied_row_names_the_layer_that_counts_its_weights() -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 4)
            self.head = nn.Linear(4, 11, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            out: Tensor = self.head(self.embed(tokens))
            return out

    embed, head = analyze(Decoder(), (6,), dtypes=torch.long).layers
    assert (embed.counts.shared, head.counts.shared) == (44, 0)
    assert head.tied == {"embed": 44}
    assert embed.counts.factor == head.counts.factor == 6


def test_two_thousand_slices_of_a_bank_belong_to_two_thousand_layers() -> None:
    class Bank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bank = nn.Parameter(torch.randn(2_000, 2, 2))
            self.layers = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(2_000))
            for layer, weight in zip(self.layers, self.bank, strict=True):
                layer.weight = nn.Parameter(weight.detach())

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    report = analyze(Bank(), (2,))
    assert report.totals.shared == report.totals.per_use == 8_000
    assert [row.counts.shared for row in report.layers] == 2_000 * [4]
    assert [(len(tie.names), tie.elements) for tie in report.ties] == [(2_001, 8_000)]


def test_three_tied_layers_name_the_first_and_count_the_weight_once() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    model[1][0] = model[0][0]
    model[1][1].weight, model[1][1].bias = model[0][0].weight, model[0][0].bias
    third = nn.Linear(4, 4, bias=False)
    third.weight = model[0][0].weight
    model.append(nn.Sequential(third))
    report = analyze(model, (3, 4))
    assert [dict(row.tied) for row in report.layers] == [{}, {"0.0": 20}, {"0.0": 16}]
    assert [row.counts.factor for row in report.rows(depth=1)] == [6, 3, 3]


def test_parameters_in_a_list_are_counted_and_reported_as_unregistered() -> None:
    class Hides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [nn.Parameter(torch.randn(3, 3))]

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.hidden[0]

    report = analyze(Hides(), (3,))
    assert report.totals.shared == 9
    assert report.warnings[0].startswith("hidden holds parameters that are not in `model.parameters()`")
