"""Compare two trainings of a spec: whether they are bitwise equal, and how much they deviate otherwise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from paramshare.recipes.metrics import DEPTH, LOSS
from paramshare.tracking.read.run_view import RunView

if TYPE_CHECKING:
    from paramshare.training.result import Result

__all__ = ["MEASURES", "Comparison", "Deviation", "Numbers", "compare", "deviation", "within"]

MEASURES: Final = ("largest", "rms", "final")
"""The names of the measures of a deviation."""

_FACTOR: Final = 3.0  # maximum deviation, in multiples of the largest deviation of the bit flips

_Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Numbers:
    """All numbers of a training.

    Args:
        losses: float64 (steps,), the loss of every step.
        depths: float64 (steps,), the depth of every step; zeros if the net has only one depth.
        final_metrics: float64 (metrics,), the final metrics of the trained net, sorted by name.
        weights: the weights of the trained net by name; None if they are unknown.
    """

    losses: NDArray[np.float64]
    depths: NDArray[np.float64]
    final_metrics: NDArray[np.float64]
    weights: _Weights | None

    @classmethod
    def of_run(cls, run: RunView, weights: _Weights | None) -> "Numbers":
        """Return the numbers that the store holds of a run."""
        return cls._of(run.curves, run.final_metrics, weights)

    @classmethod
    def of_result(cls, result: "Result") -> "Numbers":
        """Return the numbers of a training."""
        from paramshare.training.export.archives import array_of  # torch: a report of others needs none

        weights = {name: array_of(tensor) for name, tensor in result.net.state_dict().items()}
        return cls._of(result.curves, result.final_metrics, weights)

    @classmethod
    def _of(
        cls, curves: Mapping[str, NDArray[Any]], final_metrics: Mapping[str, float], weights: _Weights | None
    ) -> "Numbers":
        losses = curves[LOSS].astype(np.float64)
        depths = curves.get(DEPTH, np.zeros(len(losses))).astype(np.float64)
        values = np.array([final_metrics[name] for name in sorted(final_metrics)], dtype=np.float64)
        return cls(losses, depths, values, weights)


@dataclass(frozen=True, slots=True)
class Deviation:
    """The deviation of a training from another one of the same spec; 0 in every measure if they are equal.

    Args:
        largest: the largest |log ratio| of the losses of a step.
        rms: the root mean square of the |log ratio| of the losses, over the steps.
        final: the largest |log ratio| of the final metrics.
    """

    largest: float
    rms: float
    final: float

    def as_dict(self) -> dict[str, float | None]:
        """Return the measures as plain data. A number that is not finite is null, since JSON has no such number."""
        values = {name: getattr(self, name) for name in MEASURES}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of two trainings.

    Args:
        steps: the number of steps of the longer training.
        first: the first step, from 0, whose loss or depth differs; None if no step differs.
        first_losses: the two losses of that step.
        losses, depths: the number of steps whose loss or depth differs.
        final_metrics: the number of final metrics that differ.
        weights: the number of weights that differ; None if one of the trainings has no weights.
        deviation: the deviation of the losses.
    """

    steps: int
    first: int | None
    first_losses: tuple[float, float] | None
    losses: int
    depths: int
    final_metrics: int
    weights: int | None
    deviation: Deviation

    @property
    def equal(self) -> bool:
        """Return whether all numbers that both trainings have are bitwise equal."""
        return not (self.losses or self.depths or self.final_metrics or self.weights)


def compare(one: Numbers, other: Numbers) -> Comparison:
    """Compare two trainings of the same spec. NaN equals NaN. A step that only one training has counts as differing."""
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
        final_metrics=int((~_same(one.final_metrics, other.final_metrics)).sum()),
        weights=_differing_weights(one.weights, other.weights),
        deviation=deviation(one, other),
    )


def deviation(one: Numbers, other: Numbers) -> Deviation:
    """Return the deviation of two trainings, over the steps that both have."""
    both = min(len(one.losses), len(other.losses))
    losses = _log_ratios(one.losses[:both], other.losses[:both])
    final = _log_ratios(one.final_metrics, other.final_metrics)
    return Deviation(float(losses.max()), float(np.sqrt(np.mean(losses**2))), float(final.max()))


def within(measured: Deviation, bit_flips: Sequence[Deviation]) -> bool:
    """Return whether a deviation is at most three times the largest deviation of the bit flips, in every measure."""
    largest = (max((getattr(flip, name) for flip in bit_flips), default=0.0) for name in MEASURES)
    return all(getattr(measured, name) <= _FACTOR * limit for name, limit in zip(MEASURES, largest, strict=True))


def _padded(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    return np.pad(values, (0, steps - len(values)), constant_values=np.nan)


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))


def _log_ratios(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return |log(one / other)|, (n,): 0 if both are equal, infinite if only one of them is a positive number."""
    with np.errstate(all="ignore"):
        ratios = np.abs(np.log(one / other))
    ratios[np.isnan(ratios)] = np.inf
    ratios[_same(one, other)] = 0
    return np.asarray(ratios)


def _differing_weights(one: _Weights | None, other: _Weights | None) -> int | None:
    """Return the number of weights that differ in a bit, except NaN.

    All weights of a tensor count if its shapes differ, or if only one training has it.
    """
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
