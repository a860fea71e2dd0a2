"""Find the modules that one pass calls repeatedly, and give each call its own copy."""

from collections import defaultdict
from collections.abc import Collection, Mapping

from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.tensors.copies import Copier
from paramshare.sharing.twins.depth.unrolled import COPY_NAME, Unrolled, restart_unrolled
from paramshare.sharing.twins.observed_pass import ObservedPass
from paramshare.sharing.twins.replacement import replaced

__all__ = ["repeated_modules", "unroll"]


def repeated_modules(observed: ObservedPass) -> dict[str, int]:
    """Return the number of calls of each module with weights that is called more than once, by its first name.

    A module within another repeated module is left out.

    Raises:
        SpecError: the model calls itself, so that the beginning of a pass cannot be recognised.
    """
    if "" in observed.recursive:
        raise SpecError("the model calls itself, so its calls cannot be told apart; wrap it in a module that calls it")
    places = defaultdict(list)
    copies = set()
    for name, module in observed.model.named_modules(remove_duplicate=False):
        places[module].append(name)
        if isinstance(module, Unrolled):
            copies |= {module, *module.copies}
        if isinstance(module, nn.RNNBase):  # a call reads each weight several times
            copies.update(getattr(module, "parametrizations", nn.Module()).modules())
    calls = {}
    for module, names in places.items():
        if module not in copies and names[0] not in observed.recursive and next(module.parameters(), None) is not None:
            calls[module] = len(observed.calls.get(names[0], ()))
    repeated = {name for module, count in calls.items() if count > 1 for name in places[module]}
    outermost = (module for module in calls if not any(_is_within(name, repeated) for name in places[module]))
    return {places[module][0]: calls[module] for module in outermost if calls[module] > 1}


def _is_within(name: str, others: Collection[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:length]) in others for length in range(1, len(parts)))


def unroll(model: nn.Module, counts: Mapping[str, int]) -> nn.Module:
    """Replace each module by copies, one for each of its calls; the first copy is the module itself.

    Args:
        model: the model, which is changed in place.
        counts: the number of calls of each module, as `repeated_modules` returns them.
    """
    modules = dict(model.named_modules())
    copiers: defaultdict[tuple[str, ...], Copier] = defaultdict(Copier)  # tied modules: the i-th copies stay tied
    replacements: dict[nn.Module, nn.Module] = {}
    for name, count in counts.items():
        module, outer_copies = modules[name], COPY_NAME.findall(name)
        copies = (copiers[*outer_copies, str(number)](module) for number in range(1, count))
        replacements[module] = Unrolled([module, *copies], name)
    if restart_unrolled not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(restart_unrolled)
    return replaced(model, replacements)
