"""Values which a pass on the meta device lacks are assumed, and reported with their place."""

import random
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paramshare import DynamicNet, analyze, untie
from support.models.function_models import Function, counted, refusal


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


def test_list_of_values_is_refused() -> None:
    assert "(model) (Function) cannot be traced without values" in refusal(lambda x, w: w * sum(x[0].tolist()))


def test_refusal_after_an_assumption_names_the_assumption() -> None:
    said = refusal(lambda x, w: x[:, : int(x.sum())] * w[:2] * x[:, 1:] * w)
    assert said.endswith(
        "; an assumption may be the cause: (model) (Function) reads a number from the data (as `.item()` does), "
        "assumed to be 1.0"
    )


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
    (axis, said) = report.warnings
    assert axis.startswith("the first axis of the input x=5×6 is counted as 5 positions of one sample")
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


@pytest.mark.parametrize("compare", [torch.equal, torch.allclose])
def test_comparison_of_tensors_is_computed_if_known_and_else_assumed(compare: Callable[[Tensor, Tensor], bool]) -> None:
    class Compared(nn.Module):
        def __init__(self, known: bool) -> None:
            super().__init__()
            self.layer, self.known, self.ones = nn.Linear(4, 4), known, nn.Buffer(torch.ones(1, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) if compare(self.ones if self.known else x, torch.ones(1, 4)) else x

    known, unknown = (analyze(Compared(known), (4,)) for known in (True, False))
    assert (known.totals.macs, known.warnings) == (16, ())
    assert unknown.totals.macs == 0
    assert "reads a number from the data (as `.item()` does), assumed to be False" in unknown.warnings[0]


LOSSES: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda x, w: F.ctc_loss(x.log_softmax(-1)[0][:, None] * w, torch.ones(1, 2).long(), *torch.tensor([[4], [2]])),
    lambda x, w: torch.fake_quantize_per_tensor_affine(x * w, 0.1, 0, 0, 255),
    lambda x, w: x * torch.fake_quantize_per_tensor_affine(w, torch.tensor(0.1), torch.tensor(0), 0, 255),
]


@pytest.mark.parametrize("function", LOSSES)
def test_operations_of_training_without_a_meta_kernel_are_counted(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert counted(function, (4, 4), w=torch.randn(4)).totals.unshared == 16
