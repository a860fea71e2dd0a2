"""Describe in warnings which weights of a twin are still shared, and which assumptions the twin depends on."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from paramshare.sharing.tensors.copies import stray_parameters
from paramshare.sharing.tensors.regions import covered_twice, storage_of
from paramshare.sharing.tracing.module_stack import ROOT
from paramshare.sharing.tracing.values.assumptions import draw_warnings
from paramshare.sharing.tracing.weights.uses import Place
from paramshare.sharing.twins.depth.unrolled import COPY_NAME
from paramshare.sharing.twins.observed_pass import ObservedPass

__all__ = ["remaining_sharing"]

_LISTED: Final = 5
"""The maximum number of layers that a warning names for each reason."""


def remaining_sharing(
    observed: ObservedPass, wanted: Collection[str], drawn: Collection[str], branch: str = ""
) -> Iterator[str]:
    """Yield a sentence about weights that stay shared, and a sentence about assumptions.

    Args:
        observed: a pass over the twin.
        wanted: the axes that were to be untied.
        drawn: the names of generators that the model draws from.
        branch: a sentence about a branch on the device; empty without one.
    """
    if clauses := list(_clauses(observed, wanted)):
        yield f"not everything was untied: {'; '.join(clauses)}"
    if assumed := (*observed.trace.warnings, *draw_warnings(drawn), *([branch] if branch else [])):
        yield f"the twin is made for the structure of one pass: {'; '.join(assumed)}"


def _clauses(observed: ObservedPass, wanted: Collection[str]) -> Iterator[str]:
    """Yield a clause for each reason why weights stay shared, with the layers."""
    kinds = {name or ROOT: type(module).__name__ for name, module in observed.model.named_modules()}
    uses = observed.trace.uses

    def clause(reason: str, layers: Iterable[str]) -> Iterator[str]:
        names = list(dict.fromkeys(f"{COPY_NAME.sub('', layer)} ({kinds[layer]})" for layer in layers))
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        if names:
            yield f"{reason}: {', '.join(names[:_LISTED])}{more}"

    if "tie" in wanted:
        for places in _by_storage(uses).values():
            if covered_twice(place.region for place in places):
                yield from clause("one weight used by several layers", (place.layer for place in places))
    if "depth" in wanted:
        yield from clause("weights used again within one call", (at.layer for at, use in uses.items() if use.times > 1))
    if "space" in wanted:
        shared = (at.layer for at, use in uses.items() if use.unshared > use.per_use)
        yield from clause("shared between positions, without an unshared module", shared)
    if "dense" in wanted:
        local = (at.layer for at, use in uses.items() if use.dense > use.per_use)
        yield from clause("not connected to every input, without a dense module", local)
    yield from clause("parameters that the model does not hold, still those of the original", _outside(observed))
    if wanted != {"tie"}:
        yield from clause("not used in this pass", _unused(observed))


def _outside(observed: ObservedPass) -> Iterator[str]:
    """Yield the layers that use parameters which the model does not hold."""
    strays = (parameter for _, parameter in stray_parameters(observed.model))
    held = set(map(storage_of, (*observed.model.parameters(), *strays)))
    return (place.layer for place in observed.trace.uses if place.storage not in held)


def _unused(observed: ObservedPass) -> Iterator[str]:
    """Yield the layers with parameters that the pass does not use."""
    used = _by_storage(observed.trace.uses)
    return (
        name or ROOT
        for name, module in observed.model.named_modules()
        for parameter in module.parameters(recurse=False)
        if storage_of(parameter) not in used
    )


def _by_storage(uses: Iterable[Place]) -> dict[int, list[Place]]:
    places: dict[int, list[Place]] = {}
    for place in uses:
        places.setdefault(place.storage, []).append(place)
    return places
