"""Find the batch axis in the inputs of a model's layers by a second pass over two samples."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import Sample
from paramshare.sharing.tensors.object_tensors import with_tensors
from paramshare.sharing.twins.observed_pass import CallShapes, ObservedPass, Shape

__all__ = ["BatchAxes", "InputShape"]


class InputShape:
    """The shape of an argument of a layer, and the batch axis.

    Args:
        shape: the shape for one sample, with the batch axis.
        batch: the batch axis; None for a tensor that does not depend on the batch.
    """

    def __init__(self, shape: Shape, batch: int | None) -> None:
        self.shape = shape
        self.batch = batch

    @property
    def merged(self) -> bool:
        """Return whether the batch axis also holds positions, as after a reshape."""
        return self.batch is not None and self.shape[self.batch] != 1

    @property
    def sample_shape(self) -> Shape:
        """Return the shape without the batch."""
        if self.batch is None:
            return self.shape
        return self.shape[: self.batch] + self.shape[self.batch + 1 :]


class BatchAxes:
    """The batch axes of a model's layers, found from a pass over one sample and a pass over two.

    If the model refuses two samples, or calls other layers for two, every batch axis is assumed to be the first.

    Args:
        single: the pass over one sample.
        model: returns a copy of the model of that pass; hooks are registered on the copy and not removed.
        sample: the one sample.
    """

    def __init__(self, single: ObservedPass, model: Callable[[], nn.Module], sample: Sample) -> None:
        self._single = single
        self._double: ObservedPass | None = None
        for pair in _doubled(sample):
            try:
                self._double = ObservedPass.of(model(), pair)
            except SpecError:
                continue
            break

    def input_shape(self, name: str, call: int, place: int, argument: str) -> InputShape | None:
        """Return the shape of an argument; None for an argument that is missing or not a tensor.

        Args:
            name: the name of the module.
            call: the number of the call among the module's calls.
            place: the number of the argument if it is positional.
            argument: the name of the argument.
        """
        shape, pair = self._single.calls[name][call].shape(place, argument), self._pair(name, call)
        if shape is None:
            return None
        double = None if pair is None else pair.shape(place, argument)
        if double is None or len(double) != len(shape):
            return InputShape(shape, 0 if shape else None)
        grown = [
            axis for axis, (single, pair_length) in enumerate(zip(shape, double, strict=True)) if single != pair_length
        ]
        if not grown:
            return InputShape(shape, None)
        clear = len(grown) == 1 and double[grown[0]] == _SAMPLES * shape[grown[0]]
        return InputShape(shape, grown[0] if clear else 0)

    def _pair(self, name: str, call: int) -> CallShapes | None:
        """Return the shapes of the same call in the pass over two samples; None if that pass has no such call."""
        if self._double is None or len(self._double.calls.get(name, ())) != len(self._single.calls[name]):
            return None
        return self._double.calls[name][call]


_SAMPLES: Final = 2


def _doubled(sample: Sample) -> Iterator[Sample]:
    """Yield the input of two samples: with the batch as the first axis, then as the second."""
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
