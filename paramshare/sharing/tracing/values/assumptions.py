"""What a pass without values cannot know: numbers read from data, shapes that depend on data, draws.

Each is answered by a guess, counted by place, and told in the report's warnings.
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
from paramshare.sharing.tracing.values.loop_limit import GuessLimit
from paramshare.sharing.tracing.values.random_generators import Access, held_generators

__all__ = ["Guesses", "draw_warnings", "drawn_again"]

_aten = torch.ops.aten

_LONGEST_INDEX: Final = 1 << 16  # elements; beyond that an index is guessed by its shape alone


class Guesses:
    """The guesses of one pass."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str, str]] = Counter()
        self._shapes: Counter[tuple[str, str]] = Counter()
        self.drawn: list[str] = []
        """The generators that the pass drew from, or another thread meanwhile."""
        self._limit = GuessLimit()

    def value(self, tensor: Tensor, source: str, place: str) -> bool | int | float:
        """What `tensor`, whose value is not known, is taken to hold: False, or 1.

        Args:
            source: what it comes from, in words.
            place: who reads it, in words.

        Raises:
            EndlessError: one line of the model's code has asked too often.
        """
        self._limit.count(place)
        guess: bool | int | float = 1.0
        if not tensor.dtype.is_floating_point:
            guess = tensor.dtype is not torch.bool and 1
        self._values[place, source, str(guess)] += 1
        return guess

    def outcome(
        self, func: OpOverload[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], place: str
    ) -> object | None:
        """What an operation gives whose shape depends on values: everything is selected. None for any other."""
        if func.overloadpacket is _aten._is_all_true:  # of a check that ends the pass if it fails: it holds
            return torch.ones((), dtype=torch.bool)
        guess = _SHAPES.get(func.overloadpacket)
        if guess is None:
            return None
        self._limit.count(place)
        self._shapes[place, str(func.overloadpacket)] += 1
        return guess(*args, **kwargs)

    def index(self, mask: Tensor, place: str) -> tuple[Tensor, ...]:
        """The indices of a mask's elements, as if all were true."""
        self._limit.count(place)
        self._shapes[place, "a boolean index"] += 1
        return _nonzero(mask).unbind(1)

    def packed(self, args: Sequence[Any], known: bool, place: str) -> tuple[Any, ...]:
        """Return the arguments of `pack_padded_sequence` with lengths: unknown ones as if nothing were padded.

        Args:
            args: padded sequences, lengths, and whether the batch is the first axis.
            known: whether the lengths have their values.
            place: who packs them, in words.
        """
        padded, _, batch_first = args
        if known:
            return tuple(args)
        batch, steps = padded.shape[:2] if batch_first else (padded.shape[1], padded.shape[0])
        self._shapes[place, "the lengths of packed sequences"] += 1
        return padded, torch.full((batch,), steps), batch_first

    @contextmanager
    def watching_draws(self, model: nn.Module) -> Iterator[None]:
        """Notice what the block draws from the global generators and those of `model`; leave them as they were."""
        held = held_generators(model)
        before = {name: read() for name, (read, _) in (_generators() | held).items()}
        try:
            yield
        finally:
            for name, (read, write) in (_generators() | held).items():
                if name in before and not _same(before[name], read()):
                    self.drawn.append(name)
                    write(before[name])

    def warnings(self) -> Iterator[str]:
        """A sentence a place."""
        for (place, source, guess), times in self._values.items():
            often = f"{times:,} numbers" if times > 1 else "a number"
            yield (
                f"{place} reads {often} out of {source} (as `.item()` does), taken to be {guess}: "
                "what depends on that is an assumption, and the counts hold for it only"
            )
        for (place, what), times in self._shapes.items():
            often = f", {times:,} times" if times > 1 else ""
            yield f"{place} selects by value ({what}{often}): counted as if everything were selected, an upper bound"


def drawn_again(drawn: Sequence[str], again: Callable[[], Collection[str]]) -> Sequence[str]:
    """Return the generators that a second pass draws from, too: another thread can draw from a global one once.

    Args:
        drawn: the generators that the first pass drew from.
        again: makes a second pass and returns the generators that it drew from; called if the first drew from any.
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
    return torch.ones(mask.shape, dtype=torch.bool).nonzero()  # real values: what is looped over is then told apart


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


def _generators() -> dict[str, Access]:
    """How to read and write the state of each global generator."""
    found: dict[str, Access] = {
        "Python's random": (random.getstate, random.setstate),
        "torch's generator": (torch.get_rng_state, torch.set_rng_state),
    }
    if numpy := sys.modules.get("numpy"):
        found["numpy's random"] = (numpy.random.get_state, numpy.random.set_state)
    return found


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return pickle.dumps(one) == pickle.dumps(other)
