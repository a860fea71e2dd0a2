"""A model's unshared twin, as a real module to train: `untie`.

Covered: ties between parameters and modules, repeated calls of a module, and torch's layers over positions:
convolutions and transposed ones, Linear and Bilinear over extra axes, attention, RNNs over time, tables, norms, PReLU.
Not covered, and named in a warning: layers of other classes, tables with `sparse` or `scale_grad_by_freq`, layers that
get the batch and positions merged in one axis, functions on parameters; and dense tables and Bilinear layers.
"""

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from paramshare.errors import SpecError
from paramshare.sharing.calls import ROOT
from paramshare.sharing.copies import Copier, meta_clone, parameter_like
from paramshare.sharing.guesses import drawn_again
from paramshare.sharing.input_checks import check_model
from paramshare.sharing.inputs import Sample, Size, example_inputs
from paramshare.sharing.local import Unrolled
from paramshare.sharing.regions import Region, covered, covered_twice, region_of, size_of, storage_of
from paramshare.sharing.rehearsal import COPY_NAME, Pass, left_shared
from paramshare.sharing.text import readable_bytes
from paramshare.sharing.twins.batch import Batches
from paramshare.sharing.twins.originals import refuse_weights_of
from paramshare.sharing.twins.pretrained import keep_untied
from paramshare.sharing.twins.space import replaced, unsharable, unshare
from paramshare.torch_modes import outside_modes

__all__ = ["AXES", "UntieWarning", "untie"]

AXES: Final = ("tie", "depth", "space", "dense")

_Step = Callable[[nn.Module], nn.Module]


class UntieWarning(UserWarning):
    """Something that was asked for could not be untied and is as it was, or was untied on an assumption."""


@outside_modes("untie")
def untie(
    model: nn.Module,
    axes: Iterable[str] = ("tie", "depth", "space"),
    input_size: Size | Sequence[Size] | None = None,
    *,
    dtypes: torch.dtype | Sequence[torch.dtype | None] | None = None,
    args: Sequence[object] | None = None,
    kwargs: Mapping[str, object] | None = None,
    limit: int | None = None,
) -> nn.Module:
    """A copy of `model` whose weights are not shared along `axes`, and that starts as the same function.

    One pass over one sample on the meta device tells what is shared; nothing is computed and `model` is not changed.

    Args:
        model: any module; the twin shares nothing with it.
        axes: what to untie, out of
            `tie`: each name of a parameter and each place of a module gets its own;
            `depth`: a module that is called n times in one pass becomes n copies, the i-th call takes the i-th;
            `space`: convolutions, Linear layers, attention, tables and norms get weights of their own for each
            position, RNNs for each time step;
            `dense`: instead of `space`, they become full matrices from all inputs to all outputs (norms and RNNs,
            which have none, are as with `space`).
            Ties are kept where `tie` is not asked for.
        input_size, dtypes, args, kwargs: one sample, as for `analyze`: a batch of 1 as the first axis. The twin takes
            any batch of this size, and no more calls in a pass than this sample needs.
        limit: bytes that the twin's parameters may take. None: half of the memory that is available on the model's
            device, which leaves as much for gradients.

    Raises:
        SpecError: no model; unknown axes; an input that the model refuses; a module called with several sizes; a twin
            larger than `limit`; a function within the model that holds the weights of `model` itself.
        UsageError: torch traces or transforms the caller.

    Warns:
        UntieWarning: what is shared along `axes` and stays so, and what holds for this pass only.
    """
    check_model(model, "untied")
    wanted = _checked(axes)
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise SpecError(f"limit is {limit!r}; expected a whole number of bytes, or None")
    if any(map(is_lazy, model.parameters())):
        raise SpecError("the model has lazy layers that have seen no input yet; call it once, then untie it")
    sample = example_inputs(model, input_size, dtypes, args, kwargs)
    steps = _plan(model, sample, wanted)
    rehearsal = _taken(meta_clone(model), steps)
    _check_size(rehearsal, _available_memory(model) // 2 if limit is None else limit)
    rehearsed = Pass.of(rehearsal, sample)
    refuse_weights_of(model, rehearsed)
    drawn = drawn_again(rehearsed.trace.drawn, lambda: Pass.of(_taken(meta_clone(model), steps), sample).trace.drawn)
    if sentences := list(left_shared(rehearsed, wanted, drawn)):
        warnings.warn("; ".join(sentences), UntieWarning, stacklevel=3)
    return keep_untied(_taken(Copier()(model), steps), wanted)


def _checked(axes: Iterable[str]) -> frozenset[str]:
    names = [axes] if isinstance(axes, str) else list(axes) if isinstance(axes, Iterable) else [axes]
    if unknown := [name for name in names if name not in AXES]:
        raise SpecError(f"axes has {', '.join(map(repr, unknown))}; expected some of {', '.join(AXES)}")
    if not names:
        raise SpecError(f"axes is empty; expected some of {', '.join(AXES)}")
    wanted = frozenset(names)
    if {"space", "dense"} <= wanted:
        raise SpecError("axes has both 'space' and 'dense'; give one: dense layers have nothing left to untie in space")
    return wanted


# The plan: steps that are rehearsed on the meta device, where they take no memory, and then taken on a real copy.


def _plan(model: nn.Module, sample: Sample, wanted: Collection[str]) -> list[_Step]:
    steps: list[_Step] = []

    def seen() -> Pass:
        return Pass.of(_taken(meta_clone(model), steps), sample)

    if "tie" in wanted:
        steps.append(_untie_names)
    while "depth" in wanted and (counts := _repeated(seen())):  # the outermost first, then what is repeated within
        steps.append(partial(_unroll, counts=counts))
    if "space" in wanted or "dense" in wanted:
        single, dense = seen(), "dense" in wanted
        batches = Batches(single, lambda: _taken(meta_clone(model), steps), sample)
        places = unsharable(single, batches, refuse_sizes="depth" not in wanted, dense=dense)
        steps.append(partial(unshare, places=places, dense=dense))
    return steps


def _taken(model: nn.Module, steps: Iterable[_Step]) -> nn.Module:
    for step in steps:
        model = step(model)
    return model


# Ties: each name its own.


def _untie_names(model: nn.Module) -> nn.Module:
    """Give each place of a module a module of its own, and each name of a parameter elements of its own."""
    _separate_modules(model, {model})
    regions = defaultdict(list)
    for _, parameter in model.named_parameters(remove_duplicate=False):
        regions[storage_of(parameter)].append(region_of(parameter))
    tied = {storage for storage, several in regions.items() if covered_twice(several)}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if storage_of(parameter) in tied or size_of(region_of(parameter)) < parameter.numel():
                own = parameter.detach().clone(memory_format=torch.contiguous_format)
                setattr(module, name, parameter_like(parameter, own))  # setattr: RNNs keep a list of their weights
    return model


def _separate_modules(parent: nn.Module, met: set[nn.Module]) -> None:
    for name, child in parent._modules.items():
        if child is None:
            continue
        own = Copier()(child) if child in met else child
        parent._modules[name] = own
        met.add(own)
        _separate_modules(own, met)


# Depth: each call its own.


def _repeated(seen: Pass) -> dict[str, int]:
    """How often each module with weights is called that is called more than once; none within another such.

    Raises:
        SpecError: the model calls itself, so that no call of it begins a pass.
    """
    if "" in seen.recursive:
        raise SpecError("the model calls itself, so its calls cannot be told apart; wrap it in a module that calls it")
    places = defaultdict(list)
    copies = set()
    for name, module in seen.model.named_modules(remove_duplicate=False):
        places[module].append(name)
        if isinstance(module, Unrolled):
            copies |= {module, *module.copies}
    often = {}
    for module, names in places.items():
        if module not in copies and names[0] not in seen.recursive and next(module.parameters(), None) is not None:
            often[module] = len(seen.calls.get(names[0], ()))
    repeated = {name for module, times in often.items() if times > 1 for name in places[module]}
    outermost = (module for module in often if not any(_within(name, repeated) for name in places[module]))
    return {places[module][0]: often[module] for module in outermost if often[module] > 1}


def _within(name: str, others: Collection[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:length]) in others for length in range(1, len(parts)))


