"""Check a report for contradictions: relations between its numbers that hold for every model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from torch import nn
from torch.nn.parameter import is_lazy

from paramshare.sharing.report import Counts, LayerSharing
from paramshare.sharing.tensors.regions import region_of, storage_of
from paramshare.sharing.tracing.module_stack import ROOT
from paramshare.sharing.tracing.trace import Trace
from paramshare.sharing.tracing.weights.uses import Place

__all__ = ["contradictions", "unlinked_products"]

_LINEAR: Final = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
"""Layers with one multiply-accumulate for each link between an input and an output through an element of the weight."""

_ADVICE: Final = "do not rely on these numbers, and report the model"


def contradictions(layers: Sequence[LayerSharing], totals: Counts, elements: int) -> Iterator[str]:
    """Yield a sentence for each row, and for the totals, whose numbers contradict each other.

    Args:
        layers, totals: the rows and totals of a report.
        elements: the number of distinct elements of the model's parameters.
    """
    for name, counts in (*((layer.name, layer.counts) for layer in layers), ("the total", totals)):
        if not counts.used <= counts.per_use <= counts.unshared:
            numbers = f"used is {counts.used:,}, per_use {counts.per_use:,} and unshared {counts.unshared:,}"
            yield f"{name}: {numbers}; expected used <= per_use <= unshared: {_ADVICE}"
        if counts.unshared_live > counts.unshared:
            numbers = f"unshared_live is {counts.unshared_live:,} and unshared {counts.unshared:,}"
            yield f"{name}: {numbers}; expected unshared_live <= unshared: {_ADVICE}"
    if totals.shared != elements:
        yield f"the total: shared is {totals.shared:,}; expected the {elements:,} elements of the parameters: {_ADVICE}"


def unlinked_products(model: nn.Module, traced: Trace) -> Iterator[str]:
    """Yield a sentence for each linear layer whose multiply-accumulates differ from its links.

    Args:
        model: the traced model.
        traced: the trace.
    """
    for layer, links in _links(model, traced).items():
        if links != traced.macs[layer]:
            numbers = f"{traced.macs[layer]:,} multiply-accumulates and {links:,} links"
            yield f"{layer} has {numbers}; expected equal numbers: {_ADVICE}"


def _links(model: nn.Module, traced: Trace) -> Mapping[str, int]:
    """Return the number of unshared copies of the weight of each linear layer."""
    links: dict[str, int] = {}
    for name, module in model.named_modules():
        weight = module._parameters.get("weight") if type(module) in _LINEAR else None
        if weight is not None and not is_lazy(weight):
            use = traced.uses.get(Place(name or ROOT, storage_of(weight), region_of(weight)))
            if use is not None:
                links[name or ROOT] = use.unshared
    return links
