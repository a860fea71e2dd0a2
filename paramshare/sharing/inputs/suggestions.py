"""Suggest another sample after a model refused one: sizes without a batch, tokens as integers."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, combinations
from typing import Final

import torch
from torch import Tensor

from paramshare.sharing.inputs.sample import Sample

__all__ = ["suggestion"]

_OF_INDICES: Final = re.compile(r"\bind(?:ex|ices)\b")
_MOST_INPUTS: Final = 4
"""The maximum number of inputs; more have too many combinations to try."""

_MOST_AXES: Final = 3
"""A size with more axes may begin with a batch."""


def suggestion(refused: Sample, reason: str, own: torch.dtype, is_accepted: Callable[[Sample], bool]) -> str:
    """Return the end of a message with an input that the model accepts; empty without such an input.

    Args:
        refused: the sample that the model refused; only samples made from sizes have suggestions.
        reason: the message of the refusal.
        own: the dtype of the model's parameters.
        is_accepted: returns whether the model accepts a sample; called for a few samples.
    """
    if not refused.sizes:
        return ""
    whole = _without_batch(refused)
    for sample in (whole, *_with_indices(whole or refused, reason), *_with_numbers(whole or refused, own)):
        if sample is not None and is_accepted(sample):
            return f"; the model accepts {_options(sample, refused)}"
    return ""


def _without_batch(sample: Sample) -> Sample | None:
    """Return the sample with sizes without their first axis, if that axis may be a batch; else None."""
    sizes = tuple(size[1:] if _may_have_batch(size) else size for size in sample.sizes)
    if sizes == sample.sizes:
        return None
    args = (*sample.args[: len(sample.args) - len(sizes)], *map(_like, sizes, _sized(sample)))
    return replace(sample, args=args, sizes=sizes)


def _may_have_batch(size: tuple[int, ...]) -> bool:
    return len(size) > 1 and (size[0] == 1 or len(size) > _MOST_AXES)


def _with_indices(sample: Sample, reason: str) -> Iterator[Sample]:
    """Yield samples with integers for some inputs, the fewest first, since a linear layer on meta accepts integers."""
    tensors = _sized(sample)
    if not _OF_INDICES.search(reason) or len(tensors) > _MOST_INPUTS:
        return
    numbers = range(len(tensors))
    for chosen in chain.from_iterable(combinations(numbers, count + 1) for count in numbers):
        kinds = (torch.long if number in chosen else tensors[number].dtype for number in numbers)
        yield replace(sample, args=tuple(tensor.to(kind) for tensor, kind in zip(tensors, kinds, strict=True)))


def _with_numbers(sample: Sample, own: torch.dtype) -> Iterator[Sample]:
    """Yield samples with the model's dtype for the inputs of another dtype, and with integers for some inputs."""
    if any(tensor.dtype != own for tensor in _sized(sample)):
        numbers = replace(sample, args=tuple(arg.to(own) if isinstance(arg, Tensor) else arg for arg in sample.args))
        yield numbers
        yield from _with_indices(numbers, "index")


def _sized(sample: Sample) -> list[Tensor]:
    """Return the tensors that were made from the sizes."""
    return [tensor for tensor in sample.args if isinstance(tensor, Tensor)]


def _like(size: tuple[int, ...], tensor: Tensor) -> Tensor:
    return torch.empty((1, *size), dtype=tensor.dtype, device="meta")


def _options(sample: Sample, refused: Sample) -> str:
    """Return the differences between two samples, as fields of a `ModelSpec` and as arguments in Python."""
    words, calls, reasons = [], [], []
    if sample.sizes != refused.sizes:
        words.append(f"the input {';'.join(','.join(map(str, size)) for size in sample.sizes)}")
        calls.append(f"input_size={sample.sizes[0] if len(sample.sizes) == 1 else sample.sizes}")
        reasons.append("sizes are given without the batch")
    kinds = [tensor.dtype for tensor in _sized(sample)]
    if kinds != [tensor.dtype for tensor in _sized(refused)]:
        names = ["long" if kind is torch.long else str(kind).removeprefix("torch.") for kind in kinds]
        several, indices = len(set(names)) > 1, torch.long in kinds
        words.append(f"the dtype {chr(39) + ';'.join(names) + chr(39) if several else names[0]}")
        each = [f"torch.{name}" for name in names]
        calls.append(f"dtypes={'[' + ', '.join(each) + ']' if several else each[0]}")
        reasons.append("tokens and other indices are integers" if indices else "numbers have the dtype of the weights")
    return f"{' and '.join(words)} ({', '.join(calls)} in Python): {', and '.join(reasons)}"
