"""Hashes, sizes and differences of nested tensors."""

import math
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

__all__ = ["hash_of", "largest_difference", "same_function_limit", "tensor_bytes"]


def hash_of(content: Any) -> str:
    """Return a hash of the bits of all tensors, on the CPU. Other parts are not hashed."""
    digest = sha256()
    for part in tree_leaves(content):
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            flat = part.detach().contiguous().as_strided((part.numel(),), (1,))  # one element may have any stride
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def tensor_bytes(content: Any) -> int:
    """Return the bytes of the elements of all tensors."""
    return sum(part.numel() * part.element_size() for part in tree_leaves(content) if isinstance(part, Tensor))


def largest_difference(one: Any, other: Any) -> float:
    """Return the largest difference of two outputs, relative to the largest element; infinite for other shapes."""
    pairs = list(zip(_tensors(one), _tensors(other), strict=False))
    if len(_tensors(one)) != len(_tensors(other)) or any(a.shape != b.shape for a, b in pairs):
        return math.inf
    differences = [float((a.double() - b.double()).abs().max()) for a, b in pairs if a.numel()]
    scale = max((float(b.double().abs().max()) for _, b in pairs if b.numel()), default=0.0)
    return max(differences, default=0.0) / (scale or 1.0)


def same_function_limit(model: nn.Module) -> float:
    """Return the largest relative difference of the outputs that other roundings explain."""
    kinds = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
    return math.sqrt(max((torch.finfo(kind).eps for kind in kinds), default=torch.finfo(torch.float32).eps))


def _tensors(content: Any) -> list[Tensor]:
    return [part for part in tree_leaves(content) if isinstance(part, Tensor)]
