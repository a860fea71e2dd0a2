"""Where the values of a tensor come from: the input, weights, or neither."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from paramshare.sharing.regions import Region, region_of, size_of

__all__ = [
    "CONSTANT",
    "Constant",
    "Data",
    "Derived",
    "Origin",
    "Padding",
    "Root",
    "Share",
    "inherited",
    "merged",
    "shares_of",
]


@dataclass(frozen=True, slots=True)
class Root:
    """A storage that parameters lie in: the weights themselves.

    Args:
        storage: its address.
        element: bytes of an element of theirs; views can be of another type.
    """

    storage: int
    element: int


@dataclass(frozen=True, slots=True)
class Constant:
    """Neither data nor weights: buffers, ranges, zeros.

    Args:
        zero: whether every value is 0.
    """

    zero: bool = False


CONSTANT = Constant()


@dataclass(frozen=True, slots=True)
class Padding:
    """Zeros that were put around data.

    Args:
        shape: with them.
        inner: without them.
        left: how many stand before the data, by dimension.
    """

    shape: tuple[int, ...]
    inner: tuple[int, ...]
    left: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """Depends on the input, or is drawn.

    Args:
        elements: how many different values; fewer than the tensor's where they were repeated or padded.
        padding: what was put around them just before.
    """

    elements: int
    padding: Padding | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What a tensor has of a weight.

    Args:
        storage, region: the weight.
        elements: how many of its elements, distinct.
        copies: how many of them if the tensor is used once and each site has its own.
        live: those copies that meet something other than zero, or that a fixed index selects.
        dense: the copies without local connectivity.
        owner: the layer that selected them by a fixed index (an embedding of positions): uses are counted there.
    """

    storage: int
    region: Region
    elements: int
    copies: int
    live: int
    dense: int
    owner: str | None = None

    def scaled(self, part: int, whole: int) -> "Share":
        """The share of a tensor that has `part` elements for every `whole` of this one's."""
        if part == whole:
            return self
        copies, live, dense = (number * part // whole for number in (self.copies, self.live, self.dense))
        return replace(self, elements=min(self.elements, copies), copies=copies, live=live, dense=dense)


@dataclass(frozen=True, slots=True)
class Derived:
    """Made of weights and constants alone: a cast, a weight norm, a mask, the product of a LoRA.

    Args:
        shares: what it has of each weight.
        elements: how many it has.
    """

    shares: tuple[Share, ...]
    elements: int


Origin = Root | Constant | Data | Derived


def shares_of(tensor: Tensor, origin: Origin) -> tuple[Share, ...]:
    """What a tensor has of each weight; its storage, whose origin is given, may hold more than it."""
    if isinstance(origin, Root):
        region = region_of(tensor, origin.element)
        copies = tensor.numel() * size_of(region) // max(size_of(region_of(tensor)), 1)
        return (Share(origin.storage, region, size_of(region), copies, copies, copies),)
    if isinstance(origin, Derived):
        return tuple(share.scaled(tensor.numel(), origin.elements) for share in origin.shares)
    return ()


def inherited(tensor: Tensor, origin: Origin) -> tuple[Share, ...]:
    """As `shares_of`, where more is derived from the tensor: a sum over weights that is spread over elements again (the
    norm that a weight is divided by) has no more copies of them than elements.
    """
    shares = shares_of(tensor, origin)
    if not isinstance(origin, Derived) or tensor.numel() <= origin.elements:
        return shares
    most = [max(share.copies, tensor.numel()) for share in origin.shares]
    return tuple(share.scaled(min(share.copies, n), share.copies) for share, n in zip(shares, most, strict=True))


def merged(shares: Iterable[Share]) -> tuple[Share, ...]:
    """One share of each weight: what came by several ways is one, and as large as its largest."""
    found: dict[tuple[int, Region], Share] = {}
    for share in shares:
        weight = (share.storage, share.region)
        found[weight] = _larger(found[weight], share) if weight in found else share
    return tuple(found.values())


def _larger(one: Share, other: Share) -> Share:
    numbers = {name: max(getattr(one, name), getattr(other, name)) for name in ("elements", "copies", "live", "dense")}
    return replace(one, **numbers, owner=one.owner or other.owner)
