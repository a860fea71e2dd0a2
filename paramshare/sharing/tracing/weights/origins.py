"""Where the values of a tensor come from: the input, weights, or neither."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from paramshare.sharing.tensors.regions import Region, covered, region_of, size_of, within
from paramshare.sharing.tracing.weights.weight_shares import Share, summed

__all__ = [
    "CONSTANT",
    "Constant",
    "Data",
    "Derived",
    "Origin",
    "Padding",
    "Patch",
    "Root",
    "inherited",
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
    """Depends on the input, or is drawn; or is what a layer was given, or has made, in place of data.

    Args:
        elements: how many different values; fewer than the tensor's where they were repeated or padded.
        padding: what was put around them just before.
        learned: whether it is made of weights and constants alone (`signals` says when that is data).
        zero: whether every value is 0.
    """

    elements: int
    padding: Padding | None = None
    learned: bool = False
    zero: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a storage that was made of weights in one piece.

    Args:
        region: where it lies.
        elements: how many elements it has.
        shares: what it has of each weight.
        element: bytes of an element; 0 if its place is not known.
    """

    region: Region
    elements: int
    shares: tuple[Share, ...]
    element: int = 0

    @classmethod
    def of(cls, tensor: Tensor, shares: tuple[Share, ...]) -> "Patch":
        """Return the patch that `tensor` is."""
        return cls(region_of(tensor), tensor.numel(), shares, tensor.element_size())

    def without(self, region: Region) -> "Patch":
        """Return what is left of it after other values have been written to `region` of the storage."""
        left = covered((self.region, region)) - size_of(region)
        shares = tuple(share.part(None, left, max(self.elements, 1), self.elements) for share in self.shares)
        return replace(self, elements=left, shares=shares)

    def read(self, tensor: Tensor, region: Region, whole: int) -> Iterator[Share]:
        """Yield what a view of the storage has of the weights through this patch.

        Args:
            tensor, region: the view, and where it lies.
            whole: how many elements `region` has.
        """
        own = size_of(self.region)
        both = own + whole - covered((self.region, region))
        part = region if both == whole else within(region, self.region)
        for share in self.shares if both else ():
            numbers = tensor.numel() * both, max(whole * self.elements, 1)
            yield share.scaled(*numbers) if both == own else share.part(part, *numbers, self.elements)


@dataclass(frozen=True, slots=True)
class Derived:
    """Made of weights and constants alone: a cast, a weight norm, a mask, the product of a LoRA.

    Args:
        patches: the parts of the storage; what lies in none of them is constant.
        elements: how many elements the storage has.
    """

    patches: tuple[Patch, ...]
    elements: int

    @property
    def shares(self) -> tuple[Share, ...]:
        """Return what the whole storage has of each weight."""
        if len(self.patches) == 1:
            return self.patches[0].shares
        return summed(share for patch in self.patches for share in patch.shares)

    @property
    def in_one_piece(self) -> bool:
        """Return whether one patch fills the storage."""
        return len(self.patches) == 1 and self.patches[0].elements == self.elements

    def without_places(self) -> "Derived":
        """Return the same shares, with nothing known about where in the storage they lie."""
        shares = tuple(replace(share, shift=None) for share in self.shares)
        return Derived((Patch(Region(0, ()), self.elements, shares),), self.elements)

    def read(self, tensor: Tensor) -> tuple[Share, ...]:
        """Return what `tensor`, which lies in this storage, has of each weight."""
        if any(patch.element != tensor.element_size() for patch in self.patches):
            return tuple(replace(share.scaled(tensor.numel(), self.elements), shift=None) for share in self.shares)
        if self.in_one_piece:
            if tensor.numel() == self.elements:
                return self.shares
            region = region_of(tensor)
            if size_of(region) == self.elements:  # all of it, repeated
                return tuple(share.scaled(tensor.numel(), self.elements) for share in self.shares)
            return tuple(share.part(region, tensor.numel(), self.elements, self.elements) for share in self.shares)
        if tensor.numel() == self.elements == size_of(region_of(tensor)):
            return self.shares
        region = region_of(tensor)
        whole = size_of(region)
        return summed(share for patch in self.patches for share in patch.read(tensor, region, whole))


Origin = Root | Constant | Data | Derived


def shares_of(tensor: Tensor, origin: Origin) -> tuple[Share, ...]:
    """Return what a tensor has of each weight; its storage, whose origin is given, may hold more than it."""
    if isinstance(origin, Root):
        region = region_of(tensor, origin.element)
        copies = tensor.numel() * size_of(region) // max(size_of(region_of(tensor)), 1)
        shift = 0 if tensor.element_size() == origin.element else None
        return (Share(origin.storage, region, size_of(region), copies, copies, copies, shift=shift),)
    return origin.read(tensor) if isinstance(origin, Derived) else ()


def inherited(tensor: Tensor, origin: Origin) -> tuple[Share, ...]:
    """Return what `shares_of` does, for a tensor that more is derived from.

    A sum over weights that is spread over elements again (the norm that a weight is divided by) has no more copies of
    them than elements.
    """
    shares = shares_of(tensor, origin)
    if not isinstance(origin, Derived) or not origin.in_one_piece or tensor.numel() <= origin.elements:
        return shares
    most = [max(share.copies, tensor.numel()) for share in origin.shares]
    return tuple(share.scaled(min(share.copies, n), share.copies) for share, n in zip(shares, most, strict=True))