def _unroll(model: nn.Module, counts: Mapping[str, int]) -> nn.Module:
    """Put copies in the place of each module, one for each of its calls; the first copy is the module itself."""
    modules = dict(model.named_modules())
    copiers: defaultdict[tuple[str, ...], Copier] = defaultdict(Copier)  # tied modules: the i-th copies stay tied
    new: dict[nn.Module, nn.Module] = {}
    for name, count in counts.items():
        module, within = modules[name], COPY_NAME.findall(name)
        new[module] = Unrolled([module, *(copiers[*within, str(i)](module) for i in range(1, count))], name)
    if _restart not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_restart)
    return replaced(model, new)


def _restart(model: nn.Module, _args: object) -> None:
    """A pass begins. (At its beginning and not at its end, so that one that failed leaves nothing behind.)"""
    for module in model.modules():
        if isinstance(module, Unrolled):
            module.restart()


# Memory.


def _check_size(model: nn.Module, limit: int) -> None:
    """Refuse a twin whose parameters take more than `limit` bytes."""
    regions: defaultdict[int, list[Region]] = defaultdict(list)
    sizes: dict[int, int] = {}
    layers: dict[int, str] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            storage = storage_of(parameter)
            regions[storage].append(region_of(parameter))
            sizes[storage] = parameter.untyped_storage().nbytes()
            layers.setdefault(storage, f"{name or ROOT} ({type(module).__name__})")
    total = sum(sizes.values())
    if total > limit:
        elements = sum(map(covered, regions.values()))
        largest = max(sizes, key=sizes.__getitem__)
        raise SpecError(
            f"the twin would have {elements:,} parameters in {readable_bytes(total)}, of which "
            f"{readable_bytes(sizes[largest])} in {layers[largest]}; the limit is {readable_bytes(limit)}; give fewer "
            "axes, a smaller input, or a larger limit"
        )


def _available_memory(model: nn.Module) -> int:
    """Bytes that can be had now on the device of the model's parameters."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists() and (found := re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())):
        return int(found[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
