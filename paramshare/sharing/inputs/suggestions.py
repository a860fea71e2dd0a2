"""Another sample that a model takes after it has refused one: sizes with a batch, tokens as floats."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, combinations
from typing import Final

import torch
from torch import Tensor

from paramshare.sharing.inputs.sample import Sample

__all__ = ["hint"]

_OF_INDICES: Final = re.compile(r"\bind(?:ex|ices)\b")
_MOST_INPUTS: Final = 4
"""With more inputs there are too many samples to try."""

_MOST_AXES: Final = 3
"""A size of more numbers than this may well begin with a batch."""


def hint(refused: Sample, reason: str, is_taken: Callable[[Sample], bool]) -> str:
    """Return how to give the input so that the model takes it, to be added to a message; nothing if that is unknown.

    Args:
        refused: only samples that were made from sizes have hints.
        reason: why the model refused it.
        is_taken: whether the model takes a sample; called for a few.
    """
    if not refused.sizes:
        return ""
    whole = _without_batch(refused)
    for sample in (whole, *_with_indices(whole or refused, reason)):
        if sample is not None and is_taken(sample):
            return f"; the model takes {_options(sample, refused)}"
    return ""


def _without_batch(sample: Sample) -> Sample | None:
    """Return the sample whose sizes have lost their first number, if that may be a batch."""
    sizes = tuple(size[1:] if _may_have_batch(size) else size for size in sample.sizes)
    if sizes == sample.sizes:
        return None
    given = (*sample.args[: len(sample.args) - len(sizes)], *map(_like, sizes, _sized(sample)))
    return replace(sample, args=given, sizes=sizes)


def _may_have_batch(size: tuple[int, ...]) -> bool:
    return len(size) > 1 and (size[0] == 1 or len(size) > _MOST_AXES)


def _with_indices(sample: Sample, reason: str) -> Iterator[Sample]:
    """Yield samples with integers for some inputs, few before many: a linear layer on meta takes integers too."""
    tensors = _sized(sample)
    if not _OF_INDICES.search(reason) or len(tensors) > _MOST_INPUTS:
        return
    numbers = range(len(tensors))
    for chosen in chain.from_iterable(combinations(numbers, count + 1) for count in numbers):
        kinds = (torch.long if number in chosen else tensors[number].dtype for number in numbers)
        yield replace(sample, args=tuple(tensor.to(kind) for tensor, kind in zip(tensors, kinds, strict=True)))


def _sized(sample: Sample) -> list[Tensor]:
    """Return the tensors that were made from the sizes."""
    return [tensor for tensor in sample.args if isinstance(tensor, Tensor)]


def _like(size: tuple[int, ...], tensor: Tensor) -> Tensor:
    return torch.empty((1, *size), dtype=tensor.dtype, device="meta")


def _options(sample: Sample, refused: Sample) -> str:
    """Return what differs between two samples, as fields of a `ModelSpec` and as arguments in Python."""
    words, calls, reasons = [], [], []
    if sample.sizes != refused.sizes:
        words.append(f"the input {';'.join(','.join(map(str, size)) for size in sample.sizes)}")
        calls.append(f"input_size={sample.sizes[0] if len(sample.sizes) == 1 else sample.sizes}")
        reasons.append("sizes are given without the batch")
    kinds = [tensor.dtype for tensor in _sized(sample)]
    if kinds != [tensor.dtype for tensor in _sized(refused)]:
        names = ["long" if kind is torch.long else str(kind).removeprefix("torch.") for kind in kinds]
        several = len(set(names)) > 1
        words.append(f"the dtype {chr(39) + ';'.join(names) + chr(39) if several else names[0]}")
        calls.append(f"dtypes={'[' + ', '.join(f'torch.{name}' for name in names) + ']' if several else 'torch.long'}")
        reasons.append("tokens and other indices are integers")
    return f"{' and '.join(words)} ({', '.join(calls)} in Python): {', and '.join(reasons)}"
