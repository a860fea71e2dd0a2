"""The part of a weight that a tensor is made of, and how the parts of several tensors are joined."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from paramshare.sharing.tensors.regions import Region, covered, densest, size_of

__all__ = ["Share", "larger", "summed"]

_NUMBERS = ("copies", "live", "dense")


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a weight that a tensor is made of.

    Args:
        storage, region: the weight.
        elements: how many of its elements, distinct.
        copies: how many of them if the tensor is used once and each site has its own.
        live: those copies that meet something other than zero, or that a fixed index selects.
        dense: the copies without local connectivity.
        owner: the layer that selected them by a fixed index (an embedding of positions): uses are counted there.
        more: other regions of the weight that overlap with `region`; the share covers their union.
        shift: set if the elements of the tensor's storage are those of the weight's storage, each with this number
            added to its position. Defaults to None: which element is made of which is not known.
        estimated: whether the numbers are a proportion of those of a larger tensor, since it is not known which of the
            weight's elements this part of it has.
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

    @property
    def regions(self) -> tuple[Region, ...]:
        """Return all regions that the share covers, which may overlap."""
        return (self.region, *self.more)

    @property
    def size(self) -> int:
        """Return the number of distinct elements of the regions."""
        return covered(self.regions) if self.more else size_of(self.region)

    def scaled(self, part: int, whole: int) -> "Share":
        """Return the share of a tensor that has `part` elements for every `whole` of this one's."""
        if part == whole:
            return self
        copies, live, dense = (number * part // whole for number in (self.copies, self.live, self.dense))
        return replace(self, elements=min(self.elements, copies), copies=copies, live=live, dense=dense)

    def part(self, region: Region | None, part: int, whole: int, elements: int) -> "Share":
        """Return the share of a view that has `part` elements for every `whole` of the tensor's.

        Args:
            region: what the view covers in the tensor's storage; None if that is not known.
            part, whole: as of `scaled`.
            elements: how many elements the tensor has.
        """
        if part == whole:
            return self
        share = self.scaled(part, whole)
        if region is None or self.shift is None or self.more:
            even = self.copies == self.elements and self.copies % max(elements, 1) == 0  # each once, as many everywhere
            return share if even else replace(share, estimated=True)
        own = Region(region.offset + self.shift, region.dims)
        return replace(share, region=own, elements=min(size_of(own), share.copies))


def larger(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Return one share of each weight, where every element has as many copies as in the share that has most of it.

    That is how operands are combined element by element: a site needs one copy of a weight, by whatever ways it came.
    """
    return _joined(shares, _larger)


def summed(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Return one share of each weight with the copies of all, as of tensors that are put side by side."""
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
        **numbers,
    )
