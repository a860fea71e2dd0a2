"""The uses of weights in a pass, by layer and weight."""

from dataclasses import dataclass
from typing import NamedTuple

from paramshare.sharing.tensors.regions import Region

__all__ = ["Place", "Use"]


class Place(NamedTuple):
    """A layer and a weight that it uses.

    Args:
        layer: the name of the layer.
        storage: the address of the weight's storage.
        region: the region of the weight in the storage.
    """

    layer: str
    storage: int
    region: Region


@dataclass(slots=True)
class Use:
    """The sum of the uses of one weight by one layer.

    Args:
        times: the number of uses.
        per_use, unshared, live, dense: the number of copies by regime.
    """

    times: int = 0
    per_use: int = 0
    unshared: int = 0
    live: int = 0
    dense: int = 0
