"""Find the layers of a model that can be replaced by unshared twins, and replace them; tied weights stay tied."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.tensors.regions import Region, covered_twice, region_of, storage_of
from paramshare.sharing.tracing.module_stack import ROOT
from paramshare.sharing.twins.observed_pass import ObservedPass
from paramshare.sharing.twins.replacement import replaced
from paramshare.sharing.twins.space.batch_axis import BatchAxes
from paramshare.sharing.twins.space.layer_twins import Positions, has_dense, positions_of, twin_of
from paramshare.sharing.twins.space.parametrized import is_computed

__all__ = ["unshare", "unshareable_layers"]

_PARAMETRIZED: Final = "parametrizations"
"""The name of the module within a layer that computes the layer's weights."""


def unshareable_layers(
    observed: ObservedPass, batch_axes: BatchAxes, refuse_sizes: bool, dense: bool
) -> dict[str, Positions]:
    """Return the layers that have an unshared twin, and the positions in the input of each.

    Args:
        observed: a pass over one sample.
        batch_axes: the batch axes in that pass.
        refuse_sizes: True to raise an error for a layer that is called with several sizes; False to leave it out.
        dense: True for dense twins.

    Raises:
        SpecError: a layer is called with several sizes.
    """
    layers = {}
    for name, module in observed.model.named_modules():
        if name in observed.hooked or (dense and not has_dense(module)) or _parametrized(name) in layers:
            continue
        calls = observed.calls.get(name, ())
        places = {positions_of(module, batch_axes, name, number, call.out) for number, call in enumerate(calls)}
        if len(places) > 1 and refuse_sizes:
            several = " and ".join(map(str, sorted({call.first for call in calls})))
            raise SpecError(
                f"{name} ({type(module).__name__}) is called with {several} in one pass; expected one size for one set "
                "of positions; add 'depth' to axes, so that each call has its own"
            )
        if len(places) == 1 and (positions := places.pop()) is not None:
            layers[name] = positions
    return _without_ties_to_others(observed, layers)


def _without_ties_to_others(observed: ObservedPass, layers: Mapping[str, Positions]) -> dict[str, Positions]:
    """Return the layers whose weights no one else uses, or whose weights are tied only to identical layers."""
    ties = list(_ties(observed, layers))
    free = dict(layers)
    while True:
        bound = set()
        for names, users, alike in ties:
            if not (alike and names <= free.keys() and users <= {name or ROOT for name in names}):
                bound |= names & free.keys()
        if not bound:
            return free
        free = {name: positions for name, positions in free.items() if name not in bound}


def _ties(observed: ObservedPass, layers: Mapping[str, Positions]) -> Iterator[tuple[set[str], set[str], bool]]:
    """Yield for each weight its owners, the layers that use it, and whether its owners have equal twins."""
    owners = defaultdict(list)
    for name, module in observed.model.named_modules():
        owner = _replaced_layer(name, observed, layers)
        for which, parameter in module.named_parameters(recurse=False):
            place = (region_of(parameter), parameter.shape, parameter.stride())
            likeness = (f"{name[len(owner) :]}.{which}", str(module), layers.get(owner), place)
            owners[storage_of(parameter)].append((owner, region_of(parameter), likeness))
    used: defaultdict[int, list[tuple[Region, str]]] = defaultdict(list)
    for use in observed.trace.uses:
        used[use.storage].append((use.region, use.layer))
    for storage, members in owners.items():
        regions = {region for _, region, _ in members}
        apart = len(regions) > 1 and not covered_twice(regions)  # several weights in one storage, as cuDNN lays RNNs
        for region in regions if apart else [None]:
            own = [member for member in members if region is None or member[1] == region]
            users = {layer for at, layer in used[storage] if region is None or covered_twice([region, at])}
            alone = len({owner for owner, _, _ in own}) == 1 or not any(
                _in_parts(observed, owner) for owner, _, _ in own
            )
            yield {owner for owner, _, _ in own}, users, alone and len({likeness for *_, likeness in own}) == 1


def _replaced_layer(name: str, observed: ObservedPass, layers: Mapping[str, Positions]) -> str:
    """Return the parent of a module if the parent is replaced as a whole; else the module's own name."""
    computed = _parametrized(name)
    parent = name.rpartition(".")[0] if computed is None else computed
    return parent if name and parent in layers and _in_parts(observed, parent) else name


def _parametrized(name: str) -> str | None:
    """Return the name of the parametrized layer that a module computes a weight of; None for any other module."""
    parts = name.split(".")
    return ".".join(parts[: parts.index(_PARAMETRIZED)]) if _PARAMETRIZED in parts else None


def _in_parts(observed: ObservedPass, name: str) -> bool:
    """Return whether a layer's twin splits the weights into parts, so that ties to other layers cannot be kept."""
    layer = observed.model.get_submodule(name)
    return isinstance(layer, nn.MultiheadAttention) or is_computed(layer)


def unshare(model: nn.Module, places: Mapping[str, Positions], dense: bool) -> nn.Module:
    """Replace the named layers by unshared layers; tied weights stay tied.

    Args:
        model: the model, which is changed in place unless the model itself is replaced.
        places: the positions of each layer, by its name.
        dense: True for dense twins.

    Raises:
        SpecError: a twin is larger than the available memory, or than torch can count.
    """
    modules = dict(model.named_modules())
    weights: dict[object, nn.Parameter] = {}
    new: dict[nn.Module, nn.Module] = {}
    for name, positions in places.items():
        layer = modules[name]
        try:
            new[layer] = unshared = twin_of(layer, positions, dense).train(layer.training)
        except RuntimeError as error:  # raised by torch
            why = str(error).splitlines()[0]
            shape = positions.shapes[0]
            raise SpecError(f"{name or ROOT} cannot be untied for {shape}: {why}; give a smaller input") from error
        for which, parameter in layer.named_parameters():
            if which in unshared._parameters:
                place = (storage_of(parameter), region_of(parameter))
                setattr(unshared, which, weights.setdefault(place, getattr(unshared, which)))
    for module in model.modules():
        if isinstance(
            module, nn.TransformerEncoder
        ):  # its fused path calls its layers in a way that only torch's layers support
            module.use_nested_tensor = module.use_nested_tensor and not any(part in new for part in module.modules())
    return replaced(model, new)
