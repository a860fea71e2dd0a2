"""The share of a weight in a tensor that is derived from it, and the union of shares."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from paramshare.sharing.tensors.regions import Region, covered, densest, elements_of, regions_of, size_of
from paramshare.sharing.tracing.weights.places import LARGEST, Move, Places, positions_in

__all__ = ["Share", "View", "larger", "summed"]

_NUMBERS = ("copies", "live", "dense")


class View(NamedTuple):
    """A view of a part of a storage.

    Args:
        region: the region of the view.
        inner: the region of what the view has of the part; None if unknown.
        inside: the number of elements that the view has of the part.
    """

    region: Region
    inner: Region | None
    inside: int


@dataclass(frozen=True, slots=True)
class Share:
    """The share of a weight in a tensor.

    Args:
        storage, region: the storage and the region of the weight.
        elements: the number of distinct elements of the weight in the tensor.
        copies: the number of elements if each site of one use of the tensor has its own copy.
        live: the copies that meet data other than zero, or that a fixed index selects.
        dense: the copies without local connectivity.
        owner: the layer that selected the elements by a fixed index (an embedding of positions) and that counts the
            uses.
        more: other regions of the weight that overlap with `region`; the share covers the union.
        shift: the distance between an element's position in the weight's storage and in the tensor's storage. Defaults
            to None: the elements do not correspond one to one.
        places: the position in the weight's storage of each element of the tensor's storage, for elements that were
            moved in another way. Defaults to None: unknown, or given by `shift`.
        estimated: True if the numbers are a proportion of those of a larger tensor, since the elements in this part of
            the tensor are unknown.
        packed: True if bit operations unpacked the tensor: one stored element of the weight holds several elements.
    """

    storage: int
    region: Region
    elements: int
    copies: int
    live: int
    dense: int
    owner: str | None = None
    more: tuple[Region, ...] = ()
    shift: int | None = None
    places: Places | None = field(default=None, compare=False)
    estimated: bool = False
    packed: bool = False

    @property
    def regions(self) -> tuple[Region, ...]:
        """Return all regions that the share covers, which may overlap."""
        return (self.region, *self.more)

    @property
    def size(self) -> int:
        """Return the number of distinct elements of the regions."""
        return covered(self.regions) if self.more else size_of(self.region)

    def as_stored(self) -> "Share":
        """Return the share with one copy of each stored element at most, if the weight is packed."""
        return self.scaled(min(self.copies, self.size), max(self.copies, 1)) if self.packed else self

    def scaled(self, part: int, whole: int) -> "Share":
        """Return the share with its numbers multiplied by `part` / `whole`."""
        if part == whole:
            return self
        copies, live, dense = (number * part // whole for number in (self.copies, self.live, self.dense))
        return replace(self, elements=min(self.elements, copies), copies=copies, live=live, dense=dense)

    def part(self, view: "View | None", part: int, whole: int, elements: int) -> "Share":
        """Return the share of a view of the tensor.

        Args:
            view: the view; None if its place is unknown.
            part, whole: the view has `part` elements for every `whole` elements of the tensor.
            elements: the number of elements of the tensor.
        """
        if part == whole:
            return self
        everywhere = self.shift is not None and not self.more and self.size == elements
        if view is not None and view.inner is not None and self.shift is not None and everywhere:
            own, share = Region(view.inner.offset + self.shift, view.inner.dims), self.scaled(part, whole)
            return replace(share, region=own, elements=min(size_of(own), share.copies))
        if view is not None and size_of(view.region) <= LARGEST:
            places = positions_in(view.region)
            positions = self.positions(int(places.max()) + 1 if len(places) else 0)
            if positions is not None:
                count = int((positions() >= 0).sum()) if self.places is not None else self.size
                return self.picked(positions()[places], part * elements, whole * view.inside * max(count, 1))
        share = self.scaled(part, whole)
        even = self.copies == self.elements and self.copies % max(elements, 1) == 0  # each element once
        return share if even else replace(share, estimated=True)

    def picked(self, positions: Tensor, part: int, whole: int) -> "Share":
        """Return the share of a selection of the tensor's elements.

        Args:
            positions: the position in the weight's storage of each selected element; -1 for elements of no weight.
            part, whole: each selected element has `part` / `whole` of the copies of the tensor.
        """
        positions = positions[positions >= 0]
        distinct = positions.unique()  # type: ignore[no-untyped-call]
        number, regions = part * len(positions), regions_of(distinct)
        copies, live, dense = (each * number // whole for each in (self.copies, self.live, self.dense))
        share = replace(self, elements=min(len(distinct), copies), copies=copies, live=live, dense=dense)
        if regions is None:
            return replace(share, estimated=True)
        return replace(share, region=regions[0], more=tuple(regions[1:]))

    def moved(self, move: Move, source: Tensor, out: Tensor) -> "Share":
        """Return the share after the elements were moved from one tensor to another.

        Args:
            move: moves the elements.
            source, out: the tensors before and after.
        """
        before = self.positions(elements_of(source))
        places = None if before is None else Places.after(move, before, source, out)
        return replace(self, shift=None, places=places)

    def positions(self, elements: int) -> Callable[[], Tensor] | None:
        """Return a function that returns the position in the weight of each element of the tensor's storage.

        Args:
            elements: the number of elements of the storage.

        Returns:
            None if the positions are unknown. The position of an element of no weight is -1.
        """
        shift, places = self.shift, self.places
        if shift is None:
            return None if places is None else lambda: places.positions

        def shifted() -> Tensor:
            values = torch.full((elements,), -1)
            own = torch.cat([positions_in(region) for region in self.regions])
            own = own[(own >= shift) & (own < elements + shift)]
            values[own - shift] = own
            return values

        return shifted

    def unplaced(self) -> "Share":
        """Return the share without the places of the elements."""
        return self if self.shift is None and self.places is None else replace(self, shift=None, places=None)


def larger(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Return one share of each weight, in which every element has the maximum number of copies over the shares.

    Operands of an elementwise operation combine in this way: a site needs one copy of a weight, however many operands
    contain the weight.
    """
    return _joined(shares, _larger)


