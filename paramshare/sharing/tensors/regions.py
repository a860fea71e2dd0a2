"""Regions of a storage: the elements that a tensor covers, their number, and the union of several regions."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Region",
    "claims",
    "covered",
    "covered_twice",
    "densest",
    "region_of",
    "regions_of",
    "size_of",
    "storage_of",
    "within",
]

_MOST_RUNS: Final = 1 << 12


class Region(NamedTuple):
    """The elements that a tensor covers in its storage, without its shape: a matrix and its transpose are one region.

    Args:
        offset: position of the first element.
        dims: (stride, length) of each direction with more than one element, the innermost first; contiguous directions
            are joined.
    """

    offset: int
    dims: tuple[tuple[int, int], ...]


def storage_of(tensor: Tensor) -> int:
    """Return the address of a tensor's storage, which identifies the storage during its lifetime."""
    return int(tensor.untyped_storage()._cdata)


def elements_of(tensor: Tensor) -> int:
    """Return the number of elements of a tensor's storage."""
    return int(tensor.untyped_storage().nbytes() // max(tensor.element_size(), 1))


def region_of(tensor: Tensor, element: int | None = None) -> Region:
    """Return the region that `tensor` covers.

    Args:
        tensor: any strided tensor.
        element: bytes of the elements that the region is counted in, for a view of another type (complex numbers as
            pairs). Defaults to the element size of `tensor`.
    """
    offset, shape, strides = int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()
    own = tensor.element_size()
    if element is None or element == own:
        return _region(offset, shape, strides)
    if own > element:
        times = own // element
        return _region(offset * times, (*shape, times), (*(stride * times for stride in strides), 1))
    return _coarser(_region(offset, shape, strides), element // own)


@lru_cache(maxsize=4096)
def size_of(region: Region) -> int:
    """Return the number of distinct elements of a region; overlapping windows share elements."""
    size, span = 1, 1
    for stride, length in region.dims:
        if stride < span and size:
            return _union(*_runs(region))
        size, span = size * length, span + stride * (length - 1)
    return size


def claims(users: Sequence[Iterable[Region]]) -> list[dict[int, int]]:
    """Return the elements of one storage that each user covers, grouped by the first user that covers them.

    Args:
        users: the regions of each user, in order.

    Returns:
        For each user, the number of elements by the number of the first user that covers them. Elements that the user
        covers first stand under its own number.
    """
    each = [dict.fromkeys(regions) for regions in users]
    different = {region for regions in each for region in regions}
    if len(different) == 1:
        first, size = next(number for number, regions in enumerate(each) if regions), size_of(*different)
        return [{first: size} if regions else {} for regions in each]
    claimed: list[dict[int, int]] = [{} for _ in each]
    if different:
        user, segment, lengths = _segments(each)
        first_user = torch.full((len(lengths),), len(each)).scatter_reduce(0, segment, user, "amin")
        pairs, place = (user * len(each) + first_user[segment]).unique(return_inverse=True)  # type: ignore[no-untyped-call]
        elements = torch.zeros(len(pairs), dtype=torch.int64).index_add(0, place, lengths[segment])
        for pair, size in zip(pairs.tolist(), elements.tolist(), strict=True):
            claimed[pair // len(each)][pair % len(each)] = size
    return claimed


def covered(regions: Iterable[Region]) -> int:
    """Return the number of distinct elements of one storage that the regions cover together."""
    different = set(regions)
    if len(different) == 1:
        return size_of(next(iter(different)))
    runs = [_runs(region) for region in different]
    return _union(torch.cat([starts for starts, _ in runs]), torch.cat([stops for _, stops in runs])) if runs else 0


def covered_twice(regions: Iterable[Region]) -> int:
    """Return the number of elements of one storage that at least two of the regions cover."""
    each = list(regions)
    if len(set(each)) == 1:
        return size_of(each[0]) if len(each) > 1 else 0
    runs = [_disjoint(*_runs(region)) for region in each]
    places = torch.cat([starts for starts, _ in runs] + [stops for _, stops in runs])
    steps = torch.ones(len(places), dtype=torch.int64)
    steps[len(places) // 2 :] = -1
    places, order = places.sort()
    depth = steps[order].cumsum(0)
    return int((places.diff() * (depth[:-1] >= 2)).sum())


def densest(users: Sequence[Sequence[Region]], densities: Sequence[float]) -> int:
    """Return the number of copies if every element of one storage has the maximum over the users that cover it.

    Args:
        users: the regions of each user.
        densities: the number of copies of an element that each user has.
    """
    user, segment, lengths = _segments(users)
    of_each = torch.tensor(densities, dtype=torch.float64)
    most = torch.zeros(len(lengths), dtype=torch.float64).scatter_reduce(0, segment, of_each[user], "amax")
    return round(float((most * lengths).sum()))


def within(region: Region, bounds: Region) -> Region | None:
    """Return the part of `region` that lies in `bounds`.

    Returns:
        None if `bounds` has holes, or if `bounds` cuts a row of `region`.
    """
    dims = region.dims or ((1, 1),)
    if bounds.dims and (len(bounds.dims) > 1 or bounds.dims[0][0] != 1):
        return None
    start, stop = bounds.offset, bounds.offset + size_of(bounds)
    *inner, (stride, length) = dims
    span = 1 + sum(step * (count - 1) for step, count in inner)
    first = max(0, -((region.offset - start) // stride))
    last = min(length - 1, (stop - span - region.offset) // stride)
    strides, lengths = zip(*inner, (stride, max(0, last - first + 1)), strict=True)
    part = _region(region.offset + first * stride, lengths, strides)
    return part if size_of(part) == size_of(region) + size_of(bounds) - covered((region, bounds)) else None


def regions_of(positions: Tensor) -> list[Region] | None:
    """Return regions that cover the given positions of a storage.

    Args:
        positions: distinct positions in ascending order.

    Returns:
        One region if runs of one length begin at equal distances, else a region for each run; None for too many runs.
    """
    if not len(positions):
        return [_region(0, (0,), (1,))]
    first = torch.cat([torch.tensor([True]), positions.diff() != 1])
    starts = positions[first]
    lengths = torch.cat([first.nonzero().flatten(), torch.tensor([len(positions)])]).diff()
    gaps = starts.diff()
    if bool((lengths == lengths[0]).all()) and bool((gaps == gaps[:1]).all()):
        gap = int(gaps[0]) if len(gaps) else 0
        return [_region(int(starts[0]), (len(starts), int(lengths[0])), (gap, 1))]
    if len(starts) > _MOST_RUNS:
        return None
    return [_region(start, (length,), (1,)) for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)]


@lru_cache(maxsize=4096)
def _region(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Region:
    if 0 in shape:
        return Region(offset, ((1, 0),))
    pairs = sorted((stride, length) for stride, length in zip(strides, shape, strict=True) if length > 1 and stride)
    dims: list[tuple[int, int]] = []
    for stride, length in pairs:
        if dims and stride == dims[-1][0] * dims[-1][1]:
            dims[-1] = (dims[-1][0], dims[-1][1] * length)
        else:
            dims.append((stride, length))
    return Region(offset, tuple(dims))


@lru_cache(maxsize=4096)
def _runs(region: Region) -> tuple[Tensor, Tensor]:
    """Return the region as contiguous intervals, which may overlap: starts and stops, (runs,) each."""
    dims, run = list(region.dims), 1
    while dims and dims[0][0] <= run:
        stride, length = dims.pop(0)
        run += stride * (length - 1)
    starts = torch.tensor([region.offset])
    for stride, length in dims:
        starts = (starts[:, None] + stride * torch.arange(length)).flatten()
    return starts, starts + run


def _coarser(region: Region, times: int) -> Region:
    """Return the region of all elements of `times` the size that `region` touches."""
    lengths, strides = [], []
    for stride, length in region.dims:
        whole = stride % times == 0
        lengths.append(length if whole else (region.offset % times + stride * (length - 1)) // times + 1)
        strides.append(stride // times if whole else 1)
    return _region(region.offset // times, tuple(lengths), tuple(strides))


def _segments(users: Sequence[Iterable[Region]]) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a storage into segments at every place where a region begins or ends.

    Returns:
        The distinct pairs of a user and a segment that the user covers, as two tensors of (pairs,); and the lengths of
        the segments.
    """
    runs = [(number, *_runs(region)) for number, regions in enumerate(users) for region in regions]
    starts, stops = torch.cat([starts for _, starts, _ in runs]), torch.cat([stops for _, _, stops in runs])
    owner = torch.cat([torch.full_like(starts, number) for number, starts, _ in runs])
    cuts: Tensor = torch.cat([starts, stops]).unique()  # type: ignore[no-untyped-call]
    first, past = torch.searchsorted(cuts, starts), torch.searchsorted(cuts, stops)
    run = torch.arange(len(starts)).repeat_interleave(past - first)
    before = (past - first).cumsum(0) - (past - first)
    segment = torch.arange(len(run)) - before[run] + first[run]
    pairs: Tensor = (owner[run] * len(cuts) + segment).unique()  # type: ignore[no-untyped-call]
    return pairs // len(cuts), pairs % len(cuts), cuts.diff()


def _disjoint(starts: Tensor, stops: Tensor) -> tuple[Tensor, Tensor]:
    """Return the intervals [start, stop) sorted and without overlaps."""
    starts, order = starts.sort()
    stops = stops[order].cummax(0).values
    if len(starts):
        starts = torch.cat([starts[:1], torch.maximum(starts[1:], stops[:-1])])
    return starts, stops


def _union(starts: Tensor, stops: Tensor) -> int:
    """Return the length of the union of the intervals."""
    starts, stops = _disjoint(starts, stops)
    return int((stops - starts).sum())
