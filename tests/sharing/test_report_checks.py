"""A contradictory report has a warning, and random programs count like their elements unrolled.

The programs are linear layers, scales and products of matrices that are joined from views of two parameters,
which can be tied in whole or in part. The oracle runs the same program on the numbers of the parameters' elements.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paramshare import analyze
from paramshare.sharing.inputs.sample import example_inputs
from paramshare.sharing.report_checks import contradictions, unlinked_products
from paramshare.sharing.tensors.copies import meta_clone
from paramshare.sharing.tracing.trace import trace

MODEL = nn.Sequential(nn.Linear(4, 4), nn.Conv1d(6, 2, 3), nn.ConvTranspose1d(2, 2, 2))


def test_consistent_report_has_no_warning() -> None:
    report = analyze(MODEL, (6, 4))
    assert report.warnings == tuple(contradictions(report.layers, report.totals, report.totals.shared)) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"used": 21}, "0: used is 21, per_use 20 and unshared 120; expected used <= per_use <= unshared: do not rely"),
        ({"per_use": 121}, "0: used is 20, per_use 121 and unshared 120; expected used <= per_use <= unshared: do not"),
        (
            {"unshared_live": 121},
            "0: unshared_live is 121 and unshared 120; expected unshared_live <= unshared: do not",
        ),
    ],
)
def test_contradictory_row_is_named(change: dict[str, Any], said: str) -> None:
    report = analyze(MODEL, (6, 4))
    first = replace(report.layers[0], counts=replace(report.layers[0].counts, **change))
    (line,) = contradictions([first, *report.layers[1:]], report.totals, report.totals.shared)
    assert line.startswith(said)


def test_contradictory_totals_are_named() -> None:
    report = analyze(MODEL, (6, 4))
    wrong = replace(report.totals, unshared_live=10_000)
    live, shared = contradictions(report.layers, wrong, report.totals.shared - 1)
    assert live.startswith("the total: unshared_live is 10,000 and unshared 218; expected")
    assert shared.startswith(
        "the total: shared is 68; expected the 67 elements of the parameters: do not rely on these"
    )


def test_linear_layer_whose_macs_differ_from_its_links_is_named() -> None:
    clone = meta_clone(MODEL)
    seen = trace(clone, example_inputs(clone, (6, 4)))
    assert list(unlinked_products(clone, seen)) == []
    (line,) = unlinked_products(clone, replace(seen, macs={**seen.macs, "1": 71}))
    assert line.startswith("1 has 71 multiply-accumulates and 72 links; expected equal numbers: do not rely on these")


# Random programs.

Matrix = Callable[[Tensor, Tensor], Tensor]
ROWS = 3


@dataclass(frozen=True)
class Step:
    """One step of a program: what is done to new data with one or two matrices, and how often."""

    kind: Literal["linear", "scale", "product"]
    matrices: tuple[Matrix, ...]
    times: int

    def run(self, x: Tensor, w: Tensor, v: Tensor) -> Tensor:
        one, *others = (matrix(w, v) for matrix in self.matrices)
        if self.kind == "scale":
            return x[..., : one.shape[1]] * one[0]
        if self.kind == "product":
            inner = min(one.shape[1], others[0].shape[1])
            one = one[:, :inner] @ others[0][:, :inner].t()
        return x[..., : one.shape[1]] @ one.t()

    def copies(self, w: Tensor, v: Tensor) -> Counter[int]:
        """How many copies of each element one site of this step has, by the elements' numbers; 0 is a constant."""
        each = [matrix(w, v) for matrix in self.matrices]
        if self.kind == "scale":
            each = [each[0][:1]]
        if self.kind == "product":
            inner = min(numbers.shape[1] for numbers in each)
            each = [numbers[:, :inner] for numbers in each]
        copies: Counter[int] = Counter()
        for numbers in each:
            copies |= Counter(int(number) for number in numbers.flatten() if number > 0)  # one site needs the larger
        return copies


class Program(nn.Module):
    """Steps with two parameters."""

    def __init__(self, w: nn.Parameter, v: nn.Parameter, steps: Sequence[Step]) -> None:
        super().__init__()
        self.w, self.v, self.steps = w, v, steps

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([step.run(x, self.w, self.v).sum() for step in self.steps for _ in range(step.times)])


