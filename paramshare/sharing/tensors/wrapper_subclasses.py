"""Tensor subclasses that wrap other tensors, such as quantised weights with their scales.

The storage of such a tensor is empty; the wrapped tensors store its elements.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from paramshare.errors import SpecError

__all__ = ["is_irregular", "is_plain", "is_wrapper", "rewrapped", "stored", "unwrapped"]


def is_plain(kind: type) -> bool:
    """Return whether a tensor class does not override torch's operations."""
    own = getattr(kind, "__torch_dispatch__", None)
    return own is None or own is Tensor.__torch_dispatch__


def is_wrapper(tensor: Tensor) -> bool:
    """Return whether the class of `tensor` overrides torch's operations, to run them on wrapped tensors."""
    return not is_plain(type(tensor))


def is_irregular(tensor: Tensor) -> bool:
    """Return whether a tensor has no storage that a pass can follow: sparse, nested, of mkldnn, or quantised."""
    irregular = tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested
    return irregular and not is_wrapper(tensor)


def stored(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the plain tensors that store the elements of `tensor`; a plain tensor yields itself.

    Raises:
        SpecError: the class of `tensor` does not list the tensors that it wraps.
    """
    if not is_wrapper(tensor):
        yield tensor
        return
    for part in _parts(tensor):
        yield from stored(getattr(tensor, part))


def rewrapped(tensor: Tensor, copy: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a tensor of the same class over copies of the wrapped tensors.

    Args:
        tensor: a tensor of a wrapper subclass.
        copy: returns the copy of a wrapped tensor.

    Raises:
        SpecError: the class does not list the tensors that it wraps.
    """
    parts = _parts(tensor)
    _, context = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    inner = {part: copy(getattr(tensor, part)) for part in parts}
    result: Tensor = type(tensor).__tensor_unflatten__(inner, context, tensor.size(), tensor.stride())  # type: ignore[attr-defined]
    return result


def unwrapped(tensor: Tensor) -> Tensor:
    """Return the tensor within the wrappers of `torch.func`, which have no storage."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def _parts(tensor: Tensor) -> list[str]:
    """Return the names of the attributes that hold the wrapped tensors.

    Raises:
        SpecError: the class has no `__tensor_flatten__`.
    """
    if not hasattr(tensor, "__tensor_flatten__"):
        raise SpecError(
            f"a {type(tensor).__name__} does not list the tensors that it wraps (no __tensor_flatten__); give the "
            "model with plain tensors"
        )
    parts: list[str] = list(tensor.__tensor_flatten__()[0])
    return parts
