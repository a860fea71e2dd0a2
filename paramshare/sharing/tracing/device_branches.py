"""Detect models that compute something else on another type of device."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import Sample
from paramshare.sharing.tracing.trace import Trace
from paramshare.sharing.tracing.values.user_device import other_device

__all__ = ["device_branch"]


def device_branch(sample: Sample, traced: Trace, again: Callable[[Sample], Trace]) -> str:
    """Return a sentence about a model that branches on the device; empty for other models.

    Args:
        sample, traced: the arguments of the pass and its trace.
        again: runs the pass with other arguments; called if the model examines a device.
    """
    if not traced.asks_device:
        return ""
    other = other_device(sample.device)
    try:
        if _numbers(again(replace(sample, device=other))) == _numbers(traced):
            return ""
    except SpecError:  # the other branch needs the other device
        pass
    place = traced.asks_device[0]
    return f"{place} branches on the device of a tensor: the counts hold on {sample.device.type}, not on {other.type}"


def _numbers(traced: Trace) -> Mapping[object, object]:
    """Return the uses, sites and multiply-accumulates by layer and weight, without addresses."""
    uses = sorted((place.layer, place.region, use.times, use.unshared) for place, use in traced.uses.items())
    return {"uses": uses, "macs": dict(traced.macs)}
