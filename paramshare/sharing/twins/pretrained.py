"""Keep the files of a twin's `save_pretrained` loadable as that twin, or refuse to write them.

`from_pretrained` builds a model from its class and configuration alone: the layers of a twin are lost, and weights are
tied again. No library is imported: a module with `save_pretrained` and `config` counts as such a model.
"""

import copy
from collections import defaultdict
from collections.abc import Collection
from functools import partial
from inspect import unwrap
from typing import Any

import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.tensors.regions import covered_twice, region_of, storage_of

__all__ = ["keep_untied"]

_FLAG = "tie_word_embeddings"


def keep_untied(twin: nn.Module, axes: Collection[str]) -> nn.Module:
    """Untie the configurations within a twin, and check each module with `save_pretrained` before it is written.

    Args:
        twin: a copy that no one else uses; its configurations are changed.
        axes: the axes that the twin was untied along.
    """
    module: Any
    for module in twin.modules():
        config = getattr(module, "config", None)
        if "tie" in axes and getattr(config, _FLAG, False) and not _reads_flag(twin):
            setattr(config, _FLAG, False)
            if "all_tied_weights_keys" in vars(module):  # transformers ties these again
                module.all_tied_weights_keys = {}
        if callable(getattr(type(module), "save_pretrained", None)):
            module.save_pretrained = partial(_save, module)
    return twin


def _reads_flag(model: nn.Module) -> bool:
    """Return whether a forward reads the flag that ties, as T5's does: changing the flag would change the function."""
    codes = (getattr(unwrap(type(module).forward), "__code__", None) for module in model.modules())
    return any(code is not None and _FLAG in code.co_names for code in codes)


def _save(module: Any, *args: object, **kwargs: object) -> Any:
    """Save a twin as its class does.

    Raises:
        SpecError: `from_pretrained` would build another model.
    """
    if not _rebuilt_alike(module):
        raise SpecError(
            f"{type(module).__name__}.save_pretrained cannot save this twin: from_pretrained would build a model with "
            "other layers or ties; save twin.state_dict(), and load it into a twin made by untie"
        )
    return type(module).save_pretrained(module, *args, **kwargs)


def _rebuilt_alike(module: Any) -> bool:
    """Return whether the class builds a model with the twin's layers and ties from the configuration alone."""
    config = getattr(module, "config", None)
    try:
        with torch.device("meta"):
            rebuilt = type(module)(copy.deepcopy(config))
    except Exception:  # a class with another constructor may raise anything
        return False
    return _plan(rebuilt) == _plan(module)


def _plan(model: nn.Module) -> tuple[object, object]:
    """Return the modules and the weights of a model by name, and the groups of tied weights."""
    storages = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        storages[storage_of(parameter)].append((name, region_of(parameter)))
    tied = [
        tuple(name for name, _ in several)
        for several in storages.values()
        if covered_twice([region for _, region in several])
    ]
    parts = [(name, type(part)) for name, part in model.named_modules(remove_duplicate=False)]
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.named_parameters(remove_duplicate=False)]
    return (parts, shapes), sorted(tied)
