"""Replace a model's layers by unshared layers: which can be replaced, and how tied weights stay tied."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.calls import ROOT
from paramshare.sharing.regions import Region, covered_twice, region_of, storage_of
from paramshare.sharing.rehearsal import Pass
from paramshare.sharing.twins.batch import Batches
from paramshare.sharing.twins.kinds import Positions, has_dense, positions_of, twin_of

__all__ = ["replaced", "unsharable", "unshare"]


def unsharable(seen: Pass, batches: Batches, refuse_sizes: bool, dense: bool) -> dict[str, Positions]:
    """Return the layers that have an unshared twin, and the positions that each is called with.

    Args:
        seen: a pass over one sample.
        batches: where the batch stands in it.
        refuse_sizes: whether a layer that is called with several sizes is an error; else it has no twin.
        dense: whether the twins are to be dense.

    Raises:
        SpecError: a layer is called with several sizes.
    """
    found = {}
    for name, module in seen.model.named_modules():
        if name in seen.hooked or (dense and not has_dense(module)):
            continue
        calls = seen.calls.get(name, ())
        places = {positions_of(module, batches, name, number, call.out) for number, call in enumerate(calls)}
        if len(places) > 1 and refuse_sizes:
            several = " and ".join(map(str, sorted({call.first for call in calls})))
            raise SpecError(
                f"{name} ({type(module).__name__}) is called with {several} in one pass; expected one size for one set "
                "of positions; add 'depth' to axes, so that each call has its own"
            )
        if len(places) == 1 and (positions := places.pop()) is not None:
            found[name] = positions
    return _free(seen, found)


def _free(seen: Pass, found: Mapping[str, Positions]) -> dict[str, Positions]:
    """Return those layers whose weights are used by them alone, or are tied only to layers that are just like them."""
    ties = list(_ties(seen, found))
    free = dict(found)
    while True:
        bound = set()
        for names, users, alike in ties:
            if not (alike and names <= free.keys() and users <= {name or ROOT for name in names}):
                bound |= names & free.keys()
        if not bound:
            return free
        free = {name: positions for name, positions in free.items() if name not in bound}


def _ties(seen: Pass, found: Mapping[str, Positions]) -> Iterator[tuple[set[str], set[str], bool]]:
    """Yield the weights of a model: who owns each, who uses it, and whether its owners have equal twins."""
    owners = defaultdict(list)
    for name, module in seen.model.named_modules():
        owner = _whole(name, seen, found)
        for which, parameter in module.named_parameters(recurse=False):
            place = (region_of(parameter), parameter.shape, parameter.stride())
            likeness = (f"{name[len(owner) :]}.{which}", str(module), found.get(owner), place)
            owners[storage_of(parameter)].append((owner, region_of(parameter), likeness))
    used: defaultdict[int, list[tuple[Region, str]]] = defaultdict(list)
    for use in seen.trace.uses:
        used[use.storage].append((use.region, use.layer))
    for storage, members in owners.items():
        regions = {region for _, region, _ in members}
        apart = len(regions) > 1 and not covered_twice(regions)  # several weights in one storage, as cuDNN lays RNNs
        for region in regions if apart else [None]:
            own = [member for member in members if region is None or member[1] == region]
            users = {layer for at, layer in used[storage] if region is None or covered_twice([region, at])}
            alone = len({owner for owner, _, _ in own}) == 1 or not any(_in_parts(seen, owner) for owner, _, _ in own)
            yield {owner for owner, _, _ in own}, users, alone and len({likeness for *_, likeness in own}) == 1


def _whole(name: str, seen: Pass, found: Mapping[str, Positions]) -> str:
    """Return the layer that is replaced as a whole and has the module `name` as a part; else `name`."""
    parent = name.rpartition(".")[0]
    return parent if name and parent in found and _in_parts(seen, parent) else name


def _in_parts(seen: Pass, name: str) -> bool:
    """Return whether a layer's twin has its weights in other parts, so that no tie to another can be kept."""
    return isinstance(seen.model.get_submodule(name), nn.MultiheadAttention)


def unshare(model: nn.Module, places: Mapping[str, Positions], dense: bool) -> nn.Module:
    """Put unshared layers in the place of the named ones; weights that were tied stay tied.

    Raises:
        SpecError: a twin that has more bytes than can be counted, or than there are.
    """
    modules = dict(model.named_modules())
    weights: dict[object, nn.Parameter] = {}
    new: dict[nn.Module, nn.Module] = {}
    for name, positions in places.items():
        layer = modules[name]
        try:
            new[layer] = unshared = twin_of(layer, positions, dense).train(layer.training)
        except RuntimeError as error:  # torch's own
            why = str(error).splitlines()[0]
            shape = positions.shapes[0]
            raise SpecError(f"{name or ROOT} cannot be untied for {shape}: {why}; give a smaller input") from error
        for which, parameter in layer.named_parameters():
            if which in unshared._parameters:
                place = (storage_of(parameter), region_of(parameter))
                setattr(unshared, which, weights.setdefault(place, getattr(unshared, which)))
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):  # its fused path gives its layers what only torch's own take
            module.use_nested_tensor = module.use_nested_tensor and not any(part in new for part in module.modules())
    return replaced(model, new)


def replaced(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Return the model with new modules wherever it held the old ones."""
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None and child in new:
                parent._modules[name] = new[child]
    return new.get(model, model)
