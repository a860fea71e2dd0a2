"""The result of a pass: the uses of weights, by layer and weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from paramshare.sharing.tensors.regions import Region

__all__ = ["Place", "Trace", "Use"]


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


@dataclass(frozen=True, slots=True)
class Trace:
    """The result of one traced pass.

    Args:
        uses: the uses by layer and weight.
        macs, dense_macs: multiply-accumulates by layer.
        encountered: used parameters that were not in `model.parameters()` before the pass, with the first layer that
            used each, by storage.
        warnings: sentences about assumptions, and about operations that could not be counted exactly.
        drawn: the names of generators that the pass, or another thread at the same time, drew from.
        batch_lengths: the length of the batch for each call of a layer whose batch axis torch defines.
        asks_device: the modules that examine the type of a tensor's device, in words.
    """

    uses: Mapping[Place, Use]
    macs: Mapping[str, int]
    dense_macs: Mapping[str, int]
    encountered: Mapping[int, tuple[str, nn.Parameter]]
    warnings: tuple[str, ...]
    drawn: tuple[str, ...]
    batch_lengths: tuple[int, ...]
    asks_device: tuple[str, ...]
