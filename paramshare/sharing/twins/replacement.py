"""Replace modules within a model."""

from collections.abc import Mapping

from torch import nn

__all__ = ["replaced"]


def replaced(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Return the model with each module replaced at every place that holds the module.

    Args:
        model: the model, which is changed in place unless the model itself is replaced.
        replacements: the new module of each old module.
    """
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None and child in replacements:
                parent._modules[name] = replacements[child]
    return replacements.get(model, model)
