"""Find an axis of given tensors that may be a batch, and select the first of its samples."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves

from paramshare.sharing.inputs.sample import Sample
from paramshare.sharing.tensors.object_tensors import tensors_in, with_tensors

__all__ = ["BatchAxis", "batch_axes", "first_of_batch", "has_only_indices"]


class BatchAxis(NamedTuple):
    """An axis of the tensors in a sample that may be a batch.

    Args:
        axis: the number of the axis.
        length: its length, which is at least 2.
    """

    axis: int
    length: int


def batch_axes(sample: Sample) -> Iterator[BatchAxis]:
    """Yield the axes that may be a batch: the first or second, if all tensors that have it agree on its length.

    Inputs that are made from sizes, or whose first axis has the length 1, have a batch of 1.
    """
    leaves = tree_leaves((sample.args, dict(sample.kwargs)), is_leaf=lambda leaf: isinstance(leaf, PackedSequence))
    tensors = list(tensors_in((sample.args, dict(sample.kwargs))))
    if any(isinstance(leaf, PackedSequence) for leaf in leaves) or any(tensor.is_nested for tensor in tensors):
        return
    if sample.sizes or all(tensor.dim() < 2 for tensor in tensors):
        return
    for axis, fewest in ((0, 1), (1, 3)):
        lengths = {int(tensor.shape[axis]) for tensor in tensors if tensor.dim() >= fewest}
        if lengths == {1}:
            return
        if len(lengths) == 1:
            yield BatchAxis(axis, lengths.pop())


def has_only_indices(sample: Sample) -> bool:
    """Return whether the inputs are integers of two axes or more, such as tokens and their mask: (batch, steps).

    Integers whose second axis has the length 1 can also be (steps, batch).
    """
    tensors = list(tensors_in((sample.args, dict(sample.kwargs))))
    if any(tensor.dim() < 2 or tensor.is_floating_point() or tensor.is_complex() for tensor in tensors):
        return False
    return any(tensor.shape[1] > 1 for tensor in tensors)


def first_of_batch(sample: Sample, batch: BatchAxis) -> Sample:
    """Return the sample with only the first element along the axis of a batch."""

    def first(tensor: Tensor) -> Tensor:
        if tensor.dim() <= batch.axis or tensor.shape[batch.axis] != batch.length or (batch.axis and tensor.dim() < 3):
            return tensor
        shape = [*tensor.shape[: batch.axis], 1, *tensor.shape[batch.axis + 1 :]]
        if type(tensor) is not Tensor:
            return torch.empty_like(tensor.narrow(batch.axis, 0, 1)).requires_grad_(tensor.requires_grad)
        return torch.empty(shape, dtype=tensor.dtype, device="meta", requires_grad=tensor.requires_grad)

    args, kwargs = with_tensors((sample.args, dict(sample.kwargs)), first)
    return replace(sample, args=args, kwargs=kwargs)
