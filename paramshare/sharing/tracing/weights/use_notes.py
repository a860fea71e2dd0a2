"""Notes about uses of weights that cannot be counted exactly, or that are not what they seem: one sentence each."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import torch

__all__ = ["UseNotes", "is_quantised"]

_QUANTISED: Final = frozenset(
    getattr(torch, name)
    for name in (
        "int8", "uint8", "int32", "uint1", "uint2", "uint3", "uint4", "uint5", "uint6", "uint7", "int1", "int2", "int3",
        "int4", "int5", "int6", "int7", "uint16", "uint32", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
        "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2",
    )
    if hasattr(torch, name)
)  # fmt: skip


def is_quantised(kind: torch.dtype) -> bool:
    """Return whether quantised weights can be stored in tensors of this dtype."""
    return kind in _QUANTISED


class UseNotes:
    """The notes of one pass. Each place is a module, in words."""

    def __init__(self) -> None:
        self._without_rule: Counter[tuple[str, str]] = Counter()
        self._estimated: dict[str, None] = {}  # a dict keeps the order
        self._unpacked: dict[str, tuple[int, int]] = {}
        self._quantised: dict[str, None] = {}
        self._computed_before: dict[str, None] = {}

    def without_rule(self, place: str, operation: str) -> None:
        """Note an operation on weights and data that has no rule."""
        self._without_rule[place, operation] += 1

    def estimated(self, place: str) -> None:
        """Note a use whose number of elements is an estimate."""
        self._estimated[place] = None

    def unpacked(self, place: str, weights: int, stored: int) -> None:
        """Note a use of weights that bit operations unpacked from fewer stored elements."""
        self._unpacked.setdefault(place, (weights, stored))

    def quantised(self, place: str) -> None:
        """Note a product of data with a tensor of integers that is not a parameter."""
        self._quantised[place] = None

    def computed_before(self, place: str) -> None:
        """Note a use of a tensor that was computed from parameters before the pass."""
        self._computed_before[place] = None

    def sentences(self) -> Iterator[str]:
        """Yield a sentence for each note."""
        for (place, name), times in self._without_rule.items():
            often = f", {times:,} times" if times > 1 else ""
            yield f"{place} uses weights in {name}{often}, for which no rule is known: counted as one site"
        for place in self._estimated:
            yield f"{place} uses a part of a rearranged weight: the number of elements of that part is an estimate"
        for place, (weights, stored) in self._unpacked.items():
            yield (
                f"{place} unpacks {weights:,} weights from {stored:,} stored integers: parameters and bytes are "
                "counted as stored, multiply-accumulates as unpacked"
            )
        for place in self._quantised:
            yield (
                f"{place} multiplies data with quantised weights that are buffers: only parameters are counted; count "
                "the model before quantisation"
            )
        for place in self._computed_before:
            yield (
                f"{place} uses a tensor that was computed from parameters before the pass: it is counted as a "
                "constant; compute it in forward"
            )
