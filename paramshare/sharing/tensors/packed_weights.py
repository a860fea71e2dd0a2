"""Modules whose weights are packed: quantised ahead of time, and no longer parameters."""

from typing import Final

from torch import nn

__all__ = ["packed_module"]

_PACKED: Final = ("_packed_params", "_all_weight_values")
"""The attributes in which torch's quantised layers and quantised recurrent layers hold packed weights."""


def packed_module(model: nn.Module) -> str | None:
    """Return the path and class of the first module with packed weights; None if there is none.

    Torch's quantised modules hold an object of packed weights in place of parameters: how many elements it has, and how
    often each is used, cannot be seen from outside.
    """
    for path, module in model.named_modules():
        if any(name in module.__dict__ or name in module._modules for name in _PACKED):
            return f"{path or 'the model'} ({type(module).__name__})"
    return None
