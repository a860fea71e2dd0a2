"""Proves that sharing is seen where other counters miss it: ties of every kind, repeated calls, slices and views,
derived weights, functions on parameters; and that what a pass without values cannot see is said, with its place.
"""

import copy
import random
import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from paramshare import DynamicNet, SharingReport, analyze, untie
from paramshare.errors import SpecError
from paramshare.sharing.report import Tie

# Repeated calls.


@pytest.mark.parametrize(("depth", "per_use"), [(0, 101_110), (1, 111_210), (2, 121_310), (3, 131_410)])
def test_dynamic_net_has_a_copy_for_each_use_at_each_depth(depth: int, per_use: int) -> None:
    report = analyze(DynamicNet(), (1000,), kwargs={"depth": depth})
    assert report.totals.shared == 111_210
    assert report.totals.per_use == report.totals.unshared == per_use
    assert report.totals.unused == (10_100 if depth == 0 else 0)
    assert [row.uses for row in report.layers] == [1, depth, 1]
    assert report.warnings == ()


def _analyzed(model: nn.Module) -> None:
    assert analyze(model, (3,)).warnings == ()


@pytest.mark.parametrize("count", [_analyzed, partial(untie, axes="tie", input_size=(3,))], ids=["analyze", "untie"])
def test_draw_of_another_thread_during_a_pass_is_not_a_draw_of_the_model(
    count: Callable[[nn.Module], object],
) -> None:
    class Interrupted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            if not drawn:
                drawn.append(random.random())  # as a thread of another library does
            return self.inner(x)

    drawn: list[float] = []
    count(Interrupted())  # a warning of untie is an error in the tests
    assert len(drawn) == 1


def test_random_depth_of_dynamic_net_is_reported_and_the_generator_is_restored() -> None:
    random.seed(5)
    state = random.getstate()
    depth = random.randint(0, 3)
    random.setstate(state)
    report = analyze(DynamicNet(), (1000,))
    assert report.totals.per_use == 101_110 + depth * 10_100
    assert report.warnings == (
        "the pass drew from Python's random: if its structure depends on that, the counts hold for this draw only",
    )
    assert random.getstate() == state


def test_draw_from_torch_or_numpy_is_reported_and_undone() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            import numpy as np

            skipped = torch.rand(()).item() > 2 or np.random.rand() > 2
            return x if skipped else self.layer(x)

    model, before = Skips(), torch.get_rng_state()
    said = analyze(model, (3,)).warnings
    assert [line.split(":")[0] for line in said] == [
        "the pass drew from torch's generator", "the pass drew from numpy's random",
    ]  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)


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


# Ties.


class Registers(nn.Module):
    """Two products with whatever two parameters it is given."""

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


# Slices, views and derived weights.


