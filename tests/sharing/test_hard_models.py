"""Proves that sharing is seen where other counters miss it: ties of every kind, repeated calls, slices and views,
derived weights, functions on parameters; and that what a pass without values cannot see is said, with its place.
"""

import random
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from paramshare import DynamicNet, SharingReport, analyze
from paramshare.sharing.report import Tie

# Repeated calls.


@pytest.mark.parametrize(("depth", "per_use"), [(0, 101_110), (1, 111_210), (2, 121_310), (3, 131_410)])
def test_dynamic_net_at_each_depth(depth: int, per_use: int) -> None:
    report = analyze(DynamicNet(), (1000,), kwargs={"depth": depth})
    assert report.totals.shared == 111_210
    assert report.totals.per_use == report.totals.unshared == per_use
    assert report.totals.unused == (10_100 if depth == 0 else 0)
    assert [row.uses for row in report.layers] == [1, depth, 1]
    assert report.warnings == ()


def test_dynamic_net_at_its_random_depth_says_that_the_depth_was_drawn_and_leaves_the_generator_alone() -> None:
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


def test_a_draw_of_torch_or_numpy_is_said_and_undone() -> None:
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


def test_the_steps_of_an_lstm_are_sites_of_one_use() -> None:
    (row,) = analyze(nn.LSTM(10, 20, batch_first=True), (50, 10)).layers
    weights = 4 * 20 * (10 + 20 + 2)
    assert (row.uses, row.counts.per_use, row.counts.unshared) == (1, weights, 50 * weights)


def test_the_steps_of_a_cell_that_a_loop_calls_are_uses() -> None:
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


def test_one_module_under_four_names() -> None:
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


def test_a_tie_by_attribute() -> None:
    weight = nn.Parameter(torch.randn(5, 3))
    report = analyze(Registers(weight, weight), (3,))
    assert (report.totals.shared, report.totals.per_use) == (15, 30)
    assert report.ties == (Tie(("one", "other"), 15),)


def test_two_parameters_on_one_storage() -> None:
    weight = torch.randn(5, 3)
    report = analyze(Registers(nn.Parameter(weight), nn.Parameter(weight)), (3,))
    assert (report.totals.shared, report.totals.per_use) == (15, 30)
    assert report.ties == (Tie(("one", "other"), 15),)


def test_parameters_that_overlap_in_part() -> None:
    weight = torch.randn(8, 3)
    report = analyze(Registers(nn.Parameter(weight[:5]), nn.Parameter(weight[3:])), (3,))
    assert (report.totals.shared, report.totals.per_use, report.totals.used) == (24, 30, 24)
    assert report.ties == (Tie(("one", "other"), 6),)


def test_parameters_side_by_side_in_one_storage_are_not_tied() -> None:
    weight = torch.randn(8, 3)
    report = analyze(Registers(nn.Parameter(weight[:4]), nn.Parameter(weight[4:])), (3,))
    assert (report.totals.shared, report.totals.per_use) == (24, 24)
    assert report.ties == ()


def test_a_tied_row_names_the_layer_that_counts_its_weights() -> None:
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


def test_slices_of_a_bank_are_counted_once_each_and_the_rest_is_unused() -> None:
    def steps(x: Tensor, bank: Tensor) -> Tensor:
        for index in (0, 3, 3, 7):
            x = F.linear(x, bank[index])
        return x

    totals = counted(steps, (6,), bank=torch.randn(8, 6, 6)).totals
    assert (totals.shared, totals.used, totals.unused) == (8 * 36, 3 * 36, 5 * 36)
    assert totals.per_use == totals.unshared == 4 * 36


def test_a_transposed_view_is_the_same_weight() -> None:
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
    ],
)
def test_functions_on_parameters(
    function: Callable[..., Tensor], size: tuple[int, ...], weight: Tensor, unshared: int
) -> None:
    totals = counted(lambda x, w: function(x, w), size, w=weight).totals
    assert (totals.shared, totals.per_use, totals.unshared) == (weight.numel(), weight.numel(), unshared)


def test_a_cast_weight_is_the_weight() -> None:
    totals = counted(lambda x, w: x.bfloat16() @ w.bfloat16(), (5, 4), w=torch.randn(4, 3)).totals
    assert (totals.shared, totals.unshared) == (12, 60)


def test_weight_norm_new_and_old() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old = nn.utils.weight_norm(nn.Conv2d(2, 4, 3))
    for model in (parametrizations.weight_norm(nn.Conv2d(2, 4, 3)), old):
        report = analyze(model, (2, 8, 8))
        assert report.warnings == ()
        assert report.totals.shared == report.totals.per_use == 72 + 4 + 4  # directions, lengths, biases
        assert report.totals.unshared == 36 * 80