@st.composite
def matrices(draw: st.DrawFn, plain: bool) -> Matrix:
    """Views of the two parameters, one below the other; plain ones can be cut and stay known to the element."""
    first, count = draw(st.integers(0, 2)), draw(st.integers(1, 4))
    which = draw(st.lists(st.booleans(), min_size=1, max_size=1 if plain else 3))
    changes: list[Callable[[Tensor], Tensor]] = [lambda m: m, lambda m: m[first : first + count], lambda m: m.t()]
    turns: list[Callable[[Tensor], Tensor]] = [
        lambda m: m.flip(1), lambda m: m.roll(1, 0), lambda m: m.repeat(2, 1), lambda m: m * 1.0, lambda m: m.rot90(),
    ]  # fmt: skip
    change = draw(st.sampled_from(changes if plain else [*changes, *turns]))

    def below(w: Tensor, v: Tensor) -> Tensor:
        each = [change(w if of_first else v) for of_first in which]
        if len(each) == 1:
            return each[0]
        width = max(m.shape[1] for m in each)
        return torch.cat([nn.functional.pad(m, (0, width - m.shape[1])) for m in each])

    return below


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """One kind of step, once or in a loop."""
    kind = draw(st.sampled_from(["linear", "scale", "product"]))
    plain = kind != "linear"
    several = tuple(draw(matrices(plain)) for _ in range(2 if kind == "product" else 1))
    return Step(kind, several, draw(st.integers(1, 3)))


def tied(how: str) -> tuple[tuple[nn.Parameter, nn.Parameter], tuple[Tensor, Tensor]]:
    """Two matrices, and the numbers of their elements: apart, one and the same, or with two rows in common."""
    rows = torch.randn(7, 5)
    numbers = torch.arange(1.0, 36.0).view(7, 5)
    if how == "apart":
        return (nn.Parameter(rows[:4].clone()), nn.Parameter(rows[3:].clone())), (numbers[:4], numbers[3:] + 100)
    if how == "same":
        w = nn.Parameter(rows[:4])
        return (w, w), (numbers[:4], numbers[:4])
    return (nn.Parameter(rows[:4]), nn.Parameter(rows[2:6])), (numbers[:4], numbers[2:6])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["apart", "same", "in part"]), st.lists(steps(), min_size=1, max_size=5))
def test_random_programs_count_like_their_elements_unrolled(how: str, program: list[Step]) -> None:
    parameters, numbers = tied(how)
    each = [step.copies(*numbers) for step in program for _ in range(step.times)]
    report = analyze(Program(*parameters, program), (ROWS, 12))
    totals = report.totals
    assert report.warnings == ()
    assert totals.shared == len(set(torch.cat(numbers).flatten().tolist()))
    assert totals.used == totals.shared - totals.unused == len(set().union(*each))
    assert totals.per_use == sum(map(len, each))
    assert totals.unshared == ROWS * sum(map(Counter.total, each))


@settings(max_examples=200, deadline=None)
@given(matrices(plain=False), st.integers(0, 5), st.integers(1, 5), st.integers(0, 3), st.integers(1, 4))
def test_window_of_any_matrix_counts_like_its_elements_or_has_a_warning(
    matrix: Matrix, top: int, height: int, left: int, width: int
) -> None:
    def window(w: Tensor, v: Tensor) -> Tensor:
        whole = matrix(w, v)
        rows, columns = min(top, whole.shape[0] - 1), min(left, whole.shape[1] - 1)
        return whole[rows : rows + height, columns : columns + width]

    parameters, numbers = tied("apart")
    step = Step("linear", (window,), 1)
    copies = step.copies(*numbers)
    report = analyze(Program(*parameters, [step]), (ROWS, 12))
    right = (len(copies), len(copies), ROWS * copies.total())
    counted = (report.totals.used, report.totals.per_use, report.totals.unshared)
    assert counted == right or "is an estimate" in report.warnings[-1] or "expected used" in report.warnings[0]


def test_part_of_a_rearranged_weight_is_reported_as_an_estimate() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 6))

        def forward(self, x: Tensor) -> Tensor:
            return x @ (self.w.repeat(2, 1) + self.w[:1])[:, :3].t()

    said = "(model) (Part) uses a part of a rearranged weight: the number of elements of that part is an estimate"
    assert said in analyze(Part(), (3, 3)).warnings