def summed(shares: Iterable[Share], elements: int = 0) -> tuple[Share, ...]:
    """Return one share of each weight with the sum of the copies, as for tensors that are placed side by side.

    Args:
        shares: the shares.
        elements: the number of elements of the storage that holds all of the tensors. Defaults to 0: several storages.
    """
    return _joined(shares, partial(_summed, elements=elements))


def _joined(shares: Iterable[Share], join: Callable[[Sequence[Share]], Share]) -> tuple[Share, ...]:
    """Join the shares of one region, then those of one storage if their regions overlap."""
    same: dict[tuple[int, tuple[Region, ...]], list[Share]] = {}
    for share in shares:
        same.setdefault((share.storage, share.regions), []).append(share)
    by_storage: dict[int, list[Share]] = {}
    for (storage, _), alike in same.items():
        by_storage.setdefault(storage, []).append(alike[0] if len(alike) == 1 else join(alike))
    joined: list[Share] = []
    for apart in by_storage.values():
        joined += [join(apart)] if len(apart) > 1 and _overlap(apart) else apart
    return tuple(joined)


def _overlap(shares: Sequence[Share]) -> bool:
    return covered(region for share in shares for region in share.regions) < sum(share.size for share in shares)


def _larger(shares: Sequence[Share]) -> Share:
    numbers: dict[str, int] = {}
    for name in _NUMBERS:
        if len({share.regions for share in shares}) == 1:
            numbers[name] = max(getattr(share, name) for share in shares)
        else:
            densities = [getattr(share, name) / max(share.size, 1) for share in shares]
            numbers[name] = densest([share.regions for share in shares], densities)
    return _over_all(shares, numbers)


def _summed(shares: Sequence[Share], elements: int) -> Share:
    share = _over_all(shares, {name: sum(getattr(share, name) for share in shares) for name in _NUMBERS})
    each = [share.positions(elements) for share in shares]
    known = [positions for positions in each if positions is not None]
    if share.shift is not None or len(known) < len(each) or not 0 < elements <= LARGEST:
        return share
    return replace(share, places=Places(lambda: torch.stack([positions() for positions in known]).amax(0)))


def _over_all(shares: Sequence[Share], numbers: dict[str, int]) -> Share:
    """Return the share of the union of all regions, with these numbers."""
    regions = tuple(dict.fromkeys(region for share in shares for region in share.regions))
    most = max(share.elements for share in shares)
    if len(regions) > 1:
        most = min(covered(regions), sum(share.elements for share in shares))
    shifts, places = {share.shift for share in shares}, {share.places for share in shares}
    return replace(
        shares[0],
        elements=most,
        owner=next((share.owner for share in shares if share.owner), None),
        region=regions[0],
        more=regions[1:],
        shift=shares[0].shift if len(shifts) == 1 else None,
        places=shares[0].places if len(places) == 1 else None,
        estimated=any(share.estimated for share in shares),
        packed=any(share.packed for share in shares),
        **numbers,
    )
