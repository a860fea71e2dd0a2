"""Replace operations on quantised tensors by operations on floats, with the same shapes, weights and products.

Quantised tensors have no kernels on the meta device. A quantised layer is a float layer in the traced copy (see
`quantised_layers`), so that the operations between such layers are given floats.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

__all__ = ["float_operation"]


def float_operation(name: str) -> Callable[..., Tensor] | None:
    """Return the function on floats that stands for an operation on quantised tensors; None for other operations.

    Args:
        name: the operation in torch's namespace, such as `quantized.add`.
    """
    return _FLOAT_OPERATIONS.get(name)


def _same(data: Tensor, *_: object, **__: object) -> Tensor:
    return data.clone()


def _sum(data: Tensor, other: Any, *_: object, **__: object) -> Any:
    return data + other


def _product(data: Tensor, other: Any, *_: object, **__: object) -> Any:
    return data * other


def _matmul(data: Tensor, other: Tensor, *_: object, **__: object) -> Tensor:
    return torch.matmul(data, other)


def _cat(tensors: list[Tensor], dim: int, *_: object, **__: object) -> Tensor:
    return torch.cat(tensors, dim)


_FLOAT_OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    **dict.fromkeys(
        ("aten.quantize_per_tensor", "aten.quantize_per_tensor_dynamic", "aten.quantize_per_channel"), _same
    ),
    "aten.dequantize": _same,
    **dict.fromkeys((f"quantized.{name}" for name in ("add", "add_relu", "add_scalar", "add_scalar_relu")), _sum),
    **dict.fromkeys((f"quantized.{name}" for name in ("mul", "mul_relu", "mul_scalar", "mul_scalar_relu")), _product),
    **dict.fromkeys((f"quantized.{name}" for name in ("cat", "cat_relu")), _cat),
    **dict.fromkeys(
        (f"quantized.{name}" for name in ("celu", "elu", "hardswish", "leaky_relu", "relu6", "sigmoid", "softmax")),
        _same,
    ),
    "quantized.matmul": _matmul,
}