class Function(nn.Module):
    """A function of the input and of named parameters."""

    def __init__(self, function: Callable[..., Tensor], **weights: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, weight in weights.items():
            self.register_parameter(name, nn.Parameter(weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **dict(self.named_parameters()))


def counted(function: Callable[..., Tensor], size: tuple[int, ...], **weights: Tensor) -> SharingReport:
    report = analyze(Function(function, **weights), size)
    assert report.warnings == ()
    return report


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
    for model, training in ((symmetric, False), *((one, training) for one in spectral for training in (False, True))):
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


def test_lazy_layers_take_their_size_from_the_input() -> None:
    model = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyConv1d(3, 1))
    totals = analyze(model, (2, 7)).totals
    assert totals.shared == totals.per_use == 40 + 9
    assert isinstance(model[0].weight, nn.UninitializedParameter)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # the compiler's own
def test_compiled_modules_and_functions_count_as_their_originals() -> None:
    inner = nn.Linear(4, 4)
    compiled = nn.Sequential(torch.compile(inner), nn.ReLU(), inner)
    report = analyze(compiled, (4,))
    assert [(row.name, row.kind, row.uses) for row in report.layers] == [("0", "Linear", 2)]
    in_place = nn.Linear(4, 4)
    in_place.compile()
    assert analyze(in_place, (4,)).totals.unshared == 20
    assert counted(torch.compile(lambda x, w: x @ w), (3, 4), w=torch.randn(4, 5)).totals.unshared == 60


# What cannot be seen.


def test_number_read_from_data_is_an_assumption_with_its_place() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(int(x.abs().sum().item())):  # a depth that depends on the data
                x = self.layer(x)
            while x.norm() > 1:
                x = self.layer(x)
            return x

    report = analyze(nn.Sequential(nn.Linear(4, 4), Reads()), (4,))
    assert [row.uses for row in report.layers] == [1, 1]
    assumed_1, assumed_false = report.warnings
    assert assumed_1.startswith("1 (Reads) reads a number from the data (as `.item()` does), assumed to be 1.0: ")
    assert assumed_false.startswith("1 (Reads) reads a number from the data (as `.item()` does), assumed to be False: ")


@pytest.mark.parametrize("named", [False, True])
def test_number_read_from_a_tensor_with_written_data_is_not_a_constant(named: bool) -> None:
    def fills(x: Tensor, w: Tensor) -> Tensor:
        sums = torch.zeros(2)
        if named:
            torch.sum(x, 1, out=sums[:1])
        else:
            sums[0] = x.sum()
        return x * w if sums.sum() > 0 else x

    (said,) = analyze(Function(fills, w=torch.ones(1)), (4,)).warnings
    assert "reads a number from the data (as `.item()` does), assumed to be False" in said


def test_numbers_read_from_weights_and_constants_are_reported_as_such() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))
            self.register_buffer("times", torch.tensor(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale.item() * int(self.times)

    with torch.device("meta"):  # where the model holds no values
        report = analyze(Scaled(), (4,))
    assert report.totals.unused == 1
    assert [line.partition(", assumed")[0] for line in report.warnings] == [
        "(model) (Scaled) reads a number from weights (as `.item()` does)",
        "(model) (Scaled) reads a number from a constant (as `.item()` does)",
    ]


def test_mask_with_known_values_selects_as_in_a_real_pass() -> None:
    def lower(x: Tensor, w: Tensor) -> Tensor:
        return x[0][torch.ones(4, 4, dtype=torch.bool).tril()] * w

    assert counted(lower, (4, 4), w=torch.randn(10)).totals.unshared == 10


def test_check_of_values_is_assumed_to_hold() -> None:
    def checked(x: Tensor, w: Tensor) -> Tensor:
        torch._check_tensor_all(x > 0, lambda: "expected positive numbers")
        return x * w

    assert counted(checked, (4,), w=torch.randn(4)).totals.unshared == 4


def test_encoder_with_padding_mask_is_traced_without_the_fast_path() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    mask = torch.tensor([[False, False, True]])
    model, sample = nn.TransformerEncoder(layer, 2), torch.randn(1, 3, 8)
    padded = analyze(model, args=[sample], kwargs={"src_key_padding_mask": mask})
    assert padded.totals == analyze(model, args=[sample]).totals
    assert padded.totals.unused == 0
    assert padded.warnings == ()
    assert torch.backends.mha.get_fastpath_enabled()


def refusal(function: Callable[..., Tensor]) -> str:
    with pytest.raises(SpecError) as error:
        analyze(Function(function, w=torch.randn(4)), (4,))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_operator_with_function_arguments_is_named_in_the_error() -> None:
    said = refusal(lambda x, w: torch.cond(x.sum() > 0, lambda x: x * w, lambda x: x + w, (x,)))
    assert "(model) (Function) cannot be followed without values" in said
    assert said.endswith("the functions in the arguments of cond are not traced")


def test_list_of_values_is_refused() -> None:
    assert "(model) (Function) cannot be followed without values" in refusal(lambda x, w: w * sum(x[0].tolist()))


def test_refusal_after_an_assumption_names_the_assumption() -> None:
    said = refusal(lambda x, w: x[:, : int(x.sum())] * w[:2] * x[:, 1:] * w)
    assert said.endswith(
        "; an assumption may be the cause: (model) (Function) reads a number from the data (as `.item()` does), "
        "assumed to be 1.0"
    )


def test_script_module_is_refused_by_its_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.trace(nn.Linear(4, 4), torch.randn(1, 4))
    with pytest.raises(
        SpecError, match=r"^the model \(TopLevelTracedModule\) is a TorchScript module, whose code cannot"
    ):
        analyze(script, (4,))


def test_mixture_of_experts_counts_as_if_every_token_went_to_every_expert() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(6, 4)
            self.experts = nn.ModuleList(nn.Linear(6, 6) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            weights, chosen = self.gate(x).softmax(-1).topk(2, -1)
            out = torch.zeros_like(x)
            mask = F.one_hot(chosen, 4).permute(2, 1, 0)
            for (expert,) in (mask.sum((-1, -2)) > 0).nonzero():
                rank, token = torch.where(mask[expert])
                out.index_add_(0, token, self.experts[expert](x[token]) * weights[token, rank, None])
            return out

    report = analyze(Experts(), kwargs={"x": torch.randn(5, 6)})
    assert [row.name for row in report.layers] == ["gate", "experts.0", "experts.1", "experts.2", "experts.3"]
    assert report.totals.shared == report.totals.per_use == 28 + 4 * 42
    assert report.totals.unshared == 5 * 28 + 4 * 2 * 5 * 42
    (said,) = report.warnings
    assert said.startswith("(model) (Experts) selects by value (aten.nonzero, 5 times): counted as if everything were ")


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda x, w: x[x > 0].sum() * w, "a boolean index"),
        (lambda x, w: torch.masked_select(x, x > 0).sum() * w, "aten.masked_select"),
        (lambda x, w: torch.unique(x).sum() * w, "aten._unique2"),
        (lambda x, w: torch.repeat_interleave(x[0], x[0].long()).sum() * w, "aten.repeat_interleave"),
    ],
)
def test_operation_that_selects_by_value_is_named(function: Callable[..., Tensor], what: str) -> None:
    (said,) = analyze(Function(function, w=torch.ones(1)), (4,)).warnings
    assert what in said


def test_operation_without_a_rule_is_counted_and_named() -> None:
    def sorted_in(x: Tensor, w: Tensor) -> Tensor:
        return torch.searchsorted(w, x)

    report = analyze(Function(sorted_in, w=torch.arange(5.0)), (3,))
    assert report.totals.unshared == 5
    (said,) = report.warnings
    assert said.startswith("(model) (Function) uses weights in aten.searchsorted, for which no rule is known")


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


def test_parameters_outside_of_the_model_are_counted_and_reported() -> None:
    apart = nn.Linear(3, 3)

    class Reaches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.own(apart(apart(x)))
            return out

    report = analyze(Reaches(), (3,))
    assert [(row.name, row.counts.shared, row.uses) for row in report.layers] == [("(model)", 12, 2), ("own", 12, 1)]
    assert report.totals.per_use == 3 * 12
    assert report.warnings == (
        "(model) uses parameters that the model does not hold (2): they are counted, but an optimizer of "
        "`model.parameters()` will not train them",
    )


def test_module_copied_during_the_pass_is_traced_in_the_copy() -> None:
    class Copies(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = copy.deepcopy(self.layer)(x)
            return out

    report = analyze(Copies(), (3,))
    assert (report.totals.per_use, report.totals.macs, report.totals.unused) == (12, 9, 12)
    assert report.warnings[0].startswith("layer uses parameters that the model does not hold (2)")
