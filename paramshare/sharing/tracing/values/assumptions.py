"""Assume values that a pass on the meta device lacks: numbers read from data, and data-dependent shapes.

Each assumption is counted by the place that needs it, and reported in the warnings; so are draws of random numbers.
"""

import pickle
import random
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._ops import OpOverload, OpOverloadPacket

from paramshare.errors import SpecError
from paramshare.sharing.tracing.values.loop_limit import LoopLimit
from paramshare.sharing.tracing.values.random_generators import Access, model_generators

__all__ = ["Assumptions", "draw_warnings", "drawn_again"]

_aten = torch.ops.aten

_COMPARISONS: Final = {_aten.equal, _aten.allclose}
"""Operations that return one truth value of two tensors."""

_LONGEST_INDEX: Final = 1 << 16  # elements; a longer index has a shape and no values


class Assumptions:
    """The assumptions of one pass."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str, str]] = Counter()
        self._shapes: Counter[tuple[str, str]] = Counter()
        self.drawn: list[str] = []
        """The names of generators that the pass, or another thread at the same time, drew from."""
        self._limit = LoopLimit()

    def value(self, tensor: Tensor, source: str, place: str) -> bool | int | float:
        """Return the assumed value of a tensor with one unknown element: False, or 1.

        Args:
            tensor: the tensor.
            source: the origin of the tensor, in words.
            place: the module that reads the tensor, in words.

        Raises:
            EndlessLoopError: one line of the model's code has read too many values.
        """
        self._limit.count(place)
        assumed: bool | int | float = 1.0
        if not tensor.dtype.is_floating_point:
            assumed = tensor.dtype is not torch.bool and 1
        self._values[place, source, str(assumed)] += 1
        return assumed

    def output(
        self, func: OpOverload[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], place: str
    ) -> object | None:
        """Return the output of an operation whose shape depends on values, as if everything were selected.

        Returns:
            The output; None for any other operation.
        """
        if func.overloadpacket is _aten._is_all_true:  # a failed check would end the pass: assume that it holds
            return torch.ones((), dtype=torch.bool)
        if func.overloadpacket in _COMPARISONS:
            if args[0].dim() == 0 and args[0].dtype is torch.bool:  # a check in code of torch
                return True
            return self.value(torch.empty((), dtype=torch.bool, device="meta"), "the data", place)
        make = _SHAPES.get(func.overloadpacket)
        if make is None:
            return None
        self._limit.count(place)
        self._shapes[place, str(func.overloadpacket)] += 1
        return make(*args, **kwargs)

    def index(self, mask: Tensor, place: str) -> tuple[Tensor, ...]:
        """Return the indices of a mask's elements, as if all elements were true."""
        self._limit.count(place)
        self._shapes[place, "a boolean index"] += 1
        return _nonzero(mask).unbind(1)

    def packed(self, args: Sequence[Any], known: bool, place: str) -> tuple[Any, ...]:
        """Return the arguments of `pack_padded_sequence`, with unknown lengths replaced by the full length.

        Args:
            args: padded sequences, their lengths, and whether the batch is the first axis.
            known: True if the values of the lengths are known.
            place: the module that packs the sequences, in words.
        """
        padded, _, batch_first = args
        if known:
            return tuple(args)
        batch, steps = padded.shape[:2] if batch_first else (padded.shape[1], padded.shape[0])
        self._shapes[place, "the lengths of packed sequences"] += 1
        return padded, torch.full((batch,), steps), batch_first

    @contextmanager
    def watching_draws(self, model: nn.Module) -> Iterator[None]:
        """Record which global generators and generators of `model` the block draws from, and restore their states."""
        own = model_generators(model)
        before = {name: read() for name, (read, _) in (_global_generators() | own).items()}
        try:
            yield
        finally:
            for name, (read, write) in (_global_generators() | own).items():
                if name in before and not _same(before[name], read()):
                    self.drawn.append(name)
                    write(before[name])

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each place."""
        for (place, source, assumed), times in self._values.items():
            numbers = f"{times:,} numbers" if times > 1 else "a number"
            yield (
                f"{place} reads {numbers} from {source} (as `.item()` does), assumed to be {assumed}: the counts hold "
                "for this assumption only"
            )
        for (place, what), times in self._shapes.items():
            often = f", {times:,} times" if times > 1 else ""
            yield f"{place} selects by value ({what}{often}): counted as if everything were selected, an upper bound"


def drawn_again(drawn: Sequence[str], again: Callable[[], Collection[str]]) -> Sequence[str]:
    """Return the generators that a second pass also draws from, since another thread may draw during one pass.

    Args:
        drawn: the names of generators that the first pass drew from.
        again: runs a second pass and returns the names of its generators; called if `drawn` is not empty.
    """
    if not drawn:
        return ()
    try:
        second = again()
    except SpecError:
        return drawn
    return [name for name in drawn if name in second]


def draw_warnings(generators: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each generator that a pass drew from."""
    for name in generators:
        yield f"the pass drew from {name}: if its structure depends on that, the counts hold for this draw only"


def _nonzero(mask: Tensor) -> Tensor:
    if mask.numel() > _LONGEST_INDEX:
        return torch.empty((mask.numel(), mask.dim()), dtype=torch.int64, device="meta")
    return torch.ones(mask.shape, dtype=torch.bool).nonzero()  # real values, so that the items of a loop differ


def _masked_select(data: Tensor, mask: Tensor) -> Tensor:
    return data.new_empty((data + mask).numel())


def _unique(data: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor, Tensor]:
    places = data.new_empty(data.shape, dtype=torch.int64)
    return data.new_empty(data.numel()), places, places.new_empty(data.numel())


def _unique_dim(data: Tensor, dim: int, *_: object, **__: object) -> tuple[Tensor, Tensor, Tensor]:
    places = data.new_empty(data.shape[dim], dtype=torch.int64)
    return data.new_empty(data.shape), places, places.new_empty(data.shape[dim])


def _repeated(repeats: Tensor, output_size: int | None = None) -> Tensor:
    return repeats.new_empty(repeats.numel() if output_size is None else output_size)


def _bins(data: Tensor, _weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    return data.new_empty(max(minlength, 1), dtype=torch.int64)


_SHAPES: dict[OpOverloadPacket[Any, Any], Callable[..., object]] = {
    _aten.nonzero: _nonzero,
    _aten.masked_select: _masked_select,
    _aten._unique2: _unique,
    _aten.unique_consecutive: _unique,
    _aten.unique_dim: _unique_dim,
    _aten.repeat_interleave: _repeated,
    _aten.bincount: _bins,
}


def _global_generators() -> dict[str, Access]:
    """Return the functions that read and write the state of each global generator."""
    generators: dict[str, Access] = {
        "Python's random": (random.getstate, random.setstate),
        "torch's generator": (torch.get_rng_state, torch.set_rng_state),
    }
    if numpy := sys.modules.get("numpy"):
        generators["numpy's random"] = (numpy.random.get_state, numpy.random.set_state)
    return generators


def _same(before: object, after: object) -> bool:
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return torch.equal(before, after)
    return pickle.dumps(before) == pickle.dumps(after)
