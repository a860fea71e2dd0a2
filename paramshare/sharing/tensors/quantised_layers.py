"""Replace torch's quantised layers by float layers with the same weights, for a copy on the meta device.

A quantised layer holds an opaque object with packed weights in place of parameters, and its operations have no kernels
on the meta device. The float layer has the same weights at the same sites. The number of bytes that the packed weights
take is kept beside each parameter.
"""

import inspect
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError

__all__ = ["bytes_of_element", "float_layer", "is_quantised_layer", "quantised_layers", "quantised_sentence"]

_PACKED: Final = ("_packed_params", "_all_weight_values", "_packed_weight_ih")
"""The attributes that hold the packed weights of quantised layers, recurrent layers and recurrent cells."""

_FLOAT_NAMES: Final = {
    "Quantize": "Identity",
    "DeQuantize": "Identity",
    "BNReLU2d": "BatchNorm2d",
    "BNReLU3d": "BatchNorm3d",
    **dict.fromkeys(("LinearReLU", "LinearLeakyReLU", "LinearTanh"), "Linear"),
    **{f"ConvReLU{dims}d": f"Conv{dims}d" for dims in (1, 2, 3)},
}
"""The float layers of classes with another name; a fused activation has no weights and is left out."""

_STORED: Final = "_paramshare_stored_bytes"

_LISTED: Final = 3
"""The maximum number of layers that the sentence names."""


def is_quantised_layer(module: nn.Module) -> bool:
    """Return whether a module is a quantised layer of torch, or moves between floats and quantised numbers."""
    home, name = type(module).__module__, type(module).__name__  # since an import of `torch.ao` takes time
    if not home.startswith("torch.ao.nn.") or "quantized" not in home or ".reference" in home:
        return False
    if name.endswith("PackedParams"):  # a part of a layer
        return False
    return bool(_is_packed(module) or _float_kind(module))


def quantised_layers(model: nn.Module) -> Iterator[str]:
    """Yield the path and the class of each quantised layer with weights."""
    for path, module in model.named_modules():
        if is_quantised_layer(module) and (_is_packed(module) or isinstance(_weight_of(module), Tensor)):
            yield f"{path or 'the model'} ({type(module).__name__})"


def quantised_sentence(model: nn.Module, clone: nn.Module) -> Iterator[str]:
    """Yield a sentence about the quantised layers of a model; nothing without such a layer.

    Args:
        model: the model.
        clone: the copy of the model with float layers.
    """
    weights = [parameter for parameter in clone.parameters() if _STORED in parameter.__dict__]
    if not weights:
        return
    layers = list(quantised_layers(model))
    more = f" and {len(layers) - _LISTED:,} more" if len(layers) > _LISTED else ""
    elements = sum(parameter.numel() for parameter in weights)
    stored = sum(parameter.__dict__[_STORED] for parameter in weights)
    yield (
        f"quantised layers hold {elements:,} parameters in {stored:,} stored bytes, with scales and zero points: "
        f"{', '.join(layers[:_LISTED])}{more}; parameters and multiply-accumulates are counted as unpacked, bytes as "
        "stored"
    )


def float_layer(module: nn.Module) -> nn.Module:
    """Return the float layer of a quantised layer, with parameters on the meta device.

    Raises:
        SpecError: torch has no float layer for the class.
    """
    kind, name = _float_kind(module), type(module).__name__
    if kind is None:
        raise SpecError(
            f"a {name} has packed weights, and no layer with parameters is known for it; give the model before "
            "quantisation"
        )
    quantised = dict(_quantised_weights(module))
    if not quantised:
        return _of_class(module, kind)
    biased = any(parameter.startswith("bias") for parameter in quantised)
    layer: nn.Module = kind(**_options(module, kind, biased), device="meta")
    for parameter, (shape, stored) in quantised.items():
        own = nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)
        own.__dict__[_STORED] = stored
        setattr(layer, parameter, own)
    return layer


def bytes_of_element(tensor: Tensor) -> int | Fraction:
    """Return the bytes of an element of a parameter; a fraction for quantised weights with their scales."""
    stored = tensor.__dict__.get(_STORED)
    return tensor.element_size() if stored is None else Fraction(stored, max(tensor.numel(), 1))


def _is_packed(module: nn.Module) -> bool:
    return any(name in module.__dict__ or name in module._modules for name in _PACKED)


def _float_kind(module: nn.Module) -> Any:
    """Return the class of the float layer; None if no class is known."""
    name = type(module).__name__
    if name == "QFunctional":
        return torch.ao.nn.quantized.FloatFunctional
    return getattr(nn, _FLOAT_NAMES.get(name, name), None)


def _of_class(module: nn.Module, kind: Any) -> nn.Module:
    """Return a module of the class `kind` with the attributes of a layer whose weights are not quantised."""
    if not issubclass(kind, nn.Module) or kind.__module__.startswith("torch.ao.") or kind is nn.Identity:
        return kind()  # type: ignore[no-any-return]
    layer: nn.Module = kind.__new__(kind)
    layer.__dict__.update(module.__dict__)
    return layer


def _weight_of(module: nn.Module) -> Tensor | None:
    """Return the quantised weight of a layer with one weight; None without such a weight."""
    weight = getattr(module, "weight", None)
    weight = weight() if callable(weight) else weight
    return weight if isinstance(weight, Tensor) and not isinstance(weight, nn.Parameter) else None


def _quantised_weights(module: Any) -> Iterator[tuple[str, tuple[torch.Size, int]]]:
    """Yield the name of each parameter of the float layer, its shape, and the bytes that the quantised layer stores."""
    if hasattr(module, "get_weight"):  # recurrent layers and cells
        weights = {**module.get_weight(), **module.get_bias()}
    elif (weight := _weight_of(module)) is not None:
        bias = module.bias() if callable(getattr(module, "bias", None)) else None
        weights = {"weight": weight, "bias": bias}
    else:
        return
    holder = getattr(module, "_packed_params", module)
    half = torch.float16 in (getattr(holder, "dtype", None), getattr(module, "weight_dtype", None))
    for name, tensor in weights.items():
        if tensor is not None:
            yield name, (tensor.shape, _stored_bytes(tensor, half and name.startswith("weight")))


def _stored_bytes(tensor: Tensor, half: bool) -> int:
    """Return the bytes of a tensor with its scales and zero points.

    Args:
        tensor: a weight or a bias.
        half: True for a weight that is stored in 16 bits and unpacked to 32.
    """
    if half or not tensor.is_quantized:
        return tensor.numel() * (2 if half else tensor.element_size())
    stored = tensor.int_repr().untyped_storage().nbytes()
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return stored + 16  # a double and an integer
    return stored + sum(each.nbytes for each in (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()))


def _options(module: nn.Module, kind: type[nn.Module], biased: bool) -> dict[str, object]:
    """Return the arguments of the float class that the quantised layer has as attributes."""
    named = inspect.signature(nn.RNNBase if issubclass(kind, nn.RNNBase) else kind).parameters
    options = {name: getattr(module, name) for name in named if hasattr(module, name) and name not in ("dtype", "mode")}
    if "mode" in named and not issubclass(kind, nn.RNNBase):
        options["mode"] = module.mode
    return options | ({"bias": biased} if "bias" in named else {})
