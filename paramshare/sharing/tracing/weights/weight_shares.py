"""The share of a weight in a tensor that is derived from it, and the union of shares."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from paramshare.sharing.tensors.regions import Region, covered, densest, size_of

__all__ = ["Share", "larger", "summed"]

_NUMBERS = ("copies", "live", "dense")


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

    def part(self, region: Region | None, part: int, whole: int, elements: int) -> "Share":
        """Return the share of a view of the tensor.

        Args:
            region: the region of the view in the tensor's storage; None if unknown.
            part, whole: the view has `part` elements for every `whole` elements of the tensor.
            elements: the number of elements of the tensor.
        """
        if part == whole:
            return self
        share = self.scaled(part, whole)
        if region is None or self.shift is None or self.more:
            even = (
                self.copies == self.elements and self.copies % max(elements, 1) == 0
            )  # each element once, evenly distributed
            return share if even else replace(share, estimated=True)
        own = Region(region.offset + self.shift, region.dims)
        return replace(share, region=own, elements=min(size_of(own), share.copies))


def larger(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Return one share of each weight, in which every element has the maximum number of copies over the shares.

    Operands of an elementwise operation combine in this way: a site needs one copy of a weight, however many operands
    contain the weight.
    """
    return _joined(shares, _larger)


def summed(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Return one share of each weight with the sum of the copies, as for tensors that are placed side by side."""
    return _joined(shares, _summed)


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


def _summed(shares: Sequence[Share]) -> Share:
    return _over_all(shares, {name: sum(getattr(share, name) for share in shares) for name in _NUMBERS})


def _over_all(shares: Sequence[Share], numbers: dict[str, int]) -> Share:
    """Return the share of the union of all regions, with these numbers."""
    regions = tuple(dict.fromkeys(region for share in shares for region in share.regions))
    most = max(share.elements for share in shares)
    if len(regions) > 1:
        most = min(covered(regions), sum(share.elements for share in shares))
    shifts = {share.shift for share in shares}
    return replace(
        shares[0],
        elements=most,
        owner=next((share.owner for share in shares if share.owner), None),
        region=regions[0],
        more=regions[1:],
        shift=shares[0].shift if len(shifts) == 1 else None,
        estimated=any(share.estimated for share in shares),
        packed=any(share.packed for share in shares),
        **numbers,
    )
