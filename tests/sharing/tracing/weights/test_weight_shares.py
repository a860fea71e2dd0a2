"""An operand joined from several views of a weight is one use of their union, with a copy for each place.

The oracle numbers the elements of the weight and joins the numbers.
"""

from collections.abc import Callable

import numpy
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paramshare import analyze
from paramshare.sharing.report import Counts

Operand = Callable[[Tensor], Tensor]


class Linears(nn.Module):
    """Linear functions of the data, each with a matrix derived from one parameter."""

    def __init__(self, weight: Tensor, *operands: Operand) -> None:
        super().__init__()
        self.weight, self.operands = nn.Parameter(weight), operands

    def forward(self, x: Tensor) -> Tensor:
        products = [x[..., : m.shape[1]] @ m.t() for m in (operand(self.weight) for operand in self.operands)]
        return torch.stack([product.sum() for product in products]).sum()


def check(weight: Tensor, *operands: Operand, rows: int = 6) -> Counts:
    """Compare the counts with the numbers of the elements in each operand; 0 is a constant."""
    numbers = torch.arange(1, weight.numel() + 1, dtype=weight.dtype).view(weight.shape)
    each = [operand(numbers).flatten() for operand in operands]
    distinct = [places[places > 0].unique().numel() for places in each]
    width = max(operand(numbers).shape[1] for operand in operands)
    report = analyze(Linears(weight, *operands), (rows, width))
    used = torch.cat(each)
    assert report.warnings == ()
    assert report.totals.used == used[used > 0].unique().numel()
    assert report.totals.shared == weight.numel()
    assert report.totals.per_use == sum(distinct)
    assert report.totals.unshared == rows * sum(int((places > 0).sum()) for places in each)
    return report.totals


@pytest.mark.parametrize(
    ("operand", "unshared"),
    [
        (lambda w: torch.cat([w, w]), 384),
        (lambda w: torch.cat([w, w], 1), 384),
        (lambda w: w.repeat(2, 1), 384),
        (lambda w: torch.stack([w, w]).flatten(0, 1), 384),
        (lambda w: torch.hstack([w, w, w]), 576),
        (lambda w: torch.block_diag(w, w), 384),
        (lambda w: torch.cat([w, w.roll(1, 0)]), 384),
        (lambda w: torch.cat([w.rot90(k).reshape(4, 8) for k in range(4)]), 768),
        (lambda w: torch.cat([w, w.flip(1), w * 1.0]), 576),
        (lambda w: torch.cat([w[:3], w[1:]]), 288),
        (lambda w: torch.cat([w, w])[:4], 192),
        (lambda w: torch.cat([w[:2], w.new_zeros(2, 8), w[2:]])[1:6], 144),
        (lambda w: torch.cat([w, w], 1)[:, :8], 192),
        (lambda w: torch.cat([w.clone()[1:3], w[:2]]), 192),
        (lambda w: torch.cat([torch.cat([w, w]), w]), 576),
        (lambda w: F.pad(w[None], (1, 1), mode="replicate")[0], 240),
        (lambda w: F.pad(w[None], (2, 1), mode="reflect")[0], 264),
        (lambda w: F.pad(w[None], (2, 2), mode="circular")[0], 288),
        (lambda w: F.unfold(w[None, None], (2, 2))[0], 6 * 4 * 3 * 7),
    ],
)
def test_derived_weight_has_a_copy_for_each_place(operand: Operand, unshared: int) -> None:
    assert check(torch.randn(4, 8), operand).unshared == unshared


@pytest.mark.parametrize(
    ("operand", "used", "unshared"),
    [
        (lambda w: w[[0, 2]], 16, 96),
        (lambda w: w[[0, 2, 2]], 16, 144),
        (lambda w: w[torch.tensor([0, 2])], 16, 96),
        (lambda w: w[:, [1, 3, 4]], 12, 72),
        (lambda w: w[[True, False, True, False]], 16, 96),
        (lambda w: w[numpy.array([3, 1])], 16, 96),
        (lambda w: w.index_select(0, torch.tensor([3])), 8, 48),
        (lambda w: w[[0, 2]][[1]].roll(1, 1)[:, :3], 3, 18),
        (lambda w: (2 * w)[[0, 2]], 16, 96),
        (lambda w: w.t()[[0, 2]][:, [1, 3]], 4, 24),
    ],
)
def test_rows_that_a_fixed_index_selects_are_the_rows_that_are_used(operand: Operand, used: int, unshared: int) -> None:
    totals = analyze(Linears(torch.randn(4, 8), operand), (6, 8)).totals
    assert (totals.used, totals.per_use, totals.unshared, totals.unused) == (used, used, unshared, 32 - used)


