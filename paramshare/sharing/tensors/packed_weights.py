"""Find modules with packed weights: torch's quantised layers, whose weights are not parameters."""

from typing import Final

from torch import nn

__all__ = ["packed_module"]

_PACKED: Final = ("_packed_params", "_all_weight_values")
"""The attributes that hold the packed weights of torch's quantised layers and quantised recurrent layers."""


def packed_module(model: nn.Module) -> str | None:
    """Return the path and class of the first module with packed weights; None without such a module.

    Torch's quantised modules hold an object with packed weights in place of parameters. The object does not expose the
    number of elements or their uses, so such a model cannot be counted.
    """
    for path, module in model.named_modules():
        if any(name in module.__dict__ or name in module._modules for name in _PACKED):
            return f"{path or 'the model'} ({type(module).__name__})"
    return None
