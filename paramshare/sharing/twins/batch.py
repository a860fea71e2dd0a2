"""Find the axis of the batch in the inputs of a model's layers, by a second pass over two samples."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.contents import with_tensors
from paramshare.sharing.inputs import Sample
from paramshare.sharing.rehearsal import Given, Pass, Shape

__all__ = ["Batches", "Extent"]


class Extent:
    """The shape of a tensor that a layer was given, and where the batch stands in it.

    Args:
        shape: for one sample.
        batch: the axis of the batch; None for a tensor that does not depend on the batch.
    """

    def __init__(self, shape: Shape, batch: int | None) -> None:
        self.shape = shape
        self.batch = batch

    @property
    def merged(self) -> bool:
        """Return whether the axis of the batch holds more than the batch: positions too, as after a reshape."""
        return self.batch is not None and self.shape[self.batch] != 1

    @property
    def of_one(self) -> Shape:
        """Return the shape without the batch."""
        if self.batch is None:
            return self.shape
        return self.shape[: self.batch] + self.shape[self.batch + 1 :]


class Batches:
    """The axes of the batch, from a pass over one sample and one over two.

    A model that refuses two samples, or calls other layers for them, is taken to have the batch first everywhere.

    Args:
        single: the pass over one sample.
        model: what was called in it, once more; hooks are put on it and stay there.
        sample: the one sample.
    """

    def __init__(self, single: Pass, model: Callable[[], nn.Module], sample: Sample) -> None:
        self._single = single
        self._double: Pass | None = None
        for pair in _doubled(sample):
            try:
                self._double = Pass.of(model(), pair)
            except SpecError:
                continue
            break

    def extent(self, name: str, call: int, place: int, argument: str) -> Extent | None:
        """Return the extent of an argument.

        Args:
            name: the module's.
            call: its number among the calls of the module.
            place, argument: where the argument can stand, and its name.
        """
        given = self._single.calls[name][call]
        shape, pair = given.shape(place, argument), self._pair(name, call)
        if shape is None:
            return None
        double = None if pair is None else pair.shape(place, argument)
        if double is None or len(double) != len(shape):
            return Extent(shape, 0 if shape else None)
        grown = [axis for axis, (one, two) in enumerate(zip(shape, double, strict=True)) if one != two]
        if not grown:
            return Extent(shape, None)
        clear = len(grown) == 1 and double[grown[0]] == _SAMPLES * shape[grown[0]]
        return Extent(shape, grown[0] if clear else 0)

    def _pair(self, name: str, call: int) -> Given | None:
        if self._double is None or len(self._double.calls.get(name, ())) != len(self._single.calls[name]):
            return None
        return self._double.calls[name][call]


_SAMPLES: Final = 2


def _doubled(sample: Sample) -> Iterator[Sample]:
    """Yield two samples in the place of one: with the batch at the first axis, or at the second."""
    for first in (0, 1):

        def twice(tensor: Tensor, first: int = first) -> Tensor:
            axes = sorted(range(tensor.dim()), key=lambda axis: (axis != first, axis))
            axis = next((axis for axis in axes if tensor.shape[axis] == 1), None)
            if axis is None:
                return tensor
            shape = [*tensor.shape[:axis], _SAMPLES, *tensor.shape[axis + 1 :]]
            return torch.empty(shape, dtype=tensor.dtype, device="meta")

        args, kwargs = with_tensors((sample.args, dict(sample.kwargs)), twice)
        yield replace(sample, args=args, kwargs=kwargs)