def test_other_parametrizations() -> None:
    class Symmetric(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            return w.triu() + w.triu(1).transpose(-1, -2)

    symmetric = nn.Linear(4, 4)
    nn.utils.parametrize.register_parametrization(symmetric, "weight", Symmetric())
    for model in (symmetric, parametrizations.spectral_norm(nn.Linear(4, 4))):
        totals = analyze(model, (7, 4)).totals
        assert (totals.shared, totals.per_use, totals.unshared, totals.unused) == (20, 20, 140, 0)


def test_a_lora_has_its_own_factors_at_each_site() -> None:
    def lora(x: Tensor, w: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return F.linear(x, w + b @ a)

    weights = {"w": torch.randn(12, 10), "a": torch.randn(2, 10), "b": torch.randn(12, 2)}
    totals = counted(lora, (3, 10), **weights).totals
    assert totals.shared == totals.per_use == 120 + 20 + 24
    assert totals.unshared == 3 * (120 + 20 + 24)
    assert totals.macs == 3 * 120 + 12 * 2 * 10


def test_a_class_token_has_one_site_and_positions_one_each() -> None:
    def tokens(x: Tensor, cls: Tensor, positions: Tensor) -> Tensor:
        return torch.cat([cls.expand(x.shape[0], -1, -1), x], 1) + positions[:, : x.shape[1] + 1]

    totals = counted(tokens, (4, 6), cls=torch.zeros(1, 1, 6), positions=torch.zeros(1, 10, 6)).totals
    assert (totals.shared, totals.used, totals.unshared, totals.unused) == (66, 36, 36, 30)


def test_a_weight_that_is_written_into_data_is_used_and_one_that_is_overwritten_is_not() -> None:
    def written(x: Tensor, w: Tensor, lost: Tensor) -> Tensor:
        buffer = x.new_zeros(x.shape)
        buffer[:, 0] = lost
        buffer[:] = x
        buffer[:, 1] = w
        return buffer

    totals = counted(written, (3, 4), w=torch.randn(4), lost=torch.randn(4)).totals
    assert (totals.used, totals.unshared, totals.unused) == (4, 4, 4)


def test_a_weight_that_is_changed_in_place_after_a_copy_is_one_weight() -> None:
    def scaled(x: Tensor, w: Tensor) -> Tensor:
        own = w.clone().mul_(2)
        own[1].add_(1)
        return x @ own

    totals = counted(scaled, (3, 4), w=torch.randn(4, 4)).totals
    assert (totals.per_use, totals.unshared) == (16, 48)


def test_a_constant_written_into_a_part_of_a_copy_leaves_the_rest_in_use_and_into_all_of_it_nothing() -> None:
    def masked(x: Tensor, w: Tensor, gone: Tensor) -> Tensor:
        weight, bias = w.clone(), gone.clone()
        weight[2:4] = 0
        bias.zero_()
        return F.linear(x, weight, bias)

    totals = counted(masked, (3, 4), w=torch.randn(6, 4), gone=torch.randn(6)).totals
    assert (totals.used, totals.unshared, totals.unused) == (24, 72, 6)


def test_an_embedding_of_fixed_positions_is_live_where_it_is_selected() -> None:
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


def test_lazy_layers_take_their_size_from_the_input() -> None:
    model = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyConv1d(3, 1))
    totals = analyze(model, (2, 7)).totals
    assert totals.shared == totals.per_use == 40 + 9
    assert isinstance(model[0].weight, nn.UninitializedParameter)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # the compiler's own
def test_compiled_modules_and_functions_are_what_they_were_compiled_from() -> None:
    inner = nn.Linear(4, 4)
    compiled = nn.Sequential(torch.compile(inner), nn.ReLU(), inner)
    report = analyze(compiled, (4,))
    assert [(row.name, row.kind, row.uses) for row in report.layers] == [("0", "Linear", 2)]
    in_place = nn.Linear(4, 4)
    in_place.compile()
    assert analyze(in_place, (4,)).totals.unshared == 20
    assert counted(torch.compile(lambda x, w: x @ w), (3, 4), w=torch.randn(4, 5)).totals.unshared == 60


# What cannot be seen.


def test_a_number_read_out_of_the_data_is_an_assumption_with_its_place() -> None:
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
    assert assumed_1.startswith("1 (Reads) reads a number out of the data (as `.item()` does), taken to be 1.0: ")
    assert assumed_false.startswith("1 (Reads) reads a number out of the data (as `.item()` does), taken to be False: ")


def test_a_number_read_out_of_weights_or_constants_is_told_apart() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))
            self.register_buffer("times", torch.tensor(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale.item() * int(self.times)

    report = analyze(Scaled(), (4,))
    assert report.totals.unused == 1
    assert [line.partition(", taken")[0] for line in report.warnings] == [
        "(model) (Scaled) reads a number out of weights (as `.item()` does)",
        "(model) (Scaled) reads a number out of a constant (as `.item()` does)",
    ]


def test_a_mixture_of_experts_is_counted_as_if_every_token_went_to_every_expert() -> None:
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
def test_what_selects_by_value_is_named(function: Callable[..., Tensor], what: str) -> None:
    (said,) = analyze(Function(function, w=torch.ones(1)), (4,)).warnings
    assert what in said


def test_an_operation_without_a_rule_is_named_and_not_left_out() -> None:
    def sorted_in(x: Tensor, w: Tensor) -> Tensor:
        return torch.searchsorted(w, x)

    report = analyze(Function(sorted_in, w=torch.arange(5.0)), (3,))
    assert report.totals.unshared == 5
    (said,) = report.warnings
    assert said.startswith("(model) (Function) uses weights in aten.searchsorted, for which no rule is known")


def test_parameters_in_a_list_are_counted_and_said_to_be_unregistered() -> None:
    class Hides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [nn.Parameter(torch.randn(3, 3))]

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.hidden[0]

    report = analyze(Hides(), (3,))
    assert report.totals.shared == 9
    assert report.warnings[0].startswith("hidden holds parameters that `model.parameters()` does not give")
