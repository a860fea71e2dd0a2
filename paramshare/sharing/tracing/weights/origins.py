"""The origin of a tensor's values: the input, weights, or neither."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from paramshare.sharing.tensors.regions import Region, covered, region_of, size_of, within
from paramshare.sharing.tracing.weights.weight_shares import Share, View, summed

__all__ = [
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
    """A storage of parameters: the weights themselves.

    Args:
        storage: the address of the storage.
        element: bytes of an element of the parameters; views can have another type.
    """

    storage: int
    element: int


@dataclass(frozen=True, slots=True)
class Constant:
    """Values that depend neither on data nor on weights: buffers, ranges, zeros.

    Args:
        zero: True if every value is 0. Defaults to False.
        quantised: True for a tensor that the model holds in a type of quantised weights, and results computed from it.
    """

    zero: bool = False
    quantised: bool = False


@dataclass(frozen=True, slots=True)
class Padding:
    """Zeros around data.

    Args:
        shape: the shape with the zeros.
        inner: the shape without the zeros.
        left: the number of zeros before the data, for each dimension.
    """

    shape: tuple[int, ...]
    inner: tuple[int, ...]
    left: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """Values that depend on the input, or are random; or learned inputs of a layer and results computed from them.

    Args:
        elements: the number of distinct values; less than the tensor's after repetition or padding.
        padding: the zeros that the last operation added. Defaults to None.
        learned: True for values computed from weights and constants alone (see `learned_inputs`).
        zero: True if every value is 0.
    """

    elements: int
    padding: Padding | None = None
    learned: bool = False
    zero: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a storage that one operation derived from weights.

    Args:
        region: the region of the part.
        elements: the number of elements of the part.
        shares: the share of each weight in the part.
        element: bytes of an element; 0 if the region is unknown.
    """

    region: Region
    elements: int
    shares: tuple[Share, ...]
    element: int = 0

    @classmethod
    def of(cls, tensor: Tensor, shares: tuple[Share, ...]) -> "Patch":
        """Return `tensor` as a patch."""
        return cls(region_of(tensor), tensor.numel(), shares, tensor.element_size())

    def without(self, region: Region) -> "Patch":
        """Return the rest of the patch after other values were written to `region` of the storage."""
        left = covered((self.region, region)) - size_of(region)
        shares = tuple(share.part(None, left, max(self.elements, 1), self.elements) for share in self.shares)
        return replace(self, elements=left, shares=shares)

    def read(self, tensor: Tensor, region: Region, whole: int) -> Iterator[Share]:
        """Yield the shares of weights that a view of the storage has through this patch.

        Args:
            tensor, region: the view and its region.
            whole: the number of elements of `region`.
        """
        own = size_of(self.region)
        both = own + whole - covered((self.region, region))
        view = View(region, region if both == whole else within(region, self.region), both)
        for share in self.shares if both else ():
            numbers = tensor.numel() * both, max(whole * self.elements, 1)
            yield share.scaled(*numbers) if both == own else share.part(view, *numbers, self.elements)


@dataclass(frozen=True, slots=True)
class Derived:
    """Values derived from weights and constants alone: a cast, a weight norm, a mask, the product of a LoRA.

    Args:
        patches: the parts of the storage; the rest of the storage is constant.
        elements: the number of elements of the storage.
    """

    patches: tuple[Patch, ...]
    elements: int

    @property
    def shares(self) -> tuple[Share, ...]:
        """Return the share of each weight in the whole storage."""
        if len(self.patches) == 1:
            return self.patches[0].shares
        return summed((share for patch in self.patches for share in patch.shares), self.elements)

    @property
    def in_one_piece(self) -> bool:
        """Return whether one patch fills the storage."""
        return len(self.patches) == 1 and self.patches[0].elements == self.elements

    def without_places(self) -> "Derived":
        """Return the same shares without their places in the storage."""
        shares = tuple(share.unplaced() for share in self.shares)
        return Derived((Patch(Region(0, ()), self.elements, shares),), self.elements)

    def read(self, tensor: Tensor) -> tuple[Share, ...]:
        """Return the share of each weight in `tensor`, a view of this storage."""
        if any(patch.element != tensor.element_size() for patch in self.patches):
            return tuple(share.scaled(tensor.numel(), self.elements).unplaced() for share in self.shares)
        if self.in_one_piece:
            if tensor.numel() == self.elements:
                return self.shares
            region = region_of(tensor)
            if size_of(region) == self.elements:  # the whole storage, repeated
                return tuple(share.scaled(tensor.numel(), self.elements) for share in self.shares)
            view = View(region, region, size_of(region))
            return tuple(share.part(view, tensor.numel(), self.elements, self.elements) for share in self.shares)
        if tensor.numel() == self.elements == size_of(region_of(tensor)):
            return self.shares
        region = region_of(tensor)
        whole = size_of(region)
        return summed((share for patch in self.patches for share in patch.read(tensor, region, whole)), self.elements)


Origin = Root | Constant | Data | Derived


def shares_of(tensor: Tensor, origin: Origin) -> tuple[Share, ...]:
    """Return the share of each weight in a tensor.

    Args:
        tensor: the tensor.
        origin: the origin of the tensor's storage.
    """
    if isinstance(origin, Root):
        region = region_of(tensor, origin.element)
        copies = tensor.numel() * size_of(region) // max(size_of(region_of(tensor)), 1)
        shift = 0 if tensor.element_size() == origin.element else None
        return (Share(origin.storage, region, size_of(region), copies, copies, copies, shift=shift),)
    return origin.read(tensor) if isinstance(origin, Derived) else ()


def inherited(tensor: Tensor, origin: Origin) -> tuple[Share, ...]:
    """Return the shares of `shares_of` for an operand of a derivation.

    A sum over weights that is broadcast again (the norm that a weight is divided by) has at most as many copies of the
    weights as elements.
    """
    shares = shares_of(tensor, origin)
    if not isinstance(origin, Derived) or not origin.in_one_piece or tensor.numel() <= origin.elements:
        return shares
    most = [max(share.copies, tensor.numel()) for share in origin.shares]
    return tuple(share.scaled(min(share.copies, n), share.copies) for share, n in zip(shares, most, strict=True))
