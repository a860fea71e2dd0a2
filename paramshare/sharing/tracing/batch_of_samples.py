"""Detect a batch of several samples in the arguments of a pass: a count is for one sample.

The pass is repeated with one element of each axis that may be a batch. The axis is a batch if layers whose
batch axis torch defines then receive a smaller batch. Without such layers, the axis may be a batch if the sites of each
layer are the same or a fraction; it is a batch of tokens if all inputs are integers.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.batches import batch_axes, first_of_batch, has_only_indices
from paramshare.sharing.inputs.sample import Sample
from paramshare.sharing.tracing.trace import Trace

__all__ = ["Batch", "find_batch"]

_AXES: Final = ("first", "second")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch, or an axis that may be a batch, in the arguments of a pass.

    Args:
        sentence: a warning.
        single: the first sample of the batch, the traced copy of the model for that sample, and its trace; None if the
            axis may also hold positions of one sample.
    """

    sentence: str
    single: tuple[Sample, nn.Module, Trace] | None = None


def find_batch(sample: Sample, traced: Trace, again: Callable[[Sample], tuple[nn.Module, Trace]]) -> Batch | None:
    """Return the batch in the arguments of a pass; None for one sample.

    Args:
        sample, traced: the arguments of the pass and its trace.
        again: runs the pass with other arguments, and returns the traced copy of the model and the trace.
    """
    for axis in batch_axes(sample):
        first = first_of_batch(sample, axis)
        positions = (
            f"the {_AXES[axis.axis]} axis of the input {sample} is counted as {axis.length} positions of one sample"
        )
        try:
            model, trace = again(first)
        except SpecError:  # the axis is not a batch, or the model needs several samples, as norms do in training
            if axis.axis == 0 and axis.length in traced.batch_lengths:
                return Batch(
                    f"{positions}, since the model refuses one sample in this mode; divide the sites of a batch"
                )
            continue
        fraction = axis.axis == 0 and not traced.batch_lengths and _has_a_fraction(trace, traced, axis.length)
        if _has_smaller_batches(trace, traced, axis.length) or (fraction and has_only_indices(sample)):
            place = f"{axis.length} samples (its {_AXES[axis.axis]} axis)"
            sentence = f"the input {sample} is a batch of {place}: the counts are for one sample of {first}"
            return Batch(sentence, (first, model, trace))
        if fraction:
            return Batch(f"{positions}; if it is a batch, give one sample, {first}")
    return None


def _has_a_fraction(single: Trace, several: Trace, times: int) -> bool:
    """Return whether each layer has the same sites in both passes or `times` as many in the second; one has more."""
    one, many = _sites(single), _sites(several)
    if one.keys() != many.keys() or one == many:
        return False
    return all(many[layer] in (sites, times * sites) for layer, sites in one.items())


def _sites(traced: Trace) -> Mapping[str, int]:
    """Return the number of unshared copies of weights by layer."""
    sites: defaultdict[str, int] = defaultdict(int)
    for place, use in traced.uses.items():
        sites[place.layer] += use.unshared
    return sites


def _has_smaller_batches(single: Trace, several: Trace, times: int) -> bool:
    """Return whether a layer received a batch in the first pass that is a fraction of its batch in the second."""
    if len(single.batch_lengths) != len(several.batch_lengths):
        return False
    pairs = zip(single.batch_lengths, several.batch_lengths, strict=True)
    return any(times * one == many for one, many in pairs)