def test_rows_that_a_buffer_selects_are_the_rows_that_are_used() -> None:
    class Selected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.rows = nn.Parameter(torch.randn(8, 4)), nn.Buffer(torch.tensor([1, 6, 6]))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.table[self.rows].t()

    totals = analyze(Selected(), (5, 4)).totals
    assert (totals.used, totals.per_use, totals.unshared, totals.unused) == (8, 8, 5 * 12, 24)


def test_no_row_that_an_empty_index_selects_is_used() -> None:
    totals = analyze(Linears(torch.randn(4, 8), lambda w: torch.cat([w[:1], w[[]]])), (6, 8)).totals
    assert (totals.used, totals.per_use, totals.unshared) == (8, 8, 48)


def test_two_views_of_a_weight_placed_side_by_side_are_two_copies() -> None:
    def written(w: Tensor) -> Tensor:
        out = w.new_zeros(8, 16)
        out[:4, :8] = w
        out[4:, 8:] = w
        return out

    assert check(torch.randn(4, 8), written).unshared == 6 * 64


def test_slice_of_a_cast_weight_is_that_slice() -> None:
    totals = check(torch.randn(9, 4), *(lambda w, n=n: (w * 1.0).chunk(3)[n] for n in (0, 2)))
    assert (totals.used, totals.per_use, totals.unused) == (24, 24, 12)


