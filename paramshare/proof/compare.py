"""Two trainings of one spec, number by number: whether they are the same to the bit, and how far they are if not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paramshare.tracking.read.run_view import RunView
from paramshare.training.export import array_of
from paramshare.training.result import Result
from paramshare.training.targets import DEPTH, LOSS

__all__ = ["MEASURES", "Comparison", "Deviation", "Numbers", "compare", "deviation", "within"]

MEASURES: Final = ("largest", "rms", "final")
"""What a deviation says, by name."""

_FACTOR: Final = 3.0  # how much further than the furthest of a few a training may be

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Numbers:
    """All numbers of a training.

    Args:
        losses: float64 (steps,), of every step.
        depths: float64 (steps,), of every step; zeros where the net has but one.
        finals: float64, what the trained net comes to, in the order of their names.
        weights: of the trained net, by name; None where they are not known.
    """

    losses: NDArray[np.float64]
    depths: NDArray[np.float64]
    finals: NDArray[np.float64]
    weights: Weights | None

    @classmethod
    def of_run(cls, run: RunView, weights: Weights | None) -> "Numbers":
        """Those that the store holds."""
        return cls._of(run.curves, run.finals, weights)

    @classmethod
    def of_result(cls, result: Result) -> "Numbers":
        """Those of a training."""
        weights = {name: array_of(tensor) for name, tensor in result.net.state_dict().items()}
        return cls._of(result.curves, result.finals, weights)

    @classmethod
    def _of(cls, curves: Mapping[str, NDArray[Any]], finals: Mapping[str, float], weights: Weights | None) -> "Numbers":
        losses = curves[LOSS].astype(np.float64)
        depths = curves.get(DEPTH, np.zeros(len(losses))).astype(np.float64)
        return cls(losses, depths, np.array([finals[name] for name in sorted(finals)], dtype=np.float64), weights)


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a training is from another of the same spec; all 0 where they are the same.

    Args:
        largest: the largest |log of the ratio| of the losses, over the steps.
        rms: their root mean square.
        final: the largest |log of the ratio| of the trained nets' losses, over the depths.
    """

    largest: float
    rms: float
    final: float

    def as_dict(self) -> dict[str, float | None]:
        """Plain data. What is not finite is null: JSON has no other word for it."""
        values = {name: getattr(self, name) for name in MEASURES}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A training held against another.

    Args:
        steps: how many they have, the longer one if one ended before.
        first: the first step, counted from 0, whose loss or depth differs; None where none does.
        first_losses: the two losses of that step.
        losses, depths: how many steps' differ.
        finals: how many of the trained net's losses differ.
        weights: how many of its weights differ; None where one of the two has none.
        deviation: how far the losses are from each other.
    """

    steps: int
    first: int | None
    first_losses: tuple[float, float] | None
    losses: int
    depths: int
    finals: int
    weights: int | None
    deviation: Deviation

    @property
    def equal(self) -> bool:
        """Whether all that both have is the same, bit for bit."""
        return not (self.losses or self.depths or self.finals or self.weights)


def compare(one: Numbers, other: Numbers) -> Comparison:
    """Hold `one` against `other`, of the same spec. NaN equals NaN. A step that only one has taken differs."""
    steps = max(len(one.losses), len(other.losses))
    ours, theirs = (_padded(numbers.losses, steps) for numbers in (one, other))
    both = min(len(one.losses), len(other.losses))
    losses = ~_same(ours, theirs) | (np.arange(steps) >= both)
    depths = ~_same(one.depths[:both], other.depths[:both])
    differing = np.flatnonzero(losses | np.pad(depths, (0, steps - both)))
    first = int(differing[0]) if len(differing) else None
    return Comparison(
        steps=steps,
        first=first,
        first_losses=None if first is None else (float(ours[first]), float(theirs[first])),
        losses=int(losses.sum()),
        depths=int(depths.sum()),
        finals=int((~_same(one.finals, other.finals)).sum()),
        weights=_differing_weights(one.weights, other.weights),
        deviation=deviation(one, other),
    )


def deviation(one: Numbers, other: Numbers) -> Deviation:
    """How far `one` is from `other`, over the steps that both have taken."""
    both = min(len(one.losses), len(other.losses))
    losses, finals = _log_ratios(one.losses[:both], other.losses[:both]), _log_ratios(one.finals, other.finals)
    return Deviation(float(losses.max()), float(np.sqrt(np.mean(losses**2))), float(finals.max()))


def within(found: Deviation, control: Sequence[Deviation]) -> bool:
    """Whether `found` is in no measure more than three times as far as the furthest of `control`."""
    furthest = (max((getattr(one, name) for one in control), default=0.0) for name in MEASURES)
    return all(getattr(found, name) <= _FACTOR * most for name, most in zip(MEASURES, furthest, strict=True))


def _padded(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    return np.pad(values, (0, steps - len(values)), constant_values=np.nan)


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))


def _log_ratios(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """|log of the ratio|: 0 where both are the same, infinite where only one is a number above 0."""
    with np.errstate(all="ignore"):
        ratios = np.abs(np.log(one / other))
    ratios[np.isnan(ratios)] = np.inf
    ratios[_same(one, other)] = 0
    return np.asarray(ratios)


def _differing_weights(one: Weights | None, other: Weights | None) -> int | None:
    """How many differ in a bit, NaN apart; all of a tensor whose shape does, or that only one has."""
    if one is None or other is None:
        return None
    differing = 0
    for name in {*one, *other}:
        a, b = (weights.get(name, np.empty(0, np.float32)) for weights in (one, other))
        if a.shape == b.shape and a.dtype == b.dtype:
            both_nan = _is_nan(a) & _is_nan(b)
            differing += int(((_bits(a) != _bits(b)).reshape(*a.shape, -1).any(axis=-1) & ~both_nan).sum())
        else:
            differing += max(a.size, b.size)
    return differing


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    """Return the bits of each element as whole numbers."""
    return np.ascontiguousarray(array).view(f"u{min(array.itemsize, 8)}")


def _is_nan(array: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(array) if array.dtype.kind in "fc" else np.zeros(array.shape, dtype=bool)
