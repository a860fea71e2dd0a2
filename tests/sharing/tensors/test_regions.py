"""Regions are sets of elements: sizes and overlaps equal those of the places that indexing reaches."""

from collections import Counter

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from paramshare.sharing.tensors.regions import claims, covered, covered_twice, region_of, size_of, within


def reached(view: Tensor) -> set[int]:
    """Return the elements of its storage that a view covers, read from the view itself."""
    numbers = torch.arange(view.untyped_storage().nbytes() // view.element_size())
    return set(numbers.as_strided(view.size(), view.stride(), view.storage_offset()).flatten().tolist())


@st.composite
def views(draw: st.DrawFn) -> Tensor:
    """A view of a storage of 256 elements: strided, transposed, expanded, overlapping, or empty."""
    shape = draw(st.lists(st.integers(0 if draw(st.booleans()) else 1, 4), max_size=4))
    strides = [draw(st.integers(0, 12)) for _ in shape]
    return torch.empty(256).as_strided(shape, strides, draw(st.integers(0, 30)))


exact = settings(max_examples=150, deadline=None)


@exact
@given(views())
def test_size_of_a_region_equals_the_elements_of_its_view(view: Tensor) -> None:
    assert size_of(region_of(view)) == len(reached(view))


@exact
@given(st.lists(views(), max_size=5))
def test_union_of_regions_equals_the_union_of_their_views(drawn: list[Tensor]) -> None:
    assert covered(map(region_of, drawn)) == len(set().union(*map(reached, drawn)))


@exact
@given(st.lists(st.lists(views(), max_size=2), max_size=5))
def test_an_element_is_claimed_by_the_first_user_that_covers_it(drawn: list[list[Tensor]]) -> None:
    each: list[set[int]] = [set().union(*map(reached, user)) for user in drawn]
    first = {place: number for number, places in reversed(list(enumerate(each))) for place in places}
    claimed_by = claims([map(region_of, user) for user in drawn])
    assert [+Counter(claimed) for claimed in claimed_by] == [
        Counter(first[place] for place in places) for places in each
    ]


@pytest.mark.parametrize("drawn", [torch.randn(6, dtype=torch.complex64), torch.randn(6, 2).int()])
def test_view_of_another_dtype_is_counted_in_elements_of_its_storage(drawn: Tensor) -> None:
    size = drawn.element_size()
    other = torch.view_as_real(drawn) if drawn.is_complex() else drawn.view(torch.int64)
    assert region_of(other, size) == region_of(drawn)
    assert region_of(other[2:5], size) == region_of(drawn[2:5])
    assert size_of(region_of(other[..., 0], size)) == drawn.numel()


@exact
@given(st.lists(views(), min_size=1, max_size=5))
def test_elements_covered_twice_are_the_elements_of_two_views(drawn: list[Tensor]) -> None:
    times = [place for view in drawn for place in reached(view)]
    assert covered_twice([region_of(view) for view in drawn]) == len(
        {element for element in times if times.count(element) > 1}
    )


def test_a_matrix_its_transpose_and_its_flat_view_are_one_region() -> None:
    matrix = torch.empty(3, 5, 2)
    same = (matrix, matrix.permute(2, 0, 1), matrix.flatten(), matrix[None], matrix.expand(4, 3, 5, 2))
    assert len({region_of(view) for view in same}) == 1
    assert region_of(matrix[1:]) != region_of(matrix[:2])


@exact
@example(torch.empty(256).as_strided((2, 2), (1, 1), 0), 0, 1)  # rows that overlap, and none lies in it whole
@given(views(), st.integers(0, 60), st.integers(0, 60))
def test_part_of_a_region_within_an_interval_is_exact_or_none(view: Tensor, start: int, length: int) -> None:
    bounds = torch.empty(256)[start : start + length]
    part = within(region_of(view), region_of(bounds))
    if part is not None:
        places = {part.offset}
        for stride, count in part.dims:
            places = {place + stride * step for place in places for step in range(count)}
        assert places == reached(view) & reached(bounds)