def test_filters_at_four_rotations_are_four_copies() -> None:
    class Rotations(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.filters = nn.Parameter(torch.randn(2, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, torch.cat([torch.rot90(self.filters, k, (2, 3)) for k in range(4)]))

    totals = analyze(Rotations(), (3, 7, 7)).totals
    assert (totals.per_use, totals.unshared, totals.macs) == (54, 4 * 25 * 54, 4 * 25 * 54)


@pytest.mark.parametrize(
    ("operand", "unshared"),
    [
        (lambda w: w.expand(3, 4, 8).reshape(12, 8), 576),
        (lambda w: (w * w.new_ones(3, 1, 1)).flatten(0, 1), 576),  # with constants, as by `expand`
        (lambda w: torch.kron(w.new_ones(2, 1), w), 384),
        (lambda w: w.repeat_interleave(2, 0), 384),
        (lambda w: w.unfold(1, 3, 1).flatten(0, 1), 6 * 4 * 6 * 3),
    ],
)
def test_broadcast_weight_has_a_copy_for_each_place(operand: Operand, unshared: int) -> None:
    totals = analyze(Linears(torch.randn(4, 8), operand), (6, 8)).totals
    assert (totals.per_use, totals.unshared) == (32, unshared)


@pytest.mark.parametrize(
    "operand",
    [
        lambda w: torch.stack([w.rot90(k) for k in range(4)]).mean(0),
        lambda w: torch.cat([w, w.flip(0)]).view(2, 4, 4).amax(0),
        lambda w: w / w.norm(),
        lambda w: w - w.mean(0),
        lambda w: w.softmax(1),
    ],
)
def test_value_computed_from_several_elements_has_one_copy_of_each(operand: Operand) -> None:
    totals = analyze(Linears(torch.randn(4, 4), operand), (6, 4)).totals
    assert (totals.per_use, totals.unshared) == (16, 96)


# Views that overlap and meet each other: one use of their union, and at each site one copy of an element.


@pytest.mark.parametrize(
    "operand",
    [
        lambda w: w * w.diagonal(),
        lambda w: w + w.t(),
        lambda w: w * w[:1],
        lambda w: w @ w[:, :2] @ w[:2],
        lambda w: w - 2 * (w @ w[:, :1]) @ w[:, :1].t(),
        lambda w: torch.linalg.householder_product(w.tril(-1), 2 / w.diagonal()),
    ],
)
def test_overlapping_views_that_are_multiplied_with_each_other_are_one_weight(operand: Operand) -> None:
    totals = analyze(Linears(torch.randn(4, 4), operand), (6, 4)).totals
    assert (totals.used, totals.per_use, totals.unshared, totals.unshared_live) == (16, 16, 96, 96)


def test_overlapping_views_that_cover_a_weight_in_part_are_one_use_of_their_union() -> None:
    totals = analyze(Linears(torch.randn(8, 4), lambda w: w[:5] * w[3:]), (6, 4)).totals
    assert (totals.used, totals.per_use, totals.unshared) == (32, 32, 6 * 32)


def test_a_parametrization_by_householder_reflections_uses_each_weight_once() -> None:
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="householder")
    totals = analyze(layer, (7, 4)).totals
    assert (totals.used, totals.per_use, totals.unshared) == (20, 20, 7 * 20)


# Random programs.


@st.composite
def views(draw: st.DrawFn) -> Operand:
    """Rows or columns of a matrix, or all of it, perhaps turned, transposed, copied or scaled."""
    first, count = draw(st.integers(0, 3)), draw(st.integers(1, 4))
    some = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    grid = torch.tensor([some, some[::-1]])
    slices: list[Operand] = [
        lambda w: w, lambda w: w[first : first + count], lambda w: w[:, first : first + count], lambda w: w[some],
        lambda w: w[:, some], lambda w: w.index_select(1, grid[1]), lambda w: w[grid, grid.flip(0)],
        lambda w: w.take(grid), lambda w: w.gather(0, grid), lambda w: w[torch.arange(6) % 2 == 0],
    ]  # fmt: skip
    changes: list[Operand] = [
        lambda m: m, lambda m: m.t(), lambda m: m.flip(0), lambda m: m.roll(1, 1), lambda m: m.clone(),
        lambda m: m.double().float(), lambda m: m.repeat(2, 1), lambda m: m.rot90(),
    ]  # fmt: skip
    cut, change = draw(st.sampled_from(slices)), draw(st.sampled_from(changes))
    return lambda w: change(cut(w))


@st.composite
def operands(draw: st.DrawFn) -> Operand:
    """Views of a matrix, put together one below the other or as blocks."""
    parts = draw(st.lists(views(), min_size=1, max_size=4))
    zeros = draw(st.booleans())

    def below(w: Tensor) -> Tensor:
        each = [part(w) for part in parts]
        width = max(m.shape[1] for m in each)
        return torch.cat([F.pad(m, (0, width - m.shape[1])) for m in each])

    def blocks(w: Tensor) -> Tensor:
        return torch.block_diag(*(part(w) for part in parts))

    return blocks if zeros else below


@settings(max_examples=80, deadline=None)
@given(st.lists(operands(), min_size=1, max_size=4), st.integers(1, 3))
def test_random_programs_over_one_weight_count_as_their_elements_unrolled(program: list[Operand], rows: int) -> None:
    check(torch.randn(6, 5), *program, rows=rows)


MOVES: list[Operand] = [
    lambda m: m, lambda m: m.roll(1, 0), lambda m: m.flip(1), lambda m: m.roll((1, 2), (0, 1)) * 1.0,
    lambda m: m.t().clone().t(),
    lambda m: torch.cat([m, m.flip(0)], 1)[:, 2:], lambda m: F.pad(m, (1, 2))[:, 1:], lambda m: m.repeat(2, 1),
    lambda m: m[[0, 0, -1]], lambda m: m[:, [2, 0, 1, 4, 4]][torch.arange(len(m)).flip(0)], lambda m: m.rot90(2),
    lambda m: m.t()[[4, 1, 0]].t().contiguous().roll(1, 1), lambda m: m.double().flip(0).float(),
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=4),
    st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(0, 3), st.integers(1, 5)),
    st.sampled_from(MOVES),
)
def test_window_of_stacked_rows_has_the_shares_within_it(
    rows: list[tuple[int, int]], window: tuple[int, int, int, int], change: Operand
) -> None:
    """A window has the elements that it shows, however the rows below it were moved."""
    top, height, left, width = window

    def seen(w: Tensor) -> Tensor:
        below = change(torch.cat([w[first : first + count] * 1.0 for first, count in rows]))
        return below[min(top, below.shape[0] - 1) :][:height, min(left, below.shape[1] - 1) :][:, :width]

    check(torch.randn(6, 5), seen, rows=2)
