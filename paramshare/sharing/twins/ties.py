"""The axis `tie`: a module for each place of a module, and elements for each name of a parameter."""

from collections import defaultdict

import torch
from torch import nn

from paramshare.sharing.tensors.copies import Copier, parameter_like
from paramshare.sharing.tensors.regions import covered_twice, region_of, size_of, storage_of

__all__ = ["untie_names"]


def untie_names(model: nn.Module) -> nn.Module:
    """Give each place of a module its own module, and each name of a parameter its own elements."""
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


def _separate_modules(parent: nn.Module, visited: set[nn.Module]) -> None:
    for name, child in parent._modules.items():
        if child is None:
            continue
        own = Copier()(child) if child in visited else child
        parent._modules[name] = own
        visited.add(own)
        _separate_modules(own, visited)
