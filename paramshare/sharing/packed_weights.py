"""Modules whose weights are packed: quantised ahead of time, and no longer parameters."""

from torch import nn

__all__ = ["packed_modules"]


def packed_modules(model: nn.Module) -> list[str]:
    """Return the modules of `model` with packed weights, each as its path and class.

    Torch's quantised modules hold an object of packed weights in place of parameters: how many elements it has, and how
    often each is used, is not to be seen from outside.
    """
    return [
        f"{path or 'the model'} ({type(module).__name__})"
        for path, module in model.named_modules()
        if "_packed_params" in module.__dict__ or "_packed_params" in module._modules or _is_packed_rnn(module)
    ]


def _is_packed_rnn(module: nn.Module) -> bool:
    return "_all_weight_values" in module._modules
